"""Limit hits reach the audit trail, a flood of them in few entries (requirement 87)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from otp_server.domain.audit import AuditEntry
from otp_server.errors import StoreUnavailable
from otp_server.services.limit_hits import COUNTS_MAX, Hitter, LimitHits
from otp_server.stores.memory import MemoryStore
from otp_server.telemetry import Metrics
from tests.support.process_world import UNLIMITED, ProcessWorld, init

CALLER = Hitter("acme", "client:a", "192.0.2.1")


def outcomes(entries: list[AuditEntry]) -> list[str]:
    return [entry.outcome for entry in entries]


def test_a_second_and_a_caller_and_a_policy_are_one_entry() -> None:
    hits = LimitHits(Metrics())
    for at_ms in (5_000, 5_999, 6_000):
        hits.note(CALLER, ["contact-60", "calls-60"], at_ms)
    hits.note(CALLER._replace(address="192.0.2.2"), ["calls-60"], 5_000)
    hits.note(CALLER, ["sms-prefix"], 5_000, recorded=True)
    entries = hits.take()
    assert entries[0] == AuditEntry(
        5_000, "acme", "client:a", "192.0.2.1", "otp.limit", "calls-60", "refused:2"
    )
    assert outcomes(entries) == ["refused:2", "refused:2", "recorded:1"] + ["refused:1"] * 3
    assert [entry.at_ms for entry in entries] == [5_000] * 4 + [6_000] * 2
    assert hits.take() == []


def test_a_flood_of_callers_is_counted_without_their_names() -> None:
    hits = LimitHits(Metrics())
    for n in range(10 * COUNTS_MAX):
        hits.note(CALLER._replace(address=str(n)), ["calls-60"], 1000 * n)
    entries = hits.take()
    assert len(entries) == COUNTS_MAX + 1
    [crowd] = [entry for entry in entries if entry.actor == "many"]
    assert (crowd.subject, crowd.outcome) == ("calls-60", f"refused:{9 * COUNTS_MAX}")
    hits.note(CALLER, ["calls-60"], 0)
    assert outcomes(hits.take()) == ["refused:1"]


def test_what_is_put_back_comes_first_and_stays_bounded() -> None:
    hits = LimitHits(Metrics())
    hits.note(CALLER, ["old"], 0)
    hits.put_back(hits.take())
    hits.note(CALLER, ["new"], 0)
    assert [entry.subject for entry in hits.take()] == ["old", "new"]
    for n in range(20):
        for m in range(COUNTS_MAX):
            hits.note(CALLER._replace(address=str(m)), ["calls-60"], n)
        hits.put_back(hits.take())
    assert len(hits.take()) == 2 * COUNTS_MAX


class Failing(MemoryStore):
    fails = True

    async def append_audit(self, entries: object) -> None:
        if self.fails:
            raise StoreUnavailable("the disk is full")
        assert isinstance(entries, list)
        await super().append_audit(entries)


async def test_hits_outlive_a_store_that_fails(autojump_clock: MockClock) -> None:
    store = Failing()
    world = ProcessWorld(store=store, windows=replace(UNLIMITED, contact=((1, 60_000),)))
    await world.add_type()
    await world.starts.start_many([init()] * 3)
    with pytest.raises(StoreUnavailable):
        await world.upkeep.flush_hits()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.upkeep.run)
        await trio.sleep(15)
        assert await world.trail("otp.limit") == []
        store.fails = False
        await trio.sleep(10)
        assert await world.trail("otp.limit") == [("client:client", "contact-60", "refused:2")]
        nursery.cancel_scope.cancel()
