"""The OpenAPI document and the server agree, by schemathesis with all its checks.

It makes requests of the document, good and bad ones, and compares each answer with it. One run has
a fixed seed and no time limit, so it is the same everywhere; one has a new seed, which is printed,
and a time limit; one has no token.

A connection that has asked for anything else than hot operations is Hypercorn's from then on. So
the first run and the one without a token give each request a connection of its own: then the hot
ones are the reactor's. The others keep theirs, and mix them.
"""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.back_end import Credentials, add_key
from tests.support.clients import register
from tests.support.server_process import UNLIMITED_CONFIRMS, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 110
FIXED_SEED = 20260731
GENEROUS = """
limits = [[1000000, 60]]
attempts_per_address = [[1000000, 60]]
attempts_per_client = [[1000000, 60]]
requests_per_client = [[1000000, 60]]
prefix_limit = [[1000000, 60]]
"""
"""A 429 is a documented answer, but it would hide all others."""

SETTINGS = """
hooks = "tests.e2e.openapi.checks"
[warnings]
display = []
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 409, 422, 429, "5xx"]
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 409, 412, 413, 415, 422, 429, "5xx"]
[[operations]]
include-tag = "svc"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 401, 403, 429, "5xx"]
"""
"""5xx are for ``not_a_server_error``; a 422 to good data, and a 400 of the svc face, are for
``tests/e2e/openapi/checks.py``."""

EACH_ALONE = 'headers = { Connection = "close" }'
AS = """
[[operations]]
include-tag = "{tag}"
headers = {{ {headers} }}
"""


@dataclass(frozen=True)
class Target:
    """A server, and the headers that each of its faces lets in."""

    server: ServerProcess
    headers: dict[str, dict[str, str]]

    def settings(self, *, each_alone: bool = False) -> str:
        said = EACH_ALONE + SETTINGS if each_alone else SETTINGS
        for tag, headers in self.headers.items():
            sent = headers | {"Connection": "close"} if each_alone else headers
            pairs = ", ".join(f'"{name}" = "{value}"' for name, value in sent.items())
            said += AS.format(tag=tag, headers=pairs)
        return said


def token_of(server: ServerProcess, credentials: Credentials) -> str:
    answer = httpx2.post(
        f"{server.http_url}/oauth/token",
        data={
            "grant_type": "client_credentials",
            "client_id": credentials.client_id,
            "client_secret": credentials.client_secret,
        },
        timeout=30,
        trust_env=False,
    )
    assert answer.is_success, answer.text
    return str(answer.json()["access_token"])


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    server = ServerProcess(
        tmp_path_factory.mktemp("fuzzed"),
        device="requests_per_minute = 1000000",
        confirm=UNLIMITED_CONFIRMS,
        rest=GENEROUS,
        more="[svc]\ncalls_per_address = [[1000000, 60]]\n",
    )
    registered = register(server.config, 1)
    credentials = add_key(server.config)
    server.start()
    bearer = {"Authorization": f"Bearer {token_of(server, credentials)}"}
    pair = f"{credentials.client_id}:{credentials.client_secret}".encode()
    device = {"Authorization": f"Bearer {registered.devices[0][1]}"}
    yield Target(
        server,
        {
            "processes": bearer,
            "configuration": bearer,
            "oauth": {"Authorization": f"Basic {base64.b64encode(pair).decode()}"},
            "device": {**device, "X-Org-Key": registered.org_key},
        },
    )
    assert server.stop() == 0


def fuzz(target: Target, folder: Path, *options: str, settings: str | None = None) -> str:
    """Run schemathesis in a folder of its own; what it said, when there was no failure."""
    (folder / "schemathesis.toml").write_text(target.settings() if settings is None else settings)
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run"),
        *(f"{target.server.http_url}/openapi.json", "--checks", "all", "--no-color"),
        *("--generation-database", "none", "--continue-on-failure", *options),
    ]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_with_a_token(target: Target, tmp_path: Path) -> None:
    seed = ("--seed", str(FIXED_SEED))
    options = (*seed, "--max-examples", "5", "--exclude-tag", "svc")
    said = fuzz(target, tmp_path, *options, settings=target.settings(each_alone=True))
    assert "Tested: 30" in said


def test_the_services_of_web_clients(target: Target, tmp_path: Path) -> None:
    seed = ("--seed", str(FIXED_SEED))
    options = (*seed, "--max-examples", "5", "--include-tag", "svc")
    said = fuzz(target, tmp_path, *options, settings=target.settings(each_alone=True))
    assert "Tested: 10" in said


def test_with_a_token_and_another_seed_each_time(
    target: Target, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = secrets.randbelow(2**31)
    with capsys.disabled():
        print(f"\nschemathesis seed: {seed}")  # noqa: T201 - to repeat the run
    fuzz(target, tmp_path, "--seed", str(seed), "--phases", "fuzzing,stateful", "--max-time", "15")


def test_without_a_token(target: Target, tmp_path: Path) -> None:
    options = ("--seed", str(FIXED_SEED), "--phases", "coverage", "--exclude-tag", "svc")
    fuzz(target, tmp_path, *options, settings=EACH_ALONE + SETTINGS)
