"""The operator's commands for the REST face, as a user types them."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.server_process import COMMAND, ServerProcess

RUN_S = 60
BOTH = "otp.run,otp.admin"


def run(server: ServerProcess, *words: str) -> subprocess.CompletedProcess[str]:
    """A command on the installation, whatever comes of it."""
    return subprocess.run(
        [*COMMAND, *words, "--config", str(server.config)],
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
        env=os.environ,
    )


def refused(server: ServerProcess, *words: str) -> str:
    """What a command that failed said: on standard error alone, and no traceback."""
    done = run(server, *words)
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def installation(tmp_path: Path) -> ServerProcess:
    """A configuration and its folder; nothing runs."""
    return ServerProcess(tmp_path / "installation")


# --- key ------------------------------------------------------------------------------------------


def test_key_add_prints_exactly_this(installation: ServerProcess) -> None:
    answer = installation.cli("key", "add", "--scope", BOTH)
    assert set(answer) == {"client_id", "client_secret"}
    assert re.fullmatch("[0-9a-f]{32}", answer["client_id"])
    assert len(answer["client_secret"]) == 43
    assert answer["client_secret"].encode() not in (installation.data_dir / "otp.db").read_bytes()


def test_key_add_for_people(installation: ServerProcess) -> None:
    done = run(installation, "key", "add", "--scope", "otp.run")
    assert done.returncode == 0
    assert re.fullmatch(
        r"client [0-9a-f]{32}\nsecret \S{43}\n\(the secret is not shown again\)\n", done.stdout
    )
    assert f"a new installation in {installation.data_dir}" in done.stderr


def test_key_list_shows_all_but_secrets(installation: ServerProcess) -> None:
    shop = installation.cli(
        "key", "add", "--tenant", "shop", "--name", "Kasse 1", "--scope", "otp.run"
    )
    main = installation.cli("key", "add", "--scope", f" {BOTH} ,")
    installation.cli("key", "revoke", main["client_id"])
    rows = {row["client_id"]: row for row in installation.cli("key", "list")["clients"]}
    assert all(isinstance(row.pop("created_at_ms"), int) for row in rows.values())
    assert rows == {
        shop["client_id"]: {
            "client_id": shop["client_id"],
            "tenant": "shop",
            "name": "Kasse 1",
            "scopes": ["otp.run"],
            "revoked": False,
        },
        main["client_id"]: {
            "client_id": main["client_id"],
            "tenant": "default",
            "name": "client",
            "scopes": ["otp.admin", "otp.run"],
            "revoked": True,
        },
    }
    for_people = run(installation, "key", "list").stdout
    assert for_people.splitlines()[0].split() == ["CLIENT", "STATE", "TENANT", "SCOPES", "NAME"]
    for secret in (shop["client_secret"], main["client_secret"]):
        assert secret not in for_people


def test_key_revoke_prints_exactly_this(installation: ServerProcess) -> None:
    client_id = installation.cli("key", "add", "--scope", BOTH)["client_id"]
    expected = {"client_id": client_id, "revoked": True}
    assert installation.cli("key", "revoke", client_id) == expected
    assert installation.cli("key", "revoke", client_id) == expected  # and again
    said = refused(installation, "key", "revoke", "nobody")
    assert "'nobody'" in said
    assert "key list" in said


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--scope", "otp.run,otp.fly"], "there is no scope 'otp.fly'"),
        (["--scope", ","], "no scope is given"),
        (["--scope", BOTH, "--tenant", "A B"], "tenant 'A B' cannot be used"),
        (["--scope", BOTH, "--name", ""], "name must be 1 to 200 printable characters"),
    ],
)
def test_a_key_that_cannot_be_is_refused(
    installation: ServerProcess, words: list[str], why: str
) -> None:
    assert why in refused(installation, "key", "add", *words)
    assert installation.cli("key", "add", "--scope", BOTH)  # one that can be
    assert len(installation.cli("key", "list")["clients"]) == 1


def test_a_tenant_gets_its_examples_with_its_first_key(installation: ServerProcess) -> None:
    for tenant in ("default", "shop", "shop"):
        installation.cli("key", "add", "--tenant", tenant, "--scope", BOTH)
    with closing(sqlite3.connect(installation.data_dir / "otp.db")) as database:
        types = database.execute("SELECT tenant, name FROM challenge_types ORDER BY id").fetchall()
    assert types == [
        (tenant, name)
        for tenant in ("default", "shop")
        for name in ("email-verification", "phone-verification")
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["key", "list"],
        ["key", "revoke", "x"],
        ["contact", "forgive", "--tenant", "default", "--email", "a@example.com"],
        ["audit", "verify"],
        ["audit", "export"],
    ],
    ids=" ".join,
)
def test_these_make_no_installation(installation: ServerProcess, words: list[str]) -> None:
    assert f"no installation in {installation.data_dir}" in refused(installation, *words)
    assert not installation.data_dir.exists()


# --- contact --------------------------------------------------------------------------------------


def test_forgiving_a_contact_without_wrong_codes(installation: ServerProcess) -> None:
    installation.cli("key", "add", "--scope", BOTH)
    forgive = ("contact", "forgive", "--tenant", "default")
    assert installation.cli(*forgive, "--phone", "+49 151 12345678") == {"forgiven": False}
    assert installation.cli(*forgive, "--email", "Jane@example.com") == {"forgiven": False}
    done = run(installation, *forgive, "--email", "jane@example.com")
    assert done.stdout == "it had no wrong codes to forget\n"
    for words in ([], ["--phone", "+4915112345678", "--email", "jane@example.com"]):
        assert "name one contact" in refused(installation, *forgive, *words)
    email = ("--email", "jane@example.com")
    of_account = ("contact", "forgive", "--organisation", "main", *email)
    assert installation.cli(*of_account) == {"forgiven": False}
    for words in (("contact", "forgive", *email), (*of_account, "--tenant", "default")):
        assert "give --tenant or --organisation" in refused(installation, *words)
    for words in (["--phone", "0151 12345678"], ["--email", "jane"]):
        said = refused(installation, *forgive, *words)
        assert "this contact cannot be used: it " in said
        assert words[1] not in said


# --- audit ----------------------------------------------------------------------------------------


def lines_of(server: ServerProcess, *words: str) -> list[dict[str, object]]:
    done = run(server, "audit", "export", *words)
    assert done.returncode == 0, done
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_trail_is_exported_after_a_number(installation: ServerProcess) -> None:
    client_id = installation.cli("key", "add", "--scope", BOTH)["client_id"]
    installation.cli("key", "revoke", client_id)
    lines = lines_of(installation)
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    last = lines[-1]
    assert isinstance(last.pop("at_ms"), int)
    assert len(str(last.pop("hash"))) == 64
    assert last == {
        "seq": len(lines),
        "tenant": "default",
        "actor": "operator",
        "address": "",
        "action": "client.revoke",
        "subject": f"client:{client_id}",
        "outcome": "done",
    }
    assert [line["seq"] for line in lines_of(installation, "--after", "2")] == [
        line["seq"] for line in lines[2:]
    ]
    assert lines_of(installation, "--after", str(len(lines))) == []


def test_an_export_that_nobody_reads_on_ends_quietly(installation: ServerProcess) -> None:
    installation.cli("key", "add", "--scope", BOTH)
    command = [*COMMAND, "audit", "export", "--config", str(installation.config)]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            command, stdout=writing, stderr=subprocess.PIPE, timeout=RUN_S, check=False
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_trail_that_holds_and_one_that_was_changed(installation: ServerProcess) -> None:
    installation.cli("key", "add", "--scope", BOTH)
    lines = lines_of(installation)
    assert installation.cli("audit", "verify") == {
        "entries": len(lines),
        "last_seq": len(lines),
        "last_hash": lines[-1]["hash"],
    }
    said = run(installation, "audit", "verify").stdout
    assert said == (
        f"the audit trail holds: {len(lines)} entries, the last is {len(lines)} "
        f"{lines[-1]['hash']}\n"
    )
    change = "UPDATE audit SET outcome = 'nothing' WHERE seq = 3"
    with closing(sqlite3.connect(installation.data_dir / "otp.db")) as database:
        with pytest.raises(sqlite3.DatabaseError, match="append-only"):
            database.execute(change)
        for (name,) in database.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'audit'"
        ).fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute(change)
        database.commit()
    for words in (["--json"], []):
        said = refused(installation, "audit", "verify", *words)
        assert "broken at entry 3" in said
        assert "the 2 entries up to 2 hold" in said
