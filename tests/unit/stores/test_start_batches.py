"""A batch of starts, or of reports, is its items one by one: the same answers, the same rows."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp_server.domain.challenge_type import EVERY_CHANNEL
from otp_server.errors import AlreadyExists
from otp_server.services.ports.outbox import MessageState
from otp_server.services.ports.processes import ClaimRefusal, StalePlan, Started
from otp_server.stores.sqlite import outbox_statements, start_statements
from otp_server.stores.sqlite.plan_statements import PlanCache
from otp_server.stores.sqlite.process_keys import ProcessKeys
from otp_server.stores.sqlite.process_rows import ProcessWork
from otp_server.stores.sqlite.schema import migrate
from otp_server.stores.sqlite.start_statements import STARTS_AT_ONCE
from tests.contracts.rest_samples import (
    EMAIL,
    LEASE,
    SMS,
    T0,
    TENANT,
    claim,
    client,
    new_process,
    plan,
    report,
    uuid,
)
from tests.support.changed_values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otp_server.services.ports.outbox import DeliveryReport, LeasedMessage
    from otp_server.services.ports.processes import NewProcess

    Item = tuple[int, ...]
    Step = tuple[str, int, list[Item]]

LIFE = 60_000
TABLES = ("processes", "process_entities", "messages", "idempotency_claims", "plans", "audit")
PLANS = [
    plan(SMS, max_attempts=2, attempts=1),
    plan(SMS, EMAIL, SMS, max_attempts=3, attempts=1),
    plan(EMAIL, SMS, type_id=2, max_attempts=4, attempts=2),
]
_WRONGLY_OPEN = "SELECT id FROM processes WHERE open != (status IN ('new', 'sent'))"
LATER_MS = (0, 0, 0, 1, LEASE, LIFE // 2, LIFE)
STATES = (
    *(MessageState.SENT, MessageState.SENT, MessageState.UNCERTAIN),
    *(MessageState.QUEUED, MessageState.FAILED),
)

item: st.SearchStrategy[Item] = st.tuples(*[st.integers(0, 11)] * 7)
step: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(["start", "start", "report"]),
    st.sampled_from(LATER_MS),
    st.lists(item, min_size=1, max_size=12),
)


class Database:
    """A store's file in memory; the batches of one, or the items of another, one by one."""

    def __init__(self, connection: apsw.Connection, *, whole: bool) -> None:
        self.connection = connection
        self._whole = whole
        self._plans = PlanCache()
        self._keys = ProcessKeys()
        self.leased: dict[int, LeasedMessage] = {}
        connection.pragma("foreign_keys", 1)
        migrate(connection, Path("otp.db"))

    def start(self, batch: Sequence[NewProcess]) -> list[Any]:
        return self._each(start_statements.start_processes, batch)

    def lease(self, at: int) -> None:
        """All that is due, the old leases' ends noted."""
        for channel in (SMS, EMAIL):
            work = ProcessWork(self.connection, self._plans, self._keys)
            for message in outbox_statements.claim_messages(
                work, channel, now_ms=T0 + at, lease_until_ms=T0 + at + LEASE, limit=100, turns={}
            ):
                self.leased[message.message_id] = message
            work.finish()

    def report(self, batch: Sequence[DeliveryReport]) -> list[Any]:
        """Of messages, under the leases that this database gave; ``rejected`` under another."""
        said = [
            each
            if each.problem == "rejected"
            else replace(each, lease=self.leased[each.message_id].lease)
            for each in batch
        ]
        return self._each(outbox_statements.report_deliveries, said)

    def _each(
        self, run: Callable[[ProcessWork, Sequence[Any]], list[Any]], batch: Sequence[Any]
    ) -> list[Any]:
        said: list[Any] = []
        for part in [batch] if self._whole else [[each] for each in batch]:
            work = ProcessWork(self.connection, self._plans, self._keys)
            said += run(work, part)
            work.finish()
        return said

    def rows(self) -> dict[str, list[Any]]:
        """A lease is drawn, so what is told of it is whether there is one."""
        self.connection.row_trace = lambda cursor, row: tuple(
            value is not None if name == "lease" else value
            for (name, *_), value in zip(cursor.get_description(), row, strict=True)
        )
        try:
            return {
                table: self.connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()  # noqa: S608 - our own words
                for table in TABLES
            }
        finally:
            self.connection.row_trace = None


