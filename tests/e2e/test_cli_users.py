"""The operator's commands for accounts, as a user types them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import argon2
import pytest

from tests.support.server_process import COMMAND, ServerProcess

RUN_S = 60
EMAIL = "jane.doe@example.com"
PASSWORD = "plum tractor 7 violet"


def run(server: ServerProcess, *words: str, typed: bytes = b"") -> subprocess.CompletedProcess[str]:
    """A command on the installation, with something on its standard input."""
    done = subprocess.run(
        [*COMMAND, "user", *words, "--config", str(server.config)],
        input=typed,
        capture_output=True,
        timeout=RUN_S,
        check=False,
        env=os.environ,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def add(server: ServerProcess, *words: str, typed: bytes = b"") -> str:
    """The uid of a new account."""
    done = run(server, "add", *words, "--json", typed=typed)
    assert done.returncode == 0, done
    answer = json.loads(done.stdout)
    assert set(answer) == {"uid"}
    assert re.fullmatch("[0-9a-f]{16}", answer["uid"])
    return str(answer["uid"])


def refused(server: ServerProcess, *words: str, typed: bytes = b"") -> str:
    """What a command that failed said: on standard error alone, and no traceback."""
    done = run(server, *words, typed=typed)
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def listed(server: ServerProcess) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = server.cli("user", "list")["users"]
    return rows


def stored_passwords(server: ServerProcess) -> list[str]:
    """Every text of the database that is a hash of a password."""
    with closing(sqlite3.connect(server.data_dir / "otp.db")) as database:
        tables = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        return [
            value
            for table in tables
            for row in database.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - our own names
            for value in row
            if isinstance(value, str) and value.startswith("$argon2id$")
        ]


@pytest.fixture
def installation(tmp_path: Path) -> ServerProcess:
    """A configuration and its folder; nothing runs."""
    return ServerProcess(tmp_path / "installation")


def test_accounts_are_added_and_listed(installation: ServerProcess) -> None:
    jane = add(
        installation,
        *("--email", "Jane.Doe@Example.com", "--password-stdin"),
        *("--first-name", "Jane", "--last-name", "Doe"),
        typed=f"{PASSWORD}\nanother line\n".encode(),
    )
    other = add(installation, "--email", EMAIL, "--organisation", "acme")
    rows = {
        jane: {
            "uid": jane,
            "organisation": "main",
            "email": EMAIL,
            "firstname": "Jane",
            "lastname": "Doe",
            "has_password": True,
        },
        other: {
            "uid": other,
            "organisation": "acme",
            "email": EMAIL,
            "firstname": "",
            "lastname": "",
            "has_password": False,
        },
    }
    assert listed(installation) == [rows[uid] for uid in sorted(rows)]
    lines = run(installation, "list").stdout.splitlines()
    assert lines[0].split() == ["USER", "PASSWORD", "ORGANISATION", "E-MAIL", "NAME"]
    assert {tuple(line.split()) for line in lines[1:]} == {
        (jane, "yes", "main", EMAIL, "Jane", "Doe"),
        (other, "no", "acme", EMAIL),
    }
    [stored] = stored_passwords(installation)
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert argon2.PasswordHasher().verify(stored, PASSWORD)  # the first line alone
    everything = b"".join(
        file.read_bytes() for file in installation.data_dir.iterdir() if file.is_file()
    )
    for secret in (PASSWORD, EMAIL):
        assert secret.encode() not in everything


def test_adding_an_account_for_people(installation: ServerProcess) -> None:
    done = run(installation, "add", "--email", EMAIL)
    assert done.returncode == 0
    assert re.fullmatch(r"user [0-9a-f]{16}\n", done.stdout)
    assert f"a new installation in {installation.data_dir}" in done.stderr


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (b"short\n", "the password: it has fewer than 8 characters: make it longer"),
        (b"", "the password: it has fewer than 8 characters"),
        (b"x" * 100_000, "the password: it has more than 128 characters"),
        (b"password1\r\n", "the password: it is one of the passwords that attackers try first"),
        (b"jane.doe\n", "the password: it is your e-mail address or your name"),
        (b"\xff\xfe12345678\n", "the password on standard input is not UTF-8"),
    ],
    ids=["short", "empty", "long", "common", "name", "not-utf-8"],
)
def test_the_password_rules_hold_here_too(
    installation: ServerProcess, typed: bytes, why: str
) -> None:
    said = refused(installation, "add", "--email", EMAIL, "--password-stdin", typed=typed)
    assert why in said
    quoted = typed.strip().decode(errors="replace")
    assert not quoted or quoted not in said.replace("jane.doe@", "")
    add(installation, "--email", EMAIL)  # it is free
    assert len(listed(installation)) == 1
    assert stored_passwords(installation) == []


def test_a_file_of_breached_passwords_is_asked(tmp_path: Path) -> None:
    stolen = "51A5BD4C5B8E8DDE6C9D1B3D5B8B6A3E1C6B0F00:7"
    installation = ServerProcess(
        tmp_path / "installation", more='[svc]\nbreached_passwords = "breached.txt"'
    )
    file = installation.folder / "breached.txt"
    file.write_text(f"{stolen}\n{_sha1(PASSWORD)}:3\n")
    file.write_text("".join(sorted(file.read_text().splitlines(keepends=True))))
    words = ("add", "--email", EMAIL, "--password-stdin")
    said = refused(installation, *words, typed=PASSWORD.encode())
    assert "it is one of the passwords that attackers try first" in said
    file.write_text(f"{stolen}\n")
    assert run(installation, *words, typed=PASSWORD.encode()).returncode == 0


def _sha1(password: str) -> str:
    return hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--email", "jane"], "the e-mail: it is not an e-mail address"),
        (["--email", EMAIL, "--organisation", "A B"], "the organisation: it must be 1 to 63"),
        (["--email", EMAIL, "--first-name", "x" * 201], "the first name: it must be 200 printable"),
        (["--email", EMAIL, "--last-name", "a\tb"], "the last name: it must be 200 printable"),
    ],
)
def test_an_account_that_cannot_be_is_refused(
    installation: ServerProcess, words: list[str], why: str
) -> None:
    assert f"the account cannot be made: {why}" in refused(installation, "add", *words)
    add(installation, "--email", EMAIL)
    assert len(listed(installation)) == 1


def test_an_email_has_one_account_in_an_organisation(installation: ServerProcess) -> None:
    uid = add(installation, "--email", EMAIL)
    said = refused(installation, "add", "--email", "JANE.DOE@example.com")
    assert "main has an account with this e-mail address: see otp-server user list" in said
    assert add(installation, "--email", EMAIL, "--organisation", "acme") != uid


def test_an_account_is_made_under_the_keys_of_the_server(installation: ServerProcess) -> None:
    add(installation, "--email", EMAIL)
    [key] = [file for file in (installation.data_dir / "keys").iterdir() if "contact" in file.name]
    name, _, _ = key.read_text().partition(":")
    key.write_text(f"{name}:{base64.b64encode(bytes(range(32))).decode()}\n")
    said = refused(installation, "add", "--email", "other@example.com")
    assert "the last key of keys.contact is not the one" in said


def test_list_makes_no_installation(installation: ServerProcess) -> None:
    assert f"no installation in {installation.data_dir}" in refused(installation, "list")
    assert not installation.data_dir.exists()


def test_an_account_without_an_email_is_not_understood(installation: ServerProcess) -> None:
    assert run(installation, "add").returncode != 0
    assert not installation.data_dir.exists()
