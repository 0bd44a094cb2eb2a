"""Calls of both kinds from foreign HTTP libraries: one connection of theirs serves them all.

The first calls are answered by the reactor, and with the first other one the connection goes to
Hypercorn. The client sees one server that keeps connections alive. A missing toolchain skips,
except on CI, where it fails.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.relay import relay
from tests.support.server_process import UNLIMITED_CONFIRMS, ServerProcess
from tests.support.toolchain import BUILD_TIMEOUT_S, go_program, tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
RUN_TIMEOUT_S = 60
GUESS = ("POST", "/device/otp/confirm", {"otp": "123456"})
CALLS = [GUESS, GUESS, ("GET", "/device/server-time", None), GUESS, ("GET", "/-/reset", None)]
"""Hot, hot, cold, hot, cold. Each client makes the same."""

Command = list[str]


def curl(_: Path) -> Command:
    tool("curl")
    return [str(HERE / "curl_one_port.sh")]


def node_fetch(_: Path) -> Command:
    return [tool("node"), str(HERE / "node_fetch" / "one_port.mjs")]


def go_net_http(build_dir: Path) -> Command:
    return [go_program(HERE / "go_net_http", build_dir, "./one_port")]


def run_httpx2(url: str) -> list[list[str]]:
    with httpx2.Client(base_url=url, timeout=RUN_TIMEOUT_S, trust_env=False) as client:
        answers = [client.request(method, path, json=body) for method, path, body in CALLS]
    return [[str(answer.status_code), str(len(answer.content))] for answer in answers]


CLIENTS: list[tuple[Callable[[Path], Command], int]] = [
    (curl, 1),
    (node_fetch, 2),
    (go_net_http, 1),
]
"""And how many connections it takes: Node's pool takes a second while it tidies up the first."""


@pytest.fixture(scope="module", params=["native", "hypercorn"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("one_port") / "server"
    http = f'transport = "{request.param}"'
    server = ServerProcess(folder, http=http, confirm=UNLIMITED_CONFIRMS)
    server.start()
    try:
        yield server
        assert server.stop() == 0
    finally:
        server.kill()


def test_httpx2_on_one_connection(server: ServerProcess) -> None:
    with relay(server.http_url) as before:
        said = run_httpx2(before.url)
        assert [status for status, _ in said] == ["404", "404", "200", "404", "200"]
        assert said[0] == said[1] == said[3]
        assert before.connections == 1


@pytest.mark.timeout(BUILD_TIMEOUT_S + RUN_TIMEOUT_S)
@pytest.mark.parametrize(
    ("client", "connections_max"), CLIENTS, ids=[client.__name__ for client, _ in CLIENTS]
)
def test_others_on_as_few_connections_as_they_can(
    client: Callable[[Path], Command], connections_max: int, server: ServerProcess, tmp_path: Path
) -> None:
    with relay(server.http_url) as before:
        done = subprocess.run(
            [*client(tmp_path), before.url],
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert [line.split() for line in done.stdout.splitlines()] == run_httpx2(server.http_url)
        assert before.connections <= connections_max
