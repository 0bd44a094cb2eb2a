"""Schemathesis against a whole server: requests made of the OpenAPI document, each answer checked.

    python -m tests.e2e.openapi.fuzzing --seed N --examples M

prints its seed, what schemathesis found and how to replay it, and exits 1 when it found anything.
The tests have the same runs with fixed seeds (``tests/e2e/test_openapi_fuzz.py``).
"""

from __future__ import annotations

import argparse
import base64
import os
import secrets
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2

from tests.support.back_end import Credentials, add_key
from tests.support.clients import register
from tests.support.server_process import UNLIMITED_CONFIRMS, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]
MIXED = ("--phases", "fuzzing,stateful")
"""Drawn from the seed alone; the other phases make what the document names, the same each time."""
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
expected-statuses = ["2xx", 401, 403, 404, 409, 422, 429, 431, "5xx"]
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 409, 412, 413, 415, 422, 429, 431, "5xx"]
[[operations]]
include-tag = "svc"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 401, 403, 429, 431, "5xx"]
"""
"""5xx are for ``not_a_server_error``; a 422 to good data, and a 400 of the svc face, are for
``tests/e2e/openapi/checks.py``. 431 is for values that are good and long, each by itself."""

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
        """What schemathesis is told; ``each_alone``: each request has a connection of its own."""
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


@contextmanager
def open_target(folder: Path) -> Iterator[Target]:
    """A server with a device, an organisation and an API client; it must stop in peace."""
    server = ServerProcess(
        folder,
        device="requests_per_minute = 1000000",
        confirm=UNLIMITED_CONFIRMS,
        rest=GENEROUS,
        more="[svc]\ncalls_per_address = [[1000000, 60]]\n",
    )
    registered = register(server.config, 1)
    credentials = add_key(server.config)
    server.start()
    try:
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
    finally:
        server.kill()


def fuzz(
    target: Target, folder: Path, settings: str, *options: str, timeout_s: float | None
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis in a folder of its own, with all its checks and ours."""
    (folder / "schemathesis.toml").write_text(settings)
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run"),
        *(f"{target.server.http_url}/openapi.json", "--checks", "all", "--no-color"),
        *("--workers", "1", "--generation-database", "none", "--continue-on-failure", *options),
    ]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--examples", type=int, default=100, help="of each operation")
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)  # noqa: T201 - a command prints
    options = ("--seed", str(asked.seed), "--max-examples", str(asked.examples), *MIXED)
    with tempfile.TemporaryDirectory() as folder, open_target(Path(folder, "server")) as target:
        done = fuzz(target, Path(folder), target.settings(), *options, timeout_s=None)
    print(done.stdout, done.stderr)  # noqa: T201 - a command prints
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
