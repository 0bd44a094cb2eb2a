"""Devices in other languages, on other libraries, against the real server.

Each client asks for two codes on one connection; the second code must work and the first must not.
The clients are built outside the tree; a missing toolchain skips, except on CI, where it fails.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import httpx2
import pytest

from tests.support.toolchain import go_program, tool

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
PROTO = HERE.parents[1] / "proto" / "device.proto"
BUILD_TIMEOUT_S = 300  # the first build of a machine fetches and compiles the libraries
RUN_TIMEOUT_S = 40  # above the 25 s after which a client gives up by itself

Command = list[str]


class RunningServer(Protocol):
    device_url: str
    http_url: str

    def add_device(self) -> tuple[str, str]: ...


def build(command: Command, folder: Path, **extra_env: str) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | extra_env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}{done.stderr}"


def python_websockets(_build_dir: Path) -> Command:
    return [sys.executable, str(HERE / "python_websockets" / "client.py")]


def node_ws(build_dir: Path) -> Command:
    node, npm = tool("node"), tool("npm")
    folder = build_dir / "tests" / "interop" / "node_ws"  # client.js finds ../../../proto
    shutil.copytree(HERE / "node_ws", folder, ignore=shutil.ignore_patterns("node_modules"))
    (build_dir / "proto").mkdir()
    shutil.copy(PROTO, build_dir / "proto")
    build([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
    return [node, str(folder / "client.js")]


def go_gorilla(build_dir: Path) -> Command:
    return [go_program(HERE / "go_gorilla", build_dir)]


CLIENTS: list[Callable[[Path], Command]] = [python_websockets, node_ws, go_gorilla]


@pytest.fixture(scope="module", params=CLIENTS, ids=lambda client: client.__name__)
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Command:
    prepare: Callable[[Path], Command] = request.param
    return prepare(tmp_path_factory.mktemp(prepare.__name__))


def run(command: Command, url: str, token: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, url, token],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )


def confirm(http_url: str, code: str) -> httpx2.Response:
    url = f"{http_url.rstrip('/')}/device/otp/confirm"
    return httpx2.post(url, json={"otp": code}, timeout=10, trust_env=False)


def test_second_code_works_and_the_first_is_superseded(
    client: Command, running_server: RunningServer
) -> None:
    _, token = running_server.add_device()
    before_ms = time.time_ns() // 1_000_000

    done = run(client, running_server.device_url, token)

    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == 2
    for answer in answers:
        assert set(answer) == {"otp", "expires_at_ms", "error"}
        assert answer["error"] == ""
        assert answer["otp"].isdecimal()
        assert len(answer["otp"]) >= 6
        assert answer["expires_at_ms"] > before_ms
    first, second = (answer["otp"] for answer in answers)
    accepted = confirm(running_server.http_url, second)
    assert accepted.status_code == 200
    assert accepted.json()["token"]
    assert confirm(running_server.http_url, first).status_code == 404


def test_wrong_token_is_a_failure_of_the_client(
    client: Command, running_server: RunningServer
) -> None:
    device_id, _ = running_server.add_device()

    done = run(client, running_server.device_url, f"{device_id}-1-wrong")

    assert done.returncode == 1
    assert done.stdout == ""
    assert "401" in done.stderr or "handshake" in done.stderr
