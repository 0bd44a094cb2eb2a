"""Where the server does not start, and what it says then."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.server_process import COMMAND, ServerProcess

PRODUCTION = """
[server]
data_dir = "{data_dir}"
profile = "production"
[device]
listen = "{host}:0"
[http]
listen = "127.0.0.1:0"
[ops]
listen = "127.0.0.1:0"
[delivery.email]
kind = "none"
[delivery.sms]
kind = "none"
"""


def serve(config: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "serve", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture
def production(tmp_path: Path) -> Path:
    file = tmp_path / "production.toml"
    file.write_text(PRODUCTION.format(data_dir=tmp_path / "data", host="127.0.0.1"))
    return file


def test_production_starts_on_no_key_of_its_own(production: Path) -> None:
    refused = serve(production)
    assert refused.returncode == 1
    assert refused.stdout == ""
    for key in ("keys.code", "keys.token", "keys.device_key", "keys.contact"):
        assert f"{key}:" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list((production.parent / "data").glob("**/*.key"))


def test_production_refuses_the_keys_of_development(production: Path, tmp_path: Path) -> None:
    development = ServerProcess(tmp_path / "development")
    development.start().stop()
    (development.data_dir / "keys").rename(tmp_path / "keys")
    (tmp_path / "data").mkdir()
    (tmp_path / "keys").rename(tmp_path / "data" / "keys")
    refused = serve(production)
    assert refused.returncode == 1
    for key in ("keys.code", "keys.token", "keys.device_key", "keys.contact"):
        assert key in refused.stderr
    assert "development key" in refused.stderr


def test_production_refuses_what_others_can_read(production: Path) -> None:
    production.write_text(production.read_text().replace("127.0.0.1:0", "0.0.0.0:0", 1))
    refused = serve(production, OTP_SERVER_STORE__URL="memory:")
    assert refused.returncode == 1
    assert "device.listen" in refused.stderr
    assert "without TLS" in refused.stderr
    assert "store.url" in refused.stderr


def test_a_taken_port_is_said(running_server: ServerProcess, tmp_path: Path) -> None:
    port = urlsplit(running_server.ops_url).port
    second = ServerProcess(tmp_path / "second")
    refused = serve(second.config, OTP_SERVER_OPS__LISTEN=f"127.0.0.1:{port}")
    assert refused.returncode == 1
    assert f"127.0.0.1:{port}: Address already in use" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_another_index_key_of_contacts_is_refused_until_it_is_named(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    server.start().stop()
    (server.data_dir / "keys" / "contact.key").unlink()  # the next start makes another
    refused = serve(server.config)
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    told = re.search(r'set rest\.contact_index = "([0-9a-f]{16})"', refused.stderr)
    assert told is not None
    server.environment["OTP_SERVER_REST__CONTACT_INDEX"] = told[1]
    server.start().stop()
    del server.environment["OTP_SERVER_REST__CONTACT_INDEX"]
    server.start().stop()


def test_production_says_in_one_line_that_it_tells_who_has_an_account(production: Path) -> None:
    """Requirement 32. It is said before anything is opened."""

    def lines(**environment: str) -> list[str]:
        said = serve(production, **environment).stderr.splitlines()
        return [line for line in said if "svc." in line and "warning" in line.lower()]

    revealing, calling = lines()
    assert "svc.reveal_accounts = true" in revealing
    assert "svc.get_calls = true" in calling
    hidden = {"OTP_SERVER_SVC__REVEAL_ACCOUNTS": "no", "OTP_SERVER_SVC__GET_CALLS": "no"}
    assert lines(**hidden) == []
