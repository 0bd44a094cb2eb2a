"""Every command as a user types it, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.support.local_devices import add_devices
from tests.support.raw_websocket import connect, refused_upgrade
from tests.support.server_process import COMMAND, ServerProcess

RUN_S = 60


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command, whatever comes of it."""
    return subprocess.run(
        [*COMMAND, *words],
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
        env={**os.environ, **environment},
    )


def refused(done: subprocess.CompletedProcess[str], status: int = 1) -> str:
    """What a command that failed said: on standard error alone, and no traceback."""
    assert done.returncode == status, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def installation(tmp_path: Path) -> ServerProcess:
    """A configuration and its folder; nothing runs."""
    return ServerProcess(tmp_path / "installation")


# --- devices and organisations --------------------------------------------------------------------


def test_device_add_prints_exactly_this(installation: ServerProcess) -> None:
    answer = installation.cli("device", "add", "--name", "Lamp")
    assert set(answer) == {"device_id", "token", "device_key"}
    assert re.fullmatch(
        re.escape(answer["device_id"]) + r"-[12]-[0-9a-zA-Z_-]{16,}", answer["token"]
    )
    assert len(answer["device_key"].split()) == 4 or len(answer["device_key"].split("-")) == 4


def test_device_add_for_people(installation: ServerProcess) -> None:
    done = run("device", "add", "--id", "lamp-7", "--config", str(installation.config))
    assert done.returncode == 0
    assert done.stdout.startswith("device lamp-7\ntoken  lamp-7-")
    assert "not shown again" in done.stdout


def test_a_command_in_the_wrong_folder_makes_no_installation(installation: ServerProcess) -> None:
    for words in (["device", "list"], ["device", "revoke", "lamp"]):
        said = refused(run(*words, "--config", str(installation.config)))
        assert f"no installation in {installation.data_dir}" in said
    assert not installation.data_dir.exists()
    done = run("device", "add", "--config", str(installation.config))
    assert f"a new installation in {installation.data_dir}" in done.stderr
    done = run("device", "add", "--config", str(installation.config))
    assert done.stderr == ""


def test_device_list_shows_all_but_tokens(installation: ServerProcess) -> None:
    lamp = installation.cli("device", "add", "--id", "lamp", "--name", "Lamp")
    door = installation.cli("device", "add", "--id", "door")
    installation.cli("device", "revoke", "door")
    rows = {row["device_id"]: row for row in installation.cli("device", "list")["devices"]}
    assert set(rows) == {"lamp", "door"}
    assert set(rows["lamp"]) == {
        "device_id",
        "name",
        "device_key",
        "created_at_ms",
        "org_id",
        "revoked",
    }
    assert rows["lamp"]["name"] == "Lamp"
    assert rows["lamp"]["device_key"] == lamp["device_key"]
    assert (rows["lamp"]["revoked"], rows["door"]["revoked"]) == (False, True)
    for_people = run("device", "list", "--config", str(installation.config)).stdout
    assert for_people.splitlines()[0].split() == ["DEVICE", "STATE", "DEVICE", "KEY", "NAME"]
    for secret in (lamp["token"], door["token"]):
        assert secret not in for_people + json.dumps(rows)


def test_a_taken_id_is_refused(installation: ServerProcess) -> None:
    installation.cli("device", "add", "--id", "lamp")
    said = refused(run("device", "add", "--id", "lamp", "--config", str(installation.config)))
    assert "lamp" in said


@pytest.mark.parametrize("device_id", ["", "a b", "a/b", 200 * "x", "é"])
def test_an_id_that_is_none_is_refused(installation: ServerProcess, device_id: str) -> None:
    refused(run("device", "add", f"--id={device_id}", "--config", str(installation.config)))


def test_an_unknown_device_cannot_be_revoked(installation: ServerProcess) -> None:
    installation.cli("device", "add")
    said = refused(run("device", "revoke", "nobody", "--config", str(installation.config)))
    assert "'nobody'" in said
    assert "device list" in said


def test_device_revoke_prints_exactly_this(installation: ServerProcess) -> None:
    installation.cli("device", "add", "--id", "lamp")
    expected = {"device_id": "lamp", "revoked": True}
    assert installation.cli("device", "revoke", "lamp") == expected
    assert installation.cli("device", "revoke", "lamp") == expected  # and again


