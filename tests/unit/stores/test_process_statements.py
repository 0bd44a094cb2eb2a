"""Processes in SQLite: no search scans, nothing is in clear, plans are kept once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import apsw
import pytest

from otp_server.domain.challenge_type import EVERY_CHANNEL, Plan
from otp_server.services.ports.outbox import MessageState
from otp_server.services.ports.processes import Counted, ProcessQuery
from otp_server.stores.sqlite import (
    SqliteStore,
    audit_statements,
    open_sqlite_store,
    plan_statements,
)
from otp_server.stores.sqlite import attempt_statements as attempts
from otp_server.stores.sqlite import outbox_statements as outbox
from otp_server.stores.sqlite import process_statements as processes
from otp_server.stores.sqlite import search_statements as search
from otp_server.stores.sqlite import settle_statements as settling
from otp_server.stores.sqlite import start_statements as starting
from otp_server.stores.sqlite.process_keys import ProcessKeys
from otp_server.stores.sqlite.process_rows import ProcessWork
from tests.contracts.rest_samples import (
    BOTH,
    CALLER,
    LEASE,
    SMS,
    T0,
    TENANT,
    attempt,
    claim,
    client,
    counted,
    email,
    found,
    lease,
    new_process,
    phone,
    plan,
    query,
    report,
    start,
    states,
    uuid,
    verdict,
)
from tests.unit.stores.query_plans import is_scan, plans_of, steps_of

LATER = T0 + 10**7
COLUMNS = {
    "processes": "id uuid tenant type_id plan_id status failure attempts generation route"
    " route_status route_attempts key_id created_at_ms updated_at_ms expires_at_ms phone_index"
    " phone_sealed phone_counted email_index email_sealed email_counted address entities"
    " given_back open",
    "process_keys": "key process_id",
    "messages": "id process_id tenant generation route channel leaves state tries due_at_ms"
    " updated_at_ms lease lease_until_ms provider problem reference",
    "open_attempts": "process_id attempt at_ms",
    "contact_failures": "tenant contact_index failures last_at_ms",
    "idempotency_claims": "tenant client_id operation key fingerprint expires_at_ms uuid route"
    " generation attempt counted_at_ms accepted",
    "process_entities": "entity_type entity_id type_id process_id",
    "plans": "id digest body",
    "audit": "seq at_ms tenant actor address action subject outcome hash",
}


def settle(work: ProcessWork) -> None:
    """Right, wrong and late ones, with claims, until a route and the process are used up."""
    for n, right in ((1, False), (1, False), (2, True), (2, True)):
        keyed = claim(f"settle {n} {right} {work.connection.total_changes()}")
        [one] = attempts.count_attempts(work, [attempt(n, claim=keyed)])
        if isinstance(one, Counted):
            settling.settle_attempts(work, [verdict(one, right=right, claim=keyed)])


def send(work: ProcessWork) -> None:
    for state in (MessageState.FAILED, MessageState.QUEUED, MessageState.SENT):
        for message in outbox.claim_messages(
            work, SMS, now_ms=T0 + 5, lease_until_ms=T0 + LEASE, limit=1, turns={}
        ):
            outbox.report_deliveries(work, [report(message, state)])
    for now_ms in (T0 + 6, T0 + 7 + LEASE):  # lets a lease run out
        outbox.claim_messages(
            work, SMS, now_ms=now_ms, lease_until_ms=now_ms + 1, limit=1, turns={}
        )


HOT: list[Callable[[ProcessWork], object]] = [
    lambda w: starting.start_processes(w, [new_process(9, of=BOTH, mail=1, claim=claim("new"))]),
    lambda w: starting.start_processes(
        w, [new_process(9, entities=(client(1),), claim=claim("start", operation="init"))]
    ),
    lambda w: attempts.count_attempts(w, [attempt(1, claim=claim("count"))] * 2),
    lambda w: attempts.count_attempts(w, [attempt(1, at=10**5, claim=claim("counted"))]),
    settle,
    send,
    lambda w: outbox.next_message_at(w, SMS),
    lambda w: starting.recall_starts(w, [(TENANT, claim("start", operation="init"))], T0),
    lambda w: search.find_process(w, TENANT, uuid(1)),
    lambda w: search.starts_since(w, (T0, 5), 10),
    lambda w: search.key_ids_in_use(w, T0),
    lambda w: attempts.contact_failures(w, TENANT, phone(1)),
    lambda w: attempts.forgive_contact(w, TENANT, phone(1), CALLER, T0),
    lambda w: processes.sweep_processes(w, T0 + 20_000, 0, EVERY_CHANNEL),
    lambda w: processes.sweep_processes(w, LATER + 1, LATER, EVERY_CHANNEL),
    lambda w: audit_statements.audit_after(w.connection, 1, 10),
]
SEARCHES = [
    query(*(client(n) for n in range(entities)), phone=by_phone, email=by_email, offset=1)
    for entities, by_phone, by_email in product((0, 1, 2, 64), (None, phone(1)), (None, email(1)))
]


async def filled(store: SqliteStore) -> None:
    """Some of everything."""
    await start(
        store,
        new_process(1, of=BOTH, mail=1, entities=(client(0), client(1))),
        new_process(2, to=2, claim=claim("start", operation="init")),
        new_process(3, of=BOTH, to=3, mail=3),
    )
    await counted(store, 1, claim=claim("counted"))


@pytest.mark.parametrize("run", HOT)
async def test_no_statement_scans_a_table(
    store: SqliteStore, run: Callable[[ProcessWork], object]
) -> None:
    await filled(store)
    lines = await plans_of(store, run)
    assert lines
    assert [line for line in lines if is_scan(line)] == []


@pytest.mark.parametrize("wanted", SEARCHES)
async def test_no_search_scans_and_only_a_contacts_sorts(
    store: SqliteStore, wanted: ProcessQuery
) -> None:
    await filled(store)
    lines = await plans_of(store, lambda work: search.search_processes(work, wanted))
    assert [line for line in lines if is_scan(line)] == []
    walked = [line for line in lines if line.startswith(("SEARCH p ", "SEARCH e "))]
    by_contact = wanted.phone_index or wanted.email_index
    index = (
        "PRIMARY KEY (rowid=?)"
        if by_contact
        else "PRIMARY KEY (entity_type=? AND entity_id=? AND type_id=?)"
        if wanted.entities
        else "processes_type (tenant=? AND type_id=?)"
    )
    assert [line for line in walked if "rowid" not in line and not line.endswith(index)] == []
    assert by_contact or sum(line.endswith(index) for line in walked) == 1
    looked_up = [line for line in lines[1:] if "SEARCH process_entities" in line]
    assert [line for line in looked_up if not line.endswith("type_id=? AND process_id=?)")] == []
    of_the_page = lines[: next(n for n, line in enumerate(lines) if "messages" in line)]
    assert any("TEMP B-TREE" in line for line in of_the_page) == bool(by_contact)


async def test_contacts_and_codes_are_nowhere_in_clear(store: SqliteStore) -> None:
    """Requirements 6 and 10: the only columns that could hold one hold what is named here."""
    rows = await store._reader.call(
        lambda c: c.execute(
            "SELECT t.name, i.name FROM pragma_table_list AS t, pragma_table_info(t.name) AS i"
            " WHERE t.name IN ('processes', 'process_keys', 'messages', 'open_attempts',"
            " 'contact_failures', 'idempotency_claims', 'process_entities', 'plans', 'audit')"
        ).fetchall()
    )
    columns: dict[object, list[object]] = {}
    for table, column in rows:
        columns.setdefault(table, []).append(column)
    assert {table: " ".join(map(str, names)) for table, names in columns.items()} == COLUMNS


async def count_of(store: SqliteStore, table: str) -> int:
    counted = await store._reader.call(
        lambda c: c.execute(f"SELECT count(*) FROM {table}").get  # noqa: S608 - a test's own word
    )
    return int(counted)


async def test_a_plan_is_kept_once_and_goes_with_its_last_process(store: SqliteStore) -> None:
    other = plan(type_id=2)
    await start(
        store, *(new_process(n, to=n, at=n) for n in range(3)), new_process(9, of=other, at=1)
    )
    assert await count_of(store, "plans") == 2
    await store.sweep_processes(T0, forget_before_ms=T0 + 2)
    assert await count_of(store, "plans") == 1
    assert (await found(store, 2)).plan == plan()
    await store.sweep_processes(T0, forget_before_ms=T0 + 3)
    assert await count_of(store, "plans") == 0


async def test_nothing_of_a_forgotten_process_stays(store: SqliteStore) -> None:
    """Requirement 10: retention deletes for real; the budget of the contact is what may stay."""
    store._keys = ProcessKeys((1, 1))  # filed at once
    entities = (client(1), client(2), client(1))
    await start(store, new_process(1, of=BOTH, mail=1, entities=entities))
    await counted(store, 1)
    await start(store, new_process(2, to=2))
    assert await count_of(store, "process_keys") > 0
    await lease(store)
    await store.sweep_processes(T0, forget_before_ms=T0 + 1)
    tables = ("processes", "process_keys", "messages", "process_entities", "open_attempts", "plans")
    for table in tables:
        assert await count_of(store, table) == 0, table


async def test_a_plan_number_given_again_after_a_rollback_is_another_plan(
    store: SqliteStore,
) -> None:
    """The cache goes by content: the second plan gets the row number of the first."""

    def start_and_fail(work: ProcessWork) -> None:
        starting.start_processes(work, [new_process(1, of=BOTH, mail=1)])
        assert work.by_uuid(TENANT, uuid(1)) is not None  # now it is cached
        raise RuntimeError("no commit")

    with pytest.raises(RuntimeError):
        await store._write(start_and_fail)
    await start(store, new_process(2, of=plan(type_id=7)))
    [process] = [await found(store, 2)]
    assert process.plan == plan(type_id=7)
    assert (await counted(store, 2)).plan == plan(type_id=7)


@pytest.mark.parametrize("change", ["generation = 2", "status = 'accepted'"])
async def test_a_message_of_no_use_is_void_even_if_nobody_voided_it(
    store: SqliteStore, change: str
) -> None:
    """Whoever ends a process or its code voids the queued; this is the second lock on that door."""
    await start(store, new_process(1))
    await store._writer.call(
        lambda c: c.execute(f"UPDATE processes SET {change}").fetchall()  # noqa: S608 - as above
    )
    assert await lease(store) == []
    assert await states(store, 1) == ["void"]


async def test_the_cache_of_plans_is_bounded(store: SqliteStore) -> None:
    plans = [plan(type_id=n) for n in range(1, 9)]
    await start(store, *(new_process(n, of=of, to=n) for n, of in enumerate(plans)))

    def read(connection: apsw.Connection) -> tuple[list[Plan], int]:
        rows = connection.execute("SELECT id, digest, length(body) FROM plans").fetchall()
        size = max(int(row[2]) for row in rows)  # type: ignore[arg-type]  # a length
        cache = plan_statements.PlanCache(bytes_max=3 * size)
        seen = [
            cache.get(connection, int(row[0]), bytes(row[1]))  # type: ignore[arg-type]  # of their column
            for row in [*rows, *rows]
        ]
        return seen, len(cache._plans)

    seen, kept = await store._reader.call(read)
    assert seen == [*plans, *plans]
    assert 1 <= kept <= 3


async def test_a_plan_brought_again_is_not_encoded_again(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = plan()
    await start(store, new_process(1, of=of))

    real = plan_statements.msgspec.json.encode

    def encode(value: object) -> bytes:
        assert not isinstance(value, Plan)
        return real(value)

    monkeypatch.setattr(plan_statements.msgspec.json, "encode", encode)
    await start(store, new_process(2, of=of, to=2))
    monkeypatch.undo()
    await start(store, new_process(3, of=plan(), to=3), new_process(4, of=plan(type_id=9), to=4))
    assert await count_of(store, "plans") == 2
    assert (await found(store, 2)).plan == of


@pytest.mark.parametrize(
    "look",
    [
        lambda w: outbox.claim_messages(
            w, SMS, now_ms=T0, lease_until_ms=T0 + LEASE, limit=4, turns={SMS: "b"}
        ),
        lambda w: outbox.next_message_at(w, SMS),
    ],
    ids=["claim", "next"],
)
async def test_the_length_of_a_queue_costs_nothing(
    store: SqliteStore, look: Callable[[ProcessWork], object]
) -> None:
    """Each tenant is found by a step of the index, not by walking over another's messages."""

    async def add(tenant: str, first: int, count: int) -> None:
        numbers = range(first, first + count)
        await start(store, *(new_process(n, to=n, tenant=tenant) for n in numbers))

    for first, tenant in enumerate("abc"):
        await add(tenant, 10_000 * first, 10)
    short = await steps_of(store, look)
    for first, tenant in enumerate("abc"):
        await add(tenant, 10_000 * first + 10, 500)
    assert await steps_of(store, look) <= short * 1.1


async def test_what_a_crash_left_is_there_after_a_restart(path: Path, store: SqliteStore) -> None:
    """Everything but the caches is in the file: a second store on it goes on."""
    await start(store, new_process(1, of=BOTH, mail=1))
    one = await counted(store, 1, claim=claim())
    again = await open_sqlite_store(path)
    assert await again.find_process(TENANT, uuid(1)) == await found(store, 1)
    at = 20_000
    resumed = await counted(again, 1, at=at, claim=claim())
    assert (resumed.attempt, resumed.generation, resumed.resumed) == (one.attempt, 1, True)
    assert len(await lease(again)) == 1
    await again.aclose()