class Twins:
    """A database that is given batches, and one that is given their items."""

    def __init__(self, whole: apsw.Connection, parts: apsw.Connection) -> None:
        self.whole, self.parts = Database(whole, whole=True), Database(parts, whole=False)
        self.seen: Counter[object] = Counter()

    def start(self, batch: Sequence[NewProcess]) -> None:
        whole = self.whole.start(batch)
        assert whole == self.parts.start(batch)
        self.seen.update(each.replayed if isinstance(each, Started) else each for each in whole)
        self._compare()

    def lease(self, at: int) -> list[LeasedMessage]:
        for each in (self.whole, self.parts):
            each.lease(at)
        self._compare()
        return [*self.whole.leased.values()]

    def report(self, batch: Sequence[DeliveryReport]) -> None:
        whole = self.whole.report(batch)
        assert whole == self.parts.report(batch)
        self.seen.update((each.state, held) for each, held in zip(batch, whole, strict=True))
        self._compare()

    def _compare(self) -> None:
        assert self.whole.rows() == self.parts.rows()
        assert self.whole.connection.execute(_WRONGLY_OPEN).fetchall() == []


def play(twins: Twins, history: Sequence[Step]) -> None:
    now = serial = 0
    for word, later_ms, items in history:
        now += later_ms
        if word == "start":
            twins.start([start_of(each, serial + n, now) for n, each in enumerate(items)])
            serial += len(items)
        elif leased := twins.lease(now):
            twins.report([report_of(leased, each, now) for each in items])


def start_of(numbers: Item, serial: int, now: int) -> NewProcess:
    a, b, c, d, e, f, g = numbers
    keyed = claim(f"key {f % 2}", asks=f"{b == 0}", operation="init", until=now + LIFE)
    made = new_process(
        serial,
        of=PLANS[a % 3],
        to=b % 3,
        mail=c % 3 if d % 3 else None,
        at=now + (e if e < 2 else 0),
        ttl=LIFE,
        entities=tuple(client(n % 2) for n in range(e % 4)),
        claim=keyed if f < 4 else None,
        version=g == 11,
        tenant="other" if g == 10 else TENANT,
    )
    if g % 4 == 3:
        made = replace(made, counted_indexes=made.counted_indexes[:1])
    return replace(made, supersedes=d != 11)


def report_of(leased: Sequence[LeasedMessage], numbers: Item, now: int) -> DeliveryReport:
    which, state, at, not_before, other_lease, usable, reference = numbers
    said = report(
        leased[-1 - which % len(leased)],
        STATES[state % len(STATES)],
        at=now + (at if at < 2 else 0),
        problem="rejected" if other_lease == 11 else None,
        not_before=now + LATER_MS[not_before % len(LATER_MS)],
    )
    lease = b"another" if other_lease == 11 else said.lease
    return replace(
        said,
        lease=lease,
        reference=f"ref {reference % 2}",
        usable=frozenset({SMS}) if usable == 11 else EVERY_CHANNEL,
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(step, min_size=1, max_size=12))
def test_a_batch_is_its_items_one_by_one(history: list[Step]) -> None:
    with closing(apsw.Connection(":memory:")) as whole, closing(apsw.Connection(":memory:")) as one:
        play(Twins(whole, one), history)


def test_a_large_batch_is_its_items_one_by_one() -> None:
    """More than are written at once; contacts, claims and messages are met again in it."""
    count = 2 * STARTS_AT_ONCE + 44
    batch = [
        start_of((n % 7, n % 11, n % 5, n % 12, n % 3, n % 13, n % 12), n, n // 100)
        for n in range(count)
    ]
    spread = [new_process(count + n, to=count + n) for n in range(count)]
    with closing(apsw.Connection(":memory:")) as whole, closing(apsw.Connection(":memory:")) as one:
        twins = Twins(whole, one)
        twins.start(batch)
        twins.start(spread)
        for at in (1, 2 * LEASE):
            leased = twins.lease(at)
            twins.report([report_of(leased, (n, n, n, n, n, n, n), at) for n in range(count)])
    assert {True, False, StalePlan.STALE, ClaimRefusal.MISMATCH} <= set(twins.seen)
    assert {(state, held) for state in set(STATES) for held in (True, False)} <= set(twins.seen)


@pytest.mark.parametrize("again", [0, STARTS_AT_ONCE + 5])
def test_a_uuid_twice_starts_nothing(again: int) -> None:
    batch = [new_process(n, to=n) for n in range(STARTS_AT_ONCE + 10)]
    with closing(apsw.Connection(":memory:")) as connection:
        database = Database(connection, whole=True)
        database.start([new_process(1000, to=1)])
        before = database.rows()
        with pytest.raises(AlreadyExists):
            database.start([*batch, batch[again]])
        with pytest.raises(AlreadyExists):
            database.start([*batch, replace(batch[again], uuid=uuid(1000))])
        assert database.rows() == before
