"""Migrations, the file's mode, and what is refused at the door."""
# ruff: noqa: ASYNC240 - a look into a test's own folder blocks nobody

from __future__ import annotations

import hashlib
import os
import re
import threading
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import apsw
import msgspec
import pytest
import trio

from otp_server.errors import AlreadyExists, ConfigError, StoreTooNew, StoreUnavailable
from otp_server.stores import MemoryStore, SqliteStore, open_sqlite_store, open_store
from otp_server.stores.sqlite import code_statements, device_statements, issue_statements
from otp_server.stores.sqlite.schema import load_migrations, migrate, schema_number
from tests.contracts import rest_samples as rest
from tests.contracts.samples import (
    accept,
    add_devices,
    challenge,
    device,
    digest,
    guess,
    new_code,
    state_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FIRST = load_migrations()[0]
NEXT = "ALTER TABLE devices ADD COLUMN colour TEXT; UPDATE devices SET colour = 'red';"


def test_an_older_file_is_brought_up_to_date(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        migrate(connection, path, [FIRST])
        assert schema_number(connection) == 1
        device_statements.add_organisation(connection, "acme", b"k" * 32, 0)
        migrate(connection, path, [FIRST, NEXT])
        assert schema_number(connection) == 2
        assert connection.execute("SELECT colour FROM devices").fetchall() == []
        assert connection.execute("SELECT name FROM organisations").fetchall() == [("acme",)]
        migrate(connection, path, [FIRST, NEXT])


async def test_codes_of_the_first_schema_go_on(path: Path) -> None:
    """Migration 2 changes an index: live codes stay live, ended ones are still found."""
    with closing(apsw.Connection(str(path))) as connection:
        migrate(connection, path, [FIRST])
        for n in range(2):
            device_statements.add_device(connection, device(n))
        for n, state, ended in ((1, "superseded", 5), (2, "issued", None)):
            connection.execute(
                "INSERT INTO device_codes (challenge_id, device_id, digest, length, state,"
                " issued_at_ms, expires_at_ms, ended_at_ms) VALUES (?, ?, ?, 6, ?, 0, 1000, ?)",
                (challenge(n), "device-0", digest(n), state, ended),
            )
    store = await open_sqlite_store(path)
    assert [await state_of(store, n) for n in (1, 2)] == ["superseded", "issued"]
    with pytest.raises(AlreadyExists):
        await store.issue_device_codes([new_code(1, 1, [[9]])])
    assert await store.issue_device_codes([new_code(3, 1, [[2], [1]], at=6)]) == [1]
    assert await store.accept_device_codes([accept(2, at=6)]) == [device(0)]
    assert [await state_of(store, n) for n in (1, 2)] == ["issued", "confirmed"]
    await store.aclose()


async def test_processes_of_the_fifth_schema_go_on(path: Path) -> None:
    """Migration 6 tells open processes from ended ones: the open are superseded, all are found."""
    with closing(apsw.Connection(str(path))) as connection:
        migrate(connection, path, load_migrations()[:5])
        connection.execute("INSERT INTO plans (id, digest, body) VALUES (1, ?, ?)", _plan_row())
        for n, status in enumerate(("new", "sent", "accepted", "expired"), 1):
            connection.execute(
                "INSERT INTO processes (uuid, tenant, type_id, plan_id, status, attempts,"
                " generation, route, route_status, route_attempts, key_id, created_at_ms,"
                " updated_at_ms, expires_at_ms, phone_index, phone_sealed, phone_counted,"
                " email_counted, entities)"
                " VALUES (?, ?, 1, 1, ?, 0, 1, 0, 'new', 0, 'k1', ?, ?, ?, ?, x'00', 1, 0, '[]')",
                (rest.uuid(n), rest.TENANT, status, *[rest.T0] * 2, rest.T0 + 9, rest.phone(1)),
            )
    store = await open_sqlite_store(path)
    of_contact = rest.query(phone=rest.phone(1))
    assert [p.uuid for p, _ in await store.search_processes(of_contact)] == [
        rest.uuid(n) for n in (4, 3, 2, 1)
    ]
    assert await store.key_ids_in_use(rest.T0) == {"k1"}
    await rest.start(store, rest.new_process(5, at=1))
    ends = [p.status.value for p, _ in await store.search_processes(of_contact)]
    assert ends == ["new", "expired", "accepted", "failed", "failed"]
    await store.aclose()


async def test_a_table_made_anew_keeps_its_numbers_and_whom_its_rows_are_named_by(
    path: Path,
) -> None:
    """Migration 7, between processes and what goes with them."""
    with closing(apsw.Connection(str(path))) as connection:
        migrate(connection, path, load_migrations()[:6])
        connection.execute("INSERT INTO plans (id, digest, body) VALUES (1, ?, ?)", _plan_row())
        for n in (1, 2, 3):
            connection.execute(_SIXTH, (rest.uuid(n), rest.TENANT, rest.T0, rest.phone(n)))
        connection.execute(
            "INSERT INTO messages (id, process_id, tenant, generation, route, channel, leaves,"
            " state, tries, due_at_ms, updated_at_ms) VALUES (7, 2, ?, 1, 0, 'sms', 0, 'sent', 1,"
            " 0, 0)",
            (rest.TENANT,),
        )
        connection.execute("INSERT INTO open_attempts VALUES (2, 1, 0)")
        connection.execute("DELETE FROM processes WHERE id = 3")
    store = await open_sqlite_store(path)
    await rest.start(store, rest.new_process(4, to=2, at=1))
    found = await store.search_processes(rest.query(phone=rest.phone(2)))
    assert [(p.id, len(deliveries)) for p, deliveries in found] == [(4, 1), (2, 1)]

    def look(connection: apsw.Connection) -> list[object]:
        return [
            connection.pragma("integrity_check"),
            connection.execute("SELECT count(*) FROM open_attempts").get,
            connection.execute("SELECT name FROM sqlite_schema WHERE name LIKE '%_7'").fetchall(),
        ]

    assert await store._reader.call(look) == ["ok", 1, []]
    await store.aclose()


_SIXTH = (
    "INSERT INTO processes (uuid, tenant, type_id, plan_id, status, attempts, generation, route,"
    " route_status, route_attempts, key_id, created_at_ms, updated_at_ms, expires_at_ms,"
    " phone_index, phone_sealed, phone_counted, email_counted, entities)"
    " VALUES (?1, ?2, 1, 1, 'new', 0, 1, 0, 'new', 0, 'k1', ?3, ?3, ?3 + 9, ?4, x'00', 1, 0, '[]')"
)


async def test_rows_that_name_what_is_not_there_stop_a_migration(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        migrate(connection, path, load_migrations()[:6])
        connection.execute("INSERT INTO open_attempts VALUES (2, 1, 0)")
    with pytest.raises(ConfigError, match="rows of open_attempts name rows of processes that are"):
        await open_sqlite_store(path)
    with closing(apsw.Connection(str(path))) as connection:
        assert schema_number(connection) == 6


async def test_no_check_makes_a_table_for_each_row(path: Path) -> None:
    """As SQLite does for IN with more than two words, but where rows are few."""
    await (await open_sqlite_store(path)).aclose()
    with closing(apsw.Connection(str(path))) as connection:
        tables = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'")
        slow = {name for name, sql in tables if re.search(r"\bIN \(('\w+', ){2}", sql)}
    assert slow == {"challenge_types"}


def _plan_row() -> tuple[bytes, bytes]:
    body = msgspec.json.encode(rest.plan())
    return hashlib.sha256(body).digest(), body


def test_a_migration_that_fails_leaves_the_schema_before_it(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        with pytest.raises(apsw.SQLError, match="nowhere"):
            migrate(connection, path, [FIRST, NEXT + "UPDATE nowhere SET a = 1;"])  # noqa: S608
        assert schema_number(connection) == 1
        assert not connection.in_transaction
        columns = connection.execute("SELECT name FROM pragma_table_info('devices')").fetchall()
        assert ("colour",) not in columns


async def test_a_newer_file_is_refused_with_both_numbers(path: Path) -> None:
    store = await open_sqlite_store(path)
    await store.aclose()
    known = len(load_migrations())
    with closing(apsw.Connection(str(path))) as connection:
        connection.pragma("user_version", 42)
    with pytest.raises(StoreTooNew, match=f"schema 42 .* up to {known}: start the newer"):
        await open_sqlite_store(path)


async def test_a_file_migrated_further_while_open_is_refused(store: SqliteStore) -> None:
    def raise_number(connection: apsw.Connection) -> None:
        connection.pragma("user_version", 42)

    def cough(_: apsw.Connection) -> None:
        raise apsw.IOError("so that it is opened anew")

    await store._writer.call(raise_number)
    with pytest.raises(StoreUnavailable):
        await store._writer.call(cough)
    with pytest.raises(StoreUnavailable, match="schema 42"):
        await store.probe()


async def test_another_programs_database_is_refused(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    with pytest.raises(ConfigError, match="another program"):
        await open_sqlite_store(path)


def test_many_may_migrate_at_once(path: Path) -> None:
    problems: list[BaseException] = []
    together = threading.Barrier(8)

    def one() -> None:
        try:
            with closing(apsw.Connection(str(path))) as connection:
                connection.set_busy_timeout(10_000)
                together.wait(10)
                migrate(connection, path, [FIRST, NEXT])
        except BaseException as error:  # noqa: BLE001 - reported below
            problems.append(error)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert problems == []
    with closing(apsw.Connection(str(path))) as connection:
        assert schema_number(connection) == 2


async def test_ended_codes_are_found_in_every_part_of_their_index(store: SqliteStore) -> None:
    batch, parts = 1000, 3
    last = parts * 2048
    async with trio.open_nursery() as nursery:
        for n in range(4, batch):
            nursery.start_soon(store.add_device, device(n))
    for first in range(0, last, batch):
        codes = [new_code(n, n % batch, [[n]]) for n in range(first, first + batch)]
        assert await store.issue_device_codes(codes) == [0] * batch
    for n in (0, 2046, 2047, 2048, 4095, 4096, last - batch):
        assert await state_of(store, n) == "superseded"
    assert await state_of(store, last + batch) is None
    while await store.sweep(0, forget_before_ms=1, guesses_before_ms=0):
        pass
    assert [await state_of(store, n) for n in (0, 4095)] == [None, None]


async def test_a_clear_batch_takes_as_many_statements_as_one_code(store: SqliteStore) -> None:
    def statements(connection: apsw.Connection, count: int, first: int) -> int:
        seen: list[str] = []

        def trace(_: apsw.Cursor, sql: str, bindings: object) -> bool:
            seen.append(sql)
            return True

        codes = [new_code(first + n, n, [[first + n, 99 + first + n]]) for n in range(count)]
        connection.exec_trace = trace
        assert issue_statements.issue_device_codes(connection, codes) == [0] * count
        connection.exec_trace = None
        return len(seen)

    one = await store._writer.call(partial(statements, count=1, first=10))
    assert await store._writer.call(partial(statements, count=4, first=20)) == one == 4


async def test_every_table_is_strict(store: SqliteStore) -> None:
    rows = await store._reader.call(
        lambda c: c.execute("SELECT name, strict FROM pragma_table_list").fetchall()
    )
    ours = {name: strict for name, strict in rows if not name.startswith("sqlite_")}
    assert {"devices", "device_codes", "api_clients", "challenge_types", "processes"} <= set(ours)
    assert set(ours.values()) == {1}


async def test_no_column_is_of_a_code(store: SqliteStore) -> None:
    """Requirement 6: a code's only stored form is its digest."""
    rows = await store._reader.call(
        lambda c: c.execute("SELECT name FROM pragma_table_info('device_codes')").fetchall()
    )
    assert {name for (name,) in rows} == {
        "seq",
        "challenge_id",
        "device_id",
        "digest",
        "length",
        "state",
        "issued_at_ms",
        "expires_at_ms",
        "ended_at_ms",
        "confirmed_route",
    }


async def test_no_column_of_any_table_could_be_of_a_code_or_contact(store: SqliteStore) -> None:
    """Requirements 6 and 10: where one could stand, the name of its derived form stands."""
    rows = await store._reader.call(
        lambda c: c.execute(
            "SELECT t.name, i.name FROM pragma_table_list AS t, pragma_table_info(t.name) AS i"
        ).fetchall()
    )
    telling = re.compile("code|answer|secret|token|password|phone|email|contact|body|text")
    assert {(table, column) for table, column in rows if telling.search(str(column))} == {
        ("devices", "token_digest"),
        ("api_clients", "secret_digest"),
        ("challenge_types", "code_type"),
        ("challenge_types", "code_length"),
        ("templates", "text"),
        ("plans", "body"),
        ("contact_failures", "contact_index"),
        ("users", "email_index"),
        ("users", "email_sealed"),
        ("users", "email_key_id"),
        ("users", "password_version"),
        ("passwords", "password_hash"),
        ("resets", "secret_digest"),
        ("resets", "email_index"),
        *(
            ("processes", f"{contact}_{column}")
            for contact in ("phone", "email")
            for column in ("index", "sealed", "counted")
        ),
    }


HOT: list[Callable[[apsw.Connection], object]] = [
    lambda c: issue_statements.issue_device_codes(c, [new_code(2, 1, [[1, 2], [3, 4]])]),  # clear
    lambda c: issue_statements.issue_device_codes(c, [new_code(2, 1, [[1, 8], [3, 4]])]),  # not
    lambda c: code_statements.void_device_codes(c, [challenge(1)], 1),
    lambda c: code_statements.live_device_codes(c, 1),
    lambda c: code_statements.count_guesses(c, [(guess(1), [digest(8), digest(9)])]),
    lambda c: code_statements.accept_device_codes(c, [accept(1)]),
    lambda c: code_statements.guesses_since(c, 1),
    lambda c: code_statements.sweep(c, 1, 1, 1),
    lambda c: device_statements.get_devices(c, ["device-0"]),
    lambda c: device_statements.revoke_device(c, "device-3", 1),
    lambda c: device_statements.revocations_since(c, 0),
]


NO_TABLE = re.compile(r"SCAN (new|given|carray|parts|CONSTANT ROW)\b")
"""What is as small as the question: its rows, the parts of an index, nothing at all."""


@pytest.mark.parametrize("run", HOT)
async def test_no_hot_statement_scans_a_table(
    store: SqliteStore, run: Callable[[apsw.Connection], object]
) -> None:
    await store.issue_device_codes([new_code(1, 0, [[1]])])

    def plans(connection: apsw.Connection) -> list[str]:
        seen: list[tuple[str, object]] = []

        def trace(_: apsw.Cursor, sql: str, bindings: object) -> bool:
            seen.append((sql, bindings))
            return True

        connection.exec_trace = trace
        run(connection)
        connection.exec_trace = None
        assert seen
        return [
            row[3]
            for sql, bindings in seen
            if re.match("SELECT|UPDATE|DELETE|INSERT|WITH", sql)
            for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)
        ]

    for line in await store._writer.call(plans):
        assert not line.startswith("SCAN") or NO_TABLE.match(line), line


@pytest.mark.parametrize("umask", [0o000, 0o777])
async def test_the_files_are_their_owners_alone(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        store = await open_sqlite_store(path)
        await add_devices(store, 1)
        modes = {p.name: p.stat().st_mode & 0o777 for p in path.parent.iterdir()}
        await store.aclose()
    finally:
        os.umask(before)
    assert modes == {"otp.db": 0o600, "otp.db-wal": 0o600, "otp.db-shm": 0o600}


async def test_a_missing_folder_or_a_folder_as_file_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist: create it"):
        await open_sqlite_store(tmp_path / "no" / "otp.db")
    with pytest.raises(ConfigError, match="is not a file"):
        await open_sqlite_store(tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_a_sqlite_that_corrupts_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(ConfigError, match=r"3\.51\.2 can corrupt .* 3\.51\.3 or newer"):
        await open_sqlite_store(path)
    assert not path.exists()


async def test_the_url_names_the_store(tmp_path: Path) -> None:
    for url in ("sqlite:otp.db", f"sqlite:{tmp_path}/other.db"):
        store = await open_store(url, tmp_path)
        assert isinstance(store, SqliteStore)
        await store.aclose()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.db", "otp.db"]
    assert isinstance(await open_store("memory:", tmp_path), MemoryStore)


@pytest.mark.parametrize(
    "url", ["", "sqlite", "sqlite:", "sqlite://host/db", "memory", "memory:x", "postgresql://h/d"]
)
async def test_any_other_url_is_a_mistake_that_names_what_there_is(
    tmp_path: Path, url: str
) -> None:
    with pytest.raises(ConfigError, match=r"store\.url .*sqlite:NAME.*memory:"):
        await open_store(url, tmp_path)
