"""Fixtures of all tests, and the count of tests by kind."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.support.server_process import UNLIMITED_CONFIRMS, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator


# How long an example takes says more of the machine than of the code; each test has its deadline.
# The same examples are drawn each time; ``--hypothesis-profile=random`` draws others.
settings.register_profile(
    "same examples",
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("random", parent=settings.get_profile("same examples"), derandomize=False)
settings.load_profile("same examples")


@pytest.fixture(scope="session", autouse=True)
def plain_tracebacks() -> None:
    """What a test logs is cheap to write.

    With all that is in variables, as structlog's own way is, a traceback takes up to a second on a
    busy machine, and a test with many of them does not meet its deadline.
    """
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])


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
