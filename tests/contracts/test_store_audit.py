"""The port's sentences about the audit trail (requirement 87)."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from msgspec import structs

from otp_server.domain.audit import GENESIS, AuditEntry, chained
from otp_server.domain.budget import CLAIM_PATIENCE_MS
from otp_server.services.ports import Store
from otp_server.services.ports.outbox import MessageState
from otp_server.stores import SqliteStore, open_store
from tests.contracts.rest_samples import (
    BOTH,
    CALLER,
    EMAIL,
    LEASE,
    SMS,
    T0,
    TENANT,
    TTL,
    attempt,
    claim,
    contact,
    count,
    counted,
    lease,
    new_process,
    phone,
    plan,
    report,
    settle,
    start,
    trail,
    uuid,
    wrong,
)
from tests.support.changed_values import replace


def entry(n: int) -> AuditEntry:
    return AuditEntry(n, TENANT, "client:ü", "192.0.2.1", "limit.hit", f"subject {n}", "refused")


def is_unbroken(rows: list[tuple[int, AuditEntry, bytes, bytes]]) -> bool:
    """Each hash is of its entry and of the hash before, from the very first on."""
    previous = GENESIS
    for _, line, before, digest in rows:
        if before != previous or digest != chained(previous, line):
            return False
        previous = digest
    return True


async def last(store: Store) -> AuditEntry:
    return (await store.audit_after(0, 10**6))[-1][1]


# The trail itself.


async def test_entries_are_chained_in_order(store: Store) -> None:
    await store.append_audit([entry(1), entry(2)])
    await store.append_audit([])
    await store.append_audit([entry(3)])
    rows = await store.audit_after(0, 10)
    assert [line for _, line, _, _ in rows] == [entry(n) for n in (1, 2, 3)]
    assert rows[0][2] == GENESIS
    assert rows[2][3] == chained(chained(chained(GENESIS, entry(1)), entry(2)), entry(3))
    assert is_unbroken(rows)


async def test_the_trail_is_read_in_pages(store: Store) -> None:
    assert await store.audit_after(0, 10) == []
    await store.append_audit([entry(n) for n in range(7)])
    whole = await store.audit_after(0, 10)
    pages: list[tuple[int, AuditEntry, bytes, bytes]] = []
    while page := await store.audit_after(pages[-1][0] if pages else 0, 3):
        pages += page
    assert pages == whole
    assert [seq for seq, _, _, _ in whole] == sorted({seq for seq, _, _, _ in whole})
    assert await store.audit_after(whole[-1][0], 10) == []
    assert await store.audit_after(-5, 1) == whole[:1]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit SET outcome = 'accepted' WHERE seq = 3",
        "UPDATE audit SET seq = 99 WHERE seq = 3",
        "DELETE FROM audit WHERE seq = 3",
        "DELETE FROM audit WHERE seq = 1",
    ],
)
async def test_a_changed_trail_is_seen_and_no_statement_can_change_it(
    tmp_path: Path, change: str
) -> None:
    store = await open_store("sqlite:otp.db", tmp_path)
    assert isinstance(store, SqliteStore)
    await start(store, *(new_process(n, to=n) for n in range(5)))
    assert is_unbroken(await store.audit_after(0, 10))
    with pytest.raises(apsw.ConstraintError, match="append-only"):
        await store._writer.call(lambda connection: connection.execute(change).fetchall())
    assert is_unbroken(await store.audit_after(0, 10))

    def tamper(connection: apsw.Connection) -> None:
        for name in ("audit_never_changes", "audit_never_forgets"):
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(change)

    await store._writer.call(tamper)
    assert not is_unbroken(await store.audit_after(0, 10))
    await store.aclose()


# What goes into it.


async def test_each_line_says_who_and_where_and_of_what(store: Store) -> None:
    await start(store, new_process(1, at=3))
    text = uuid(1).hex()
    subject = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    started = AuditEntry(
        T0 + 3, TENANT, CALLER.name, CALLER.address or "", "otp.init", subject, "started"
    )
    assert await last(store) == started
    await count(store, 1, at=5)
    tried = structs.replace(started, at_ms=T0 + 5, action="otp.attempt", outcome="counted")
    assert await last(store) == tried


async def test_every_attempt_is_told_with_its_reason(store: Store) -> None:
    await start(store, new_process(1, of=plan(max_attempts=2)), new_process(2, to=2))
    keyed = claim()
    first = await counted(store, 1)
    await settle(store, first, right=False)
    await count(store, 1, claim=keyed)
    await count(store, 1, claim=keyed)
    await count(store, 1, claim=claim(asks="that"))
    await count(store, 1, at=CLAIM_PATIENCE_MS, claim=keyed)
    await count(store, 1)
    await store.sweep_processes(T0 + 2 * CLAIM_PATIENCE_MS, forget_before_ms=0)
    await count(store, 9)  # whoever makes up a uuid writes nothing
    await count(store, 2, at=TTL)
    await settle(store, await counted(store, 2), right=True)
    await settle(store, first, right=True)
    assert [line for line in await trail(store) if line[0] in ("otp.attempt", "otp.end")] == [
        ("otp.attempt", "counted"),
        ("otp.attempt", "wrong"),
        ("otp.attempt", "counted"),
        ("otp.attempt", "in_flight"),
        ("otp.attempt", "mismatch"),
        ("otp.attempt", "resumed"),
        ("otp.attempt", "exhausted"),
        ("otp.end", "exhausted"),
        ("otp.attempt", "expired"),
        ("otp.attempt", "counted"),
        ("otp.attempt", "accepted"),
        ("otp.attempt", "late"),
    ]


async def test_every_send_is_told_with_its_reason(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    [message] = await lease(store, SMS)
    again = report(message, MessageState.QUEUED, problem="rate_limited")
    await store.report_deliveries([again])
    [message] = await lease(store, SMS)
    await store.report_deliveries([report(message, MessageState.FAILED, problem="rejected")])
    by_provider = (await store.audit_after(0, 100))[2][1]
    assert (by_provider.actor, by_provider.address) == ("provider:acme-sms", "")
    [message] = await lease(store, EMAIL)
    await lease(store, EMAIL, at=LEASE)
    assert (await last(store)).actor == "server"
    assert await trail(store) == [
        ("otp.init", "started"),
        ("otp.deliver", "queued:rate_limited"),
        ("otp.deliver", "failed:rejected"),
        ("otp.route", "next"),
        ("otp.deliver", "uncertain:unknown"),
    ]


async def test_a_superseded_process_is_told_with_who_did_it(store: Store) -> None:
    await start(store, new_process(1), replace(new_process(2), actor=replace(CALLER, name="b")))
    lines = [line for _, line, _, _ in await store.audit_after(0, 10)]
    assert [(line.action, line.outcome, line.actor) for line in lines] == [
        ("otp.init", "started", CALLER.name),
        ("otp.end", "superseded", "b"),
        ("otp.init", "started", "b"),
    ]
    assert lines[1].subject == lines[0].subject


async def test_the_trail_holds_no_contact(store: Store) -> None:
    await start(store, new_process(1, of=BOTH, mail=1))
    await wrong(store, 1)
    await lease(store, EMAIL)
    await store.forgive_contact(TENANT, phone(1), CALLER, T0)
    whole = repr(await store.audit_after(0, 100))
    for sealed in (contact(SMS, 1).sealed, contact(EMAIL, 1).sealed):
        assert repr(sealed)[2:-1] not in whole
        assert sealed.hex() not in whole
    assert f"contact:{phone(1).hex()}" in whole  # a keyed index names it


async def test_what_was_rolled_back_is_not_told(store: Store) -> None:
    await start(store, new_process(1))
    before = await trail(store)
    with pytest.raises(Exception, match="uuid"):
        await store.start_processes([new_process(2, to=2), new_process(1)])
    assert await trail(store) == before
    assert await store.count_attempts([attempt(1)])
    assert await trail(store) == [*before, ("otp.attempt", "counted")]
