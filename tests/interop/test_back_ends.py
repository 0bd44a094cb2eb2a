"""Back ends in other languages, on other HTTP libraries, against the real server.

Each gets a token, starts a process and tries the codes it is told: a wrong one and the right one.
A missing toolchain skips, except on CI, where it fails.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.observe import wait_until
from tests.support.outbox import Outbox
from tests.support.rest_server import rest_server, wrong
from tests.support.toolchain import BUILD_TIMEOUT_S, go_program, tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.back_end import Credentials
    from tests.support.server_process import ServerProcess

HERE = Path(__file__).resolve().parent
RUN_TIMEOUT_S = 60

Command = list[str]


def curl(_: Path) -> Command:
    tool("curl")
    return [str(HERE / "curl.sh")]


def node_fetch(_: Path) -> Command:
    return [tool("node"), str(HERE / "node_fetch" / "client.mjs")]


def go_net_http(build_dir: Path) -> Command:
    return [go_program(HERE / "go_net_http", build_dir)]


CLIENTS: list[Callable[[Path], Command]] = [curl, node_fetch, go_net_http]


@pytest.fixture(scope="module", params=["native", "hypercorn"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ServerProcess, Credentials]]:
    folder = tmp_path_factory.mktemp("back_ends") / "server"
    with rest_server(folder, http=f'transport = "{request.param}"') as served:
        yield served


@pytest.mark.timeout(BUILD_TIMEOUT_S + RUN_TIMEOUT_S)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
def test_a_token_a_process_a_wrong_and_the_right_code(
    client: Callable[[Path], Command], served: tuple[ServerProcess, Credentials], tmp_path: Path
) -> None:
    server, credentials = served
    outbox = Outbox(server.data_dir / "outbox.jsonl")
    name = client.__name__.replace("_", "-")
    place = [server.http_url, credentials.client_id, credentials.client_secret]
    command = [*client(tmp_path), *place, "email-verification", f"{name}@example.com"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as back_end:
        try:
            assert back_end.stdout is not None
            uuid = back_end.stdout.readline().strip()
            assert uuid, back_end.stderr and back_end.stderr.read()
            wait_until(lambda: bool(outbox.of(uuid)), 20, "the message is out")
            code = outbox.of(uuid)[0].code
            said, complaints = back_end.communicate(
                f"{wrong(code)}\n{code}\n", timeout=RUN_TIMEOUT_S
            )
        finally:
            back_end.kill()
    assert (said.split(), back_end.returncode) == (["false", "true"], 0), complaints
