"""Fixtures of all tests, and the count of tests by kind."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.server_process import UNLIMITED_CONFIRMS, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A real server with generous limits, shared by the tests of a module."""
    server = ServerProcess(
        tmp_path_factory.mktemp("server"),
        device="requests_per_minute = 1000",
        confirm=UNLIMITED_CONFIRMS,
    ).start()
    yield server
    assert server.stop() == 0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests of each kind passed."""
    kinds = Counter(
        report.nodeid.split("/")[1]
        for report in terminalreporter.stats.get("passed", [])
        if "/" in report.nodeid
    )
    line = "  ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    terminalreporter.write_line(f"passed by kind: {line}")
