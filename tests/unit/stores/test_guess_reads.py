"""Of a dead code the store reads as much as of one that never was (requirement 51)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw
import pytest

from otp_server.services.ports import Guess
from otp_server.stores.sqlite import code_statements as codes
from otp_server.stores.sqlite.connection import Database, SqliteOptions, prepare_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW_MS = 1_000_000
INSERT = (
    "INSERT INTO device_codes (challenge_id, device_id, digest, length, state, issued_at_ms,"
    " expires_at_ms, ended_at_ms) VALUES (?1, ?2, ?1, 6, ?3, 0, ?4, ?5)"
)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    path, options = tmp_path / "otp.db", SqliteOptions()
    prepare_file(path, options)
    opened = Database(path, options).connect(read_only=False)
    for name, state, expires_at_ms, ended_at_ms in (
        ("live", "issued", NOW_MS + 1, None),
        ("expired", "issued", NOW_MS, None),
        ("swept", "expired", NOW_MS - 5, NOW_MS - 1),
    ):
        opened.execute(
            "INSERT INTO devices (device_id, name, device_key, token_digest, created_at_ms)"
            " VALUES (?, '', ?, x'', 0)",
            (name, name),
        )
        row = (digest(name), name, state, expires_at_ms, ended_at_ms)
        opened.execute(INSERT, row)
    yield opened
    opened.close()


def digest(name: str) -> bytes:
    return name.encode().ljust(32)


def selects(connection: apsw.Connection, name: str) -> int:
    seen: list[str] = []

    def note(_: apsw.Cursor, statement: str, __: object) -> bool:
        seen.append(statement)
        return True

    connection.exec_trace = note
    guess = Guess(name.encode(), NOW_MS, "an address", None)
    codes.count_guesses(connection, [(guess, [digest(name)])])
    connection.exec_trace = None
    return sum("SELECT" in statement for statement in seen)


def test_a_dead_code_costs_what_an_unknown_one_costs(connection: apsw.Connection) -> None:
    unknown = selects(connection, "unknown")
    assert selects(connection, "expired") == unknown
    assert selects(connection, "swept") == unknown
    assert selects(connection, "live") < unknown