def test_org_add_prints_exactly_this(installation: ServerProcess) -> None:
    answer = installation.cli("org", "add", "Acme")
    assert set(answer) == {"org_key", "org_id"}
    assert len(answer["org_key"]) >= 32
    for_people = run("org", "add", "Other", "--config", str(installation.config)).stdout
    assert "organisation Other\nkey " in for_people


def test_the_memory_store_has_no_devices_to_add(installation: ServerProcess) -> None:
    said = refused(
        run(
            "device",
            "add",
            "--config",
            str(installation.config),
            OTP_SERVER_STORE__URL="memory:",
        )
    )
    assert "store.url" in said


def test_a_device_added_beside_a_running_server_is_known_at_once(
    running_server: ServerProcess,
) -> None:
    device_id, token = running_server.add_device()
    with connect(running_server.device_url, token) as raw:
        code = raw.get_code()
    org_key = running_server.add_org("Acme")
    confirmed = httpx2.post(
        f"{running_server.http_url}/device/otp/confirm/v2",
        json={"otp": code},
        headers={"X-Org-Key": org_key},
        trust_env=False,
    )
    assert confirmed.status_code == 200
    running_server.cli("device", "revoke", device_id)
    assert refused_upgrade(running_server.device_url, token).status == 401


# --- configuration --------------------------------------------------------------------------------


def test_the_default_configuration_is_good_and_is_the_default(tmp_path: Path) -> None:
    printed = run("default-config")
    assert printed.returncode == 0
    file = tmp_path / "otp-server.toml"
    file.write_text(printed.stdout)
    assert tomllib.loads(printed.stdout)["device"]["listen"] == "127.0.0.1:8701"
    checked = run("check-config", "--config", str(file), "--json")
    assert checked.returncode == 0, checked.stderr
    answer = json.loads(checked.stdout)
    assert set(answer) == {"profile", "data_dir", "keys"}
    assert answer["profile"] == "development"
    assert answer["data_dir"] == str(tmp_path / "otp-data")
    assert answer["keys"] == {"code": [], "token": [], "device_key": [], "contact": []}
    assert not (tmp_path / "otp-data").exists()  # a check writes nothing
    run("device", "add", "--config", str(file))
    answer = json.loads(run("check-config", "--config", str(file), "--json").stdout)
    assert {name: len(ids) for name, ids in answer["keys"].items()} == {
        "code": 1,
        "token": 1,
        "device_key": 1,
        "contact": 1,
    }


WRONG = """
[server]
drain_s = "soon"
[device]
code_length = 4
listne = "127.0.0.1:1"
[http]
trusted_proxies = ["10.0.0.0/8", "nowhere"]
[colour]
red = 1
"""


def test_every_wrong_key_is_named_with_its_path(tmp_path: Path) -> None:
    file = tmp_path / "otp-server.toml"
    file.write_text(WRONG)
    done = run("check-config", "--config", str(file), OTP_SERVER_OPS__LISTEN="nowhere")
    said = refused(done)
    assert "6 problems" in said
    for path in (
        "server.drain_s",
        "device.code_length",
        "device.listne",
        "http.trusted_proxies[1]",
        "colour",
        "ops.listen (OTP_SERVER_OPS__LISTEN)",
    ):
        assert f"- {path}" in said
    assert "did you mean listen?" in said
    assert not (tmp_path / "otp-data").exists()


def test_check_config_never_shows_a_key(tmp_path: Path) -> None:
    secret = "c2VjcmV0" * 6
    key = "OTP_SERVER_KEYS__CODE"
    file = tmp_path / "otp-server.toml"
    file.write_text(f'[server]\ndata_dir = "{tmp_path}"\n')
    good = run("check-config", "--config", str(file), "--json", **{key: f"k9:{secret}"})
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["keys"]["code"] == ["k9"]
    bad = run("check-config", "--config", str(file), **{key: f"k9={secret}"})
    assert "keys.code" in refused(bad)
    for done in (good, bad):
        assert secret not in done.stdout + done.stderr


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    said = refused(run("check-config", "--config", str(tmp_path / "nothing.toml")))
    assert "nothing.toml" in said


# --- words that are not understood ----------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["device", "add", "--colour", "red"],
        ["device", "revoke"],
        ["device", "paint"],
        ["nothing"],
        ["simulate", "--url", "ws://localhost", "--devices", "many"],
        ["serve", "now"],
    ],
    ids=" ".join,
)
def test_words_that_are_not_understood_exit_2(words: list[str]) -> None:
    done = run(*words)
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("words", [["--help"], ["device", "--help"], ["simulate", "--help"]])
def test_help_is_on_standard_output(words: list[str]) -> None:
    done = run(*words)
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", run("--version").stdout)


