"""The port's sentences about the keys of contacts, and about failures that nobody needs."""

from __future__ import annotations

from otp_server.domain.budget import FAILURES_KEPT_MS, WAIT_FROM
from otp_server.domain.process import SealedContact
from otp_server.services.ports import Store
from tests.contracts.rest_samples import (
    T0,
    TENANT,
    TTL,
    new_process,
    phone,
    plan,
    start,
    wrong,
)
from tests.support.changed_values import replace


async def test_a_purpose_keeps_the_first_key_until_told_anew(store: Store) -> None:
    assert await store.mark_key("index", "aa") == "aa"
    assert await store.mark_key("index", "bb") == "aa"
    assert await store.mark_key("other", "cc") == "cc"
    assert await store.mark_key("index", "bb", anew=True) == "bb"
    assert await store.mark_key("index", "aa") == "bb"


async def test_the_keys_that_seal_contacts_of_open_processes(store: Store) -> None:
    item = new_process(1, to=1, mail=2, ttl=1000)
    assert item.phone is not None
    assert item.email is not None
    sealed = replace(
        item,
        phone=SealedContact(item.phone.index, b"\x02k1rest"),
        email=SealedContact(item.email.index, b"\x03key-rest"),
    )
    await start(store, sealed)
    assert await store.sealing_key_ids_in_use(T0 + 999) == {"k1", "key"}
    assert await store.sealing_key_ids_in_use(T0 + 1000) == set()


async def test_few_failures_are_forgotten_after_a_year_and_many_never(store: Store) -> None:
    many = plan(max_attempts=20, attempts=20)
    await start(store, new_process(1, of=many, to=1))
    await wrong(store, 1, at=7)
    for n in range(2, 6):
        await start(store, new_process(n, of=many, to=2, at=n))
        for _ in range(WAIT_FROM // 4 + 1):
            if await store.contact_failures(TENANT, phone(2)) < WAIT_FROM:
                await wrong(store, n, at=7)
    assert await store.contact_failures(TENANT, phone(2)) == WAIT_FROM
    assert await store.sweep_processes(T0 + TTL + 100, forget_before_ms=0) > 0
    year = T0 + 7 + FAILURES_KEPT_MS
    assert await store.sweep_processes(year, forget_before_ms=0) == 0
    assert await store.contact_failures(TENANT, phone(1)) == 1
    assert await store.sweep_processes(year + 1, forget_before_ms=0) == 1
    assert await store.contact_failures(TENANT, phone(1)) == 0
    assert await store.contact_failures(TENANT, phone(2)) == WAIT_FROM
