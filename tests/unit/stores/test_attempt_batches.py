"""A batch of attempts is its items one by one: the same answers, the same rows in every table."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from otp_server.domain.budget import CLAIM_PATIENCE_MS, FAILURES_MAX, WAIT_FROM
from otp_server.domain.challenge_type import EVERY_CHANNEL
from otp_server.services.ports.processes import Counted, Settled
from otp_server.stores.sqlite import attempt_statements, settle_statements, start_statements
from otp_server.stores.sqlite.attempt_statements import ATTEMPTS_AT_ONCE
from otp_server.stores.sqlite.plan_statements import PlanCache
from otp_server.stores.sqlite.process_keys import ProcessKeys
from otp_server.stores.sqlite.process_rows import ProcessWork
from otp_server.stores.sqlite.schema import migrate
from tests.contracts.rest_samples import (
    EMAIL,
    SMS,
    T0,
    TENANT,
    attempt,
    claim,
    email,
    new_process,
    phone,
    plan,
    verdict,
)
from tests.support.changed_values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otp_server.services.ports.processes import (
        CountOutcome,
        IdempotencyClaim,
        NewAttempt,
        NewProcess,
        Verdict,
    )

    Item = tuple[int, int, int, int, int]
    Step = tuple[str, int, list[Item]]

LIFE = 60_000
TABLES = (
    "processes",
    "open_attempts",
    "contact_failures",
    "messages",
    "idempotency_claims",
    "audit",
)
ONE_ROUTE = plan(SMS, max_attempts=2, attempts=1)
THREE_ROUTES = plan(SMS, EMAIL, SMS, max_attempts=4, attempts=1)
TWO_ROUTES = plan(EMAIL, SMS, type_id=2, max_attempts=5, attempts=2)
STARTED = [
    new_process(0, of=ONE_ROUTE, to=0),
    new_process(1, of=THREE_ROUTES, to=0, mail=0),
    new_process(2, of=THREE_ROUTES, to=1, mail=1, ttl=LIFE),
    new_process(3, of=TWO_ROUTES, to=2, mail=0, ttl=LIFE),
    new_process(4, of=TWO_ROUTES, to=0, mail=1, tenant="other"),
    new_process(5, of=plan(max_attempts=100, attempts=100), to=3),
]
"""Process 6 is none; the contact of one is the contact of others."""
FAILURES = (0, 0, 0, 1, WAIT_FROM - 1, WAIT_FROM, FAILURES_MAX - 1, FAILURES_MAX)
LATER_MS = (0, 0, 0, 0, 1, CLAIM_PATIENCE_MS, LIFE // 2, LIFE)
USABLE = (EVERY_CHANNEL, EVERY_CHANNEL, EVERY_CHANNEL, frozenset({SMS}))

item: st.SearchStrategy[Item] = st.tuples(*[st.integers(0, 7)] * 5)  # type: ignore[arg-type]  # five
step: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(["count", "count", "settle"]),
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
        migrate(connection, Path("otp.db"))

    def start(self, batch: Sequence[NewProcess], failures: Sequence[int]) -> None:
        """Processes that end no other, and contacts that failed before."""
        fresh = [replace(each, supersedes=False) for each in batch]
        self._each(start_statements.start_processes, fresh)
        for number, index in zip(failures, (phone(0), phone(1), email(0), email(1)), strict=True):
            if number:
                self.connection.execute(
                    "INSERT INTO contact_failures VALUES (?, ?, ?, ?)", (TENANT, index, number, T0)
                )

    def count(self, batch: Sequence[NewAttempt]) -> list[CountOutcome]:
        return self._each(attempt_statements.count_attempts, batch)

    def settle(self, kind: str, batch: Sequence[Verdict]) -> list[Settled]:
        """Right ones first, whoever sorts them."""
        checks = kind == "check"
        settle = settle_statements.settle_checks if checks else settle_statements.settle_attempts
        if self._whole:
            return self._each(settle, batch)
        order = sorted(range(len(batch)), key=lambda place: not batch[place].right)
        said = self._each(settle, [batch[place] for place in order])
        return [settled for _, settled in sorted(zip(order, said, strict=True))]

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
        return {
            table: self.connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()  # noqa: S608 - our own words
            for table in TABLES
        }


class Twins:
    """A database that is given batches, and one that is given their items."""

    def __init__(self, whole: apsw.Connection, parts: apsw.Connection) -> None:
        self._both = Database(whole, whole=True), Database(parts, whole=False)
        self.counted: list[tuple[Counted, IdempotencyClaim | None]] = []
        self.seen: Counter[str] = Counter()

    def start(self, batch: Sequence[NewProcess], failures: Sequence[int]) -> None:
        for each in self._both:
            each.start(batch, failures)

    def count(self, batch: Sequence[NewAttempt]) -> None:
        whole, parts = (each.count(batch) for each in self._both)
        assert whole == parts
        self.counted += [
            (outcome, of.claim)
            for outcome, of in zip(whole, batch, strict=True)
            if isinstance(outcome, Counted)
        ]
        self.seen.update(map(repr, map(type, whole)))
        self._compare()

    def settle(self, kind: str, batch: Sequence[Verdict]) -> None:
        whole, parts = (each.settle(kind, batch) for each in self._both)
        assert whole == parts
        self.seen.update(whole)
        self._compare()

    def _compare(self) -> None:
        whole, parts = (each.rows() for each in self._both)
        assert whole == parts


def play(twins: Twins, kind: str, history: Sequence[Step]) -> None:
    """``kind``: all that is settled are checks, or none is: nobody mixes them."""
    now = 0
    for word, later_ms, items in history:
        now += later_ms
        if word == "count":
            twins.count([attempt_of(each, now) for each in items])
        elif twins.counted:
            twins.settle(kind, [verdict_of(twins, each, now) for each in items])


def attempt_of(item: Item, now: int) -> NewAttempt:
    which, later, keyed, asks, usable = item
    used = claim(f"key {keyed % 2}", asks=f"{asks < 6}") if keyed < 3 else None
    tenant = "other" if which == 4 or asks == 7 else TENANT
    wish = attempt(which, at=now + (later if later < 2 else 0), tenant=tenant, claim=used)
    return structs.replace(wish, usable=USABLE[usable % 4])


def verdict_of(twins: Twins, item: Item, now: int) -> Verdict:
    which, right, later, old, usable = item
    counted = twins.counted
    of, used = counted[which % len(counted) if old == 7 else -1 - which % len(counted)]
    at = now + (later if later < 2 else 0)
    return structs.replace(
        verdict(of, right=right < 2, at=at, claim=used), usable=USABLE[usable % 4]
    )


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["settle", "check"]),
    st.lists(st.sampled_from(FAILURES), min_size=4, max_size=4),
    st.lists(step, min_size=1, max_size=12),
)
def test_a_batch_is_its_items_one_by_one(
    kind: str, failures: list[int], history: list[Step]
) -> None:
    with closing(apsw.Connection(":memory:")) as whole, closing(apsw.Connection(":memory:")) as one:
        twins = Twins(whole, one)
        twins.start(STARTED, failures)
        play(twins, kind, history)


def test_a_large_batch_is_its_items_one_by_one() -> None:
    """More than are counted or settled at once; some processes are in several of the parts."""
    numbers = [n if n % 10 else n // 100 * 100 for n in range(2 * ATTEMPTS_AT_ONCE + 44)]
    known = sorted(set(numbers) - {41})
    of = plan(max_attempts=5, attempts=5)
    with closing(apsw.Connection(":memory:")) as whole, closing(apsw.Connection(":memory:")) as one:
        twins = Twins(whole, one)
        twins.start([new_process(n, of=of, to=n // 2) for n in known], [0] * 4)
        for at in (0, 1):
            twins.count([attempt(n, at=at) for n in numbers])
            turn = count()
            twins.settle(
                "settle",
                [verdict(each, right=next(turn) % 3 == at, at=at) for each, _ in twins.counted],
            )
    assert {Settled.ACCEPTED, Settled.WRONG, Settled.LATE} <= set(twins.seen)
