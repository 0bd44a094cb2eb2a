"""Accounts, sessions and resets in SQLite: no statement scans, and what the tables refuse."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest
import trio

from otp_server.domain.challenge_type import EVERY_CHANNEL
from otp_server.domain.process import SealedContact
from otp_server.services.ports.accounts import SignIn
from otp_server.services.ports.processes import Counted, NewAttempt
from otp_server.stores.sqlite import SqliteOptions, SqliteStore, open_sqlite_store
from otp_server.stores.sqlite import account_statements as accounts
from otp_server.stores.sqlite import attempt_statements as attempts
from otp_server.stores.sqlite import process_statements as processes
from otp_server.stores.sqlite import reset_statements as resets
from otp_server.stores.sqlite import search_statements as search
from otp_server.stores.sqlite import session_statements as sessions
from otp_server.stores.sqlite.connection import prepare_file
from otp_server.stores.sqlite.plan_statements import PlanCache
from otp_server.stores.sqlite.process_keys import ProcessKeys
from otp_server.stores.sqlite.process_rows import ProcessWork
from otp_server.stores.sqlite.schema import load_migrations, migrate, schema_number
from tests.contracts.account_samples import (
    SVC,
    VISITOR,
    add_user,
    by_email,
    by_uid,
    change,
    change_one,
    check,
    count,
    live,
    reset,
    says,
    secret,
    session,
    sign_in,
    uid,
    user,
)
from tests.contracts.rest_samples import EMAIL, T0, contact, uuid
from tests.support.changed_values import replace
from tests.unit.stores.query_plans import is_scan, plans_of, steps_of

COLUMNS = {
    "users": "uid organisation email_index email_sealed email_key_id firstname lastname"
    " created_at_ms password_version",
    "passwords": "uid password_hash",
    "sessions": "digest organisation host uid created_at_ms expires_at_ms",
    "resets": "secret_digest process_id uid email_index session_digest method expires_at_ms",
}


def settle(work: ProcessWork, settle_all: Callable[[ProcessWork, Counted], object]) -> None:
    """An attempt on the reset 1, from beginning to end."""
    [counted] = attempts.count_attempts(work, [NewAttempt(uuid(1), SVC, T0, VISITOR)])
    assert isinstance(counted, Counted)
    settle_all(work, counted)


HOT: list[Callable[[ProcessWork], object]] = [
    lambda w: accounts.add_user(w, user(9), "hash", VISITOR),
    lambda w: accounts.find_users(w.connection, [by_uid(1), by_email(1)]),
    lambda w: accounts.list_users(w.connection, uid(1), 10),
    lambda w: accounts.find_password(w.connection, uid(1)),
    lambda w: sessions.add_session(w.connection, session(20)),
    lambda w: sessions.find_sessions(w.connection, [session(1).digest], T0),
    lambda w: sessions.sign_in(w, SignIn(session(20, of=1), session(1).digest, 1, VISITOR)),
    lambda w: sessions.end_session(w, session(1).digest, VISITOR, T0),
    lambda w: sessions.sweep_sessions(w.connection, T0 + 10**9),
    lambda w: resets.start_resets(w, [reset(20), reset(21, of=None)]),
    lambda w: resets.find_resets(w, [secret(1)]),
    lambda w: settle(w, lambda w, c: resets.settle_checks(w, [says(c)])),
    lambda w: settle(w, lambda w, c: resets.settle_checks(w, [says(c, right=False)])),
    lambda w: settle(w, lambda w, c: resets.change_passwords(w, [change(c, 20)])),
    lambda w: processes.sweep_processes(w, T0, T0 + 1, EVERY_CHANNEL),
    lambda w: search.sealing_key_ids_in_use(w, T0),
]


async def filled(store: SqliteStore) -> None:
    """Some of everything: reset 1 has an attempt that failed, and one that is being compared."""
    for n in (1, 2):
        await add_user(store, n)
    await store.add_session(session(0))
    await sign_in(store, 1)
    await sign_in(store, 2, of=2)
    await store.start_resets([reset(1), reset(2, by=1), reset(3, of=2), reset(4, of=None)])
    await check(store, await count(store, 1), right=False)
    await count(store, 1)


@pytest.mark.parametrize("run", HOT)
async def test_no_statement_scans_a_table(
    store: SqliteStore, run: Callable[[ProcessWork], object]
) -> None:
    await filled(store)
    lines = await plans_of(store, run)
    assert lines
    assert [line for line in lines if is_scan(line)] == []


OLDER: list[tuple[str, Callable[[ProcessWork], object]]] = [
    (
        "resets_asked (session_digest=? AND email_index=? AND method=? AND expires_at_ms>?)",
        lambda w: resets.start_resets(w, [reset(20)]),
    ),
    (
        "resets_user (uid=? AND expires_at_ms>?)",
        lambda w: settle(w, lambda w, c: resets.change_passwords(w, [change(c, 20)])),
    ),
]


@pytest.mark.parametrize(("index", "run"), OLDER, ids=["asked", "user"])
async def test_older_resets_are_found_by_all_they_share(
    store: SqliteStore, index: str, run: Callable[[ProcessWork], object]
) -> None:
    """Bounded by what one session, or one user, can ask for within the life of a code."""
    await filled(store)
    lines = await plans_of(store, run)
    assert [line for line in lines if line.endswith(index)]


async def test_the_number_of_accounts_costs_the_look_for_keys_nothing(store: SqliteStore) -> None:
    async def add(first: int, last: int) -> None:
        async with trio.open_nursery() as nursery:
            for n in range(first, last):
                address = contact(EMAIL, n)
                sealed = SealedContact(address.index, b"\x02k" + b"12"[n % 2 :][:1] + b"..")
                given = replace(user(n), email=sealed)
                nursery.start_soon(store.add_user, given, None, VISITOR)

    await add(0, 10)
    few = await steps_of(store, lambda w: search.sealing_key_ids_in_use(w, T0))
    await add(10, 1000)
    assert await steps_of(store, lambda w: search.sealing_key_ids_in_use(w, T0)) <= few * 1.1
    assert await store.sealing_key_ids_in_use(T0) == {"k1", "k2"}


async def test_a_look_for_accounts_reads_no_password(store: SqliteStore) -> None:
    await filled(store)

    def look(connection: apsw.Connection) -> list[str]:
        seen: list[str] = []

        def note(action: int, table: str | None, column: str | None, *_: str | None) -> int:
            if action == apsw.SQLITE_READ:
                seen.append(f"{table}.{column}")
            return apsw.SQLITE_OK

        connection.authorizer = note
        accounts.find_users(connection, [by_uid(1), by_email(2)])
        accounts.list_users(connection, "", 10)
        connection.authorizer = None
        return seen

    seen = await store._reader.call(look)
    assert "users.email_sealed" in seen
    assert [each for each in seen if "hash" in each or each.startswith("passwords")] == []


async def test_only_derived_forms_have_a_column(store: SqliteStore) -> None:
    rows = await store._reader.call(
        lambda c: c.execute(
            "SELECT t.name, i.name FROM pragma_table_list AS t, pragma_table_info(t.name) AS i"
            " WHERE t.name IN ('users', 'passwords', 'sessions', 'resets')"
        ).fetchall()
    )
    columns: dict[object, list[object]] = {}
    for table, column in rows:
        columns.setdefault(table, []).append(column)
    assert {table: " ".join(map(str, names)) for table, names in columns.items()} == COLUMNS


async def test_the_table_itself_refuses_an_email_twice(store: SqliteStore) -> None:
    """The second lock on that door: what the command line adds meanwhile meets it too."""
    await add_user(store)

    def copy(connection: apsw.Connection) -> None:
        connection.execute(
            "INSERT INTO users SELECT 'other', organisation, email_index, email_sealed,"
            " email_key_id, firstname, lastname, created_at_ms, password_version FROM users"
        )

    with pytest.raises(apsw.ConstraintError):
        await store._writer.call(copy)


# Restarts and versions.


async def test_all_of_it_is_in_the_file(path: Path, store: SqliteStore) -> None:
    await filled(store)
    counted = await count(store, 1)
    again = await open_sqlite_store(path)
    assert await again.find_resets([secret(1)]) == [reset(1).reset]
    assert (await change_one(again, change(counted, 9))).settled.value == "accepted"
    await again.aclose()
    assert await store.find_password(uid(1)) == "hash 9"
    assert await live(store, 0, 1, 2, 9) == [2, 9]


async def test_processes_of_the_schema_before_go_on(path: Path) -> None:
    before = load_migrations()[:4]
    with closing(apsw.Connection(str(path))) as connection:
        migrate(connection, path, before)
        assert schema_number(connection) == 4
        connection.execute("INSERT INTO plans VALUES (1, x'00', ?)", (OLD_PLAN,))
        connection.execute(OLD_START, (uuid(1), T0, T0 + 1000))
    store = await open_sqlite_store(path)
    [counted] = await store.count_attempts([NewAttempt(uuid(1), "acme", T0, VISITOR)])
    assert isinstance(counted, Counted)
    assert counted.attempt == 3
    await store.aclose()


OLD_PLAN = (
    b'{"type_id":1,"type_name":"t","code_type":"numeric","code_length":6,"ttl":60,'
    b'"max_attempts":5,"routes":[{"channel":"sms","template_id":1,"attempts":5,"subject":"",'
    b'"text":"${answer}"}]}'
)
OLD_START = (
    "INSERT INTO processes (uuid, tenant, type_id, plan_id, status, attempts, generation, route,"
    " route_status, route_attempts, key_id, created_at_ms, updated_at_ms, expires_at_ms,"
    " phone_index, phone_sealed, phone_counted, email_index, email_sealed, email_counted,"
    " address, entities)"
    " VALUES (?1, 'acme', 1, 1, 'new', 2, 1, 0, 'new', 2, 'k1', ?2, ?2, ?3,"
    " x'01', x'02', 1, NULL, NULL, 0, NULL, '[]')"
)
"""As the server before this schema writes it."""


async def test_a_server_of_the_schema_before_may_go_on_beside_us(store: SqliteStore) -> None:
    """What it starts is good for us, and what it forgets takes our rows along."""
    await filled(store)

    def old_server(connection: apsw.Connection) -> None:
        connection.execute("DELETE FROM messages")
        connection.execute("DELETE FROM open_attempts")
        connection.execute("DELETE FROM processes")
        connection.execute("INSERT OR REPLACE INTO plans VALUES (1, x'00', ?)", (OLD_PLAN,))
        connection.execute(OLD_START, (uuid(50), T0, T0 + 1000))

    await store._writer.call(old_server)
    assert await store.find_resets([secret(n) for n in (1, 2, 3, 4)]) == [None] * 4
    [counted] = await store.count_attempts([NewAttempt(uuid(50), "acme", T0, VISITOR)])
    assert isinstance(counted, Counted)


def test_a_failure_in_the_middle_of_a_change_undoes_it_all(path: Path) -> None:
    """As a kill does: a transaction that did not commit left nothing."""
    prepare_file(path, SqliteOptions())
    with closing(apsw.Connection(str(path))) as connection:
        connection.pragma("foreign_keys", 1)
        work = ProcessWork(connection, PlanCache(), ProcessKeys())
        accounts.add_user(work, user(1), "hash 0", VISITOR)
        sessions.add_session(connection, session(0))
        resets.start_resets(work, [reset(1)])
        [counted] = attempts.count_attempts(work, [NewAttempt(uuid(1), SVC, T0, VISITOR)])
        assert isinstance(counted, Counted)
        steps = 0

        def fail_at(last: int) -> Callable[[apsw.Cursor, str, object], bool]:
            def trace(_: apsw.Cursor, sql: str, bindings: object) -> bool:
                nonlocal steps
                steps += 1
                return steps <= last  # False ends the statement with an error

            return trace

        last = 0
        while True:
            connection.execute("SAVEPOINT one")
            steps, connection.exec_trace = 0, fail_at(last)
            try:
                resets.change_passwords(
                    ProcessWork(connection, PlanCache(), ProcessKeys()), [change(counted, 9)]
                )
                connection.exec_trace = None
                break
            except apsw.ExecTraceAbort:
                connection.exec_trace = None
                connection.execute("ROLLBACK TO one")
                connection.execute("RELEASE one")
            assert accounts.find_password(connection, uid(1)) == "hash 0"
            assert connection.execute("SELECT status FROM processes").get == "new"
            assert connection.execute("SELECT digest FROM sessions").fetchall() == [
                (session(0).digest,)
            ]
            last += 1
        assert last > 10
        assert accounts.find_password(connection, uid(1)) == "hash 9"
        assert accounts.find_users(connection, [by_uid(1)])[0] == replace(
            user(1), password_version=2
        )