# --- simulated devices ----------------------------------------------------------------------------


def simulate(server: ServerProcess, *words: str) -> dict[str, Any]:
    load = ["--devices", "5", "--rate", "40", "--duration", "1"]
    return server.cli("simulate", "--url", server.device_url, *load, *words)


def assert_good_report(report: dict[str, Any]) -> None:
    assert report["devices"] == 5
    assert report["asked"] == 40
    assert report["codes"] == 40
    assert report["errors"] == {}
    assert report["unanswered"] == 0
    assert report["seconds"] >= 0.9
    latency = report["latency_ms"]
    assert list(latency) == ["p50", "p99", "p99.9"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["p99.9"] < 10_000


def test_simulate_adds_devices_and_revokes_them(running_server: ServerProcess) -> None:
    before = {row["device_id"] for row in running_server.cli("device", "list")["devices"]}
    assert_good_report(simulate(running_server))
    rows = running_server.cli("device", "list")["devices"]
    added = [row for row in rows if row["device_id"] not in before]
    assert [row["revoked"] for row in added] == 5 * [True]


def test_simulate_with_tokens(running_server: ServerProcess, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("\n".join(device.token for device in add_devices(running_server, 5)))
    assert_good_report(simulate(running_server, "--tokens", str(tokens)))
    tokens.write_text("only-1-one\n")
    words = ("--url", running_server.device_url, "--devices", "2", "--tokens", str(tokens))
    assert "holds 1 tokens, 2 are needed" in refused(run("simulate", *words))


def test_simulate_for_people(running_server: ServerProcess) -> None:
    words = ("--devices", "2", "--rate", "20", "--duration", "0.5")
    done = run(
        "simulate",
        "--url",
        running_server.device_url,
        *words,
        "--config",
        str(running_server.config),
    )
    assert done.returncode == 0, done.stderr
    assert "2 devices asked 10 times" in done.stdout
    assert "p99.9" in done.stdout


def test_simulate_against_nobody(installation: ServerProcess) -> None:
    installation.cli("device", "add")
    words = ("--url", "ws://127.0.0.1:1/ws/device", "--devices", "2", "--duration", "1")
    said = refused(run("simulate", *words, "--config", str(installation.config)))
    assert "cannot connect to ws://127.0.0.1:1/ws/device" in said


def test_simulate_with_wrong_tokens(running_server: ServerProcess, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("never-1-was\n")
    words = ("--url", running_server.device_url, "--devices", "1", "--tokens", str(tokens))
    assert "401" in refused(run("simulate", *words))


# --- the demonstration ----------------------------------------------------------------------------


def demonstrate(server: ServerProcess, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "otp_server.simulator.demo"],
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
        env={
            **os.environ,
            "OTP_SERVER_SERVER__DATA_DIR": str(server.data_dir),
            **environment,
        },
    )


def test_demonstration(running_server: ServerProcess) -> None:
    done = demonstrate(
        running_server,
        OTP_SERVER_DEVICE__LISTEN=urlsplit(running_server.device_url).netloc,
        OTP_SERVER_HTTP__LISTEN=urlsplit(running_server.http_url).netloc,
    )
    assert done.returncode == 0, done.stderr
    device, _, process = done.stdout.partition("\n\n")
    lines = device.splitlines()
    assert [line.partition(".")[0] for line in lines] == [str(n) for n in range(1, 9)]
    shown = re.search(r"shows +(\d{6,})$", lines[3])
    assert shown
    assert shown[1] in lines[4]
    assert "confirmed: 200" in lines[5]
    assert "refused: 404" in lines[6]
    lines = process.splitlines()
    assert [line.partition(".")[0] for line in lines] == [str(n) for n in range(1, 9)]
    assert lines[5].endswith("accepted is False")
    assert lines[6].endswith("accepted is True")
    assert done.stderr == ""


def test_demonstration_without_a_server(installation: ServerProcess) -> None:
    done = demonstrate(
        installation,
        OTP_SERVER_DEVICE__LISTEN="127.0.0.1:1",
        OTP_SERVER_HTTP__LISTEN="127.0.0.1:2",
    )
    assert done.returncode == 1
    assert "cannot connect to ws://127.0.0.1:1/ws/device" in done.stderr
    assert "Traceback" not in done.stderr
