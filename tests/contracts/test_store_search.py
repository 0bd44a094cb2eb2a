"""The port's sentences about search: pages, order, each filter and all of them (requirement 65)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from otp_server.domain.process import Entity
from otp_server.services.ports import Store
from otp_server.services.ports.processes import NewProcess, ProcessQuery
from tests.contracts.rest_samples import (
    BOTH,
    SMS,
    TENANT,
    client,
    email,
    found,
    lease,
    new_process,
    phone,
    plan,
    query,
    start,
    uuid,
)

ROWS = 10_000
PEOPLE, CLIENTS, LEADS = 700, 300, 50
TYPES = {1: BOTH, 2: plan(SMS, type_id=2)}


def entities_of(n: int) -> tuple[Entity, ...]:
    owned = [client(n % CLIENTS)]
    if n % 3 == 0:
        owned.append(Entity("lead", str(n % LEADS)))
    if n % 7 == 0:
        owned += [Entity("lead", "client"), client(n % CLIENTS)]  # one of them twice
    return tuple(owned)


def row(n: int) -> NewProcess:
    """Every 10th is of another type, every 13th of another tenant, every 4th has no e-mail."""
    return new_process(
        n,
        of=TYPES[2 if n % 10 == 9 else 1],
        to=n % PEOPLE,
        mail=None if n % 4 == 3 else n % (PEOPLE + 1),
        tenant="other" if n % 13 == 12 else TENANT,
        entities=entities_of(n),
        at=-n,  # newest is what was started last, whatever its clock said
    )


def has(item: NewProcess, wanted: ProcessQuery) -> bool:
    """What a search should say, from what was stored."""
    by_phone = None if item.phone is None else item.phone.index
    by_email = None if item.email is None else item.email.index
    return (
        (item.tenant, item.plan.type_id) == (wanted.tenant, wanted.type_id)
        and wanted.phone_index in (None, by_phone)
        and wanted.email_index in (None, by_email)
        and all(entity in item.entities for entity in wanted.entities)
    )


async def hits(store: Store, wanted: ProcessQuery) -> list[bytes]:
    return [process.uuid for process, _ in await store.search_processes(wanted)]


async def test_ten_thousand_rows_by_every_combination_of_filters(store: Store) -> None:
    rows = [row(n) for n in range(ROWS)]
    for first in range(0, ROWS, 1000):
        await start(store, *rows[first : first + 1000])
    rows.reverse()
    lists: list[tuple[Entity, ...]] = [
        (),
        (client(7),),
        (Entity("lead", "0"),),
        (client(0), Entity("lead", "0")),
        (Entity("lead", "client"), client(0), Entity("lead", "0")),
        (client(0), client(0)),
        (client(0), client(1)),
        (Entity("0", "client"),),
    ]
    phones = (None, phone(0), phone(42), phone(PEOPLE + 9))
    emails = (None, email(0), email(42))
    found_some = 0
    for entities, by_phone, by_email in product(lists, phones, emails):
        for type_id, tenant in ((1, TENANT), (2, TENANT), (1, "other"), (3, TENANT)):
            wanted = query(
                *entities, type_id=type_id, phone=by_phone, email=by_email, tenant=tenant, limit=20
            )
            expected = [item.uuid for item in rows if has(item, wanted)]
            assert await hits(store, wanted) == expected[:20], wanted
            found_some += bool(expected)
    assert found_some > 30
    await walk_pages(store, rows, lambda offset: query(limit=333, offset=offset))
    await walk_pages(store, rows, lambda offset: query(client(0), limit=7, offset=offset))
    await walk_pages(store, rows, lambda offset: query(phone=phone(3), limit=2, offset=offset))


async def walk_pages(
    store: Store, rows: list[NewProcess], page: Callable[[int], ProcessQuery]
) -> None:
    """Pages in a row are the whole, newest first, and there is nothing after the last."""
    whole: list[bytes] = []
    while uuids := await hits(store, page(len(whole))):
        whole += uuids
    assert whole == [item.uuid for item in rows if has(item, page(0))]
    assert len(whole) > page(0).limit


async def test_entities_match_by_type_and_id_together(store: Store) -> None:
    await start(
        store,
        new_process(1, to=1, entities=(Entity("a", "b"), Entity("c", "d"))),
        new_process(2, to=2, entities=(Entity("a", "d"), Entity("c", "b"))),
        new_process(3, to=3, entities=(Entity("ab", ""), Entity("A", "b"))),
    )
    assert await hits(store, query(Entity("a", "b"))) == [uuid(1)]
    assert await hits(store, query(Entity("c", "b"), Entity("a", "d"))) == [uuid(2)]
    assert await hits(store, query(Entity("a", "b"), Entity("a", "d"))) == []
    assert await hits(store, query(Entity("ab", ""))) == [uuid(3)]


async def test_64_entities_can_be_asked_for_at_once(store: Store) -> None:
    """Requirement 68 allows as many."""
    all_of_them = tuple(client(n) for n in range(64))
    await start(store, new_process(1, entities=all_of_them), new_process(2, to=2))
    for wanted in (query(*all_of_them), query(*all_of_them, phone=phone(1))):
        assert await hits(store, wanted) == [uuid(1)]
    assert await hits(store, query(*all_of_them, client(64))) == []


async def test_a_search_shows_processes_as_they_are_found_alone(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, mail=1, entities=(client(1), client(2))))
    await start(store, new_process(2, of=BOTH, to=2, mail=2))
    await lease(store, limit=1)
    results = await store.search_processes(query())
    assert [process for process, _ in results] == [await found(store, n) for n in (2, 1)]
    assert [[each.state for each in deliveries] for _, deliveries in results] == [
        ["queued"],
        ["leased"],
    ]
    assert await store.search_processes(query(limit=0)) == []
    assert await hits(store, query(offset=1)) == [uuid(1)]
    assert await hits(store, query(offset=2)) == []
