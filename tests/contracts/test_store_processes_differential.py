"""Random histories of OTP processes: the fake and SQLite give the same answers.

The universe is tiny (3 contacts, 2 types, steps of a patience, a lease or half a lifetime), so that
superseding, fail-over, exhaustion, replays, expiry and forgetting happen in a few steps.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from otp_server.domain.budget import CLAIM_PATIENCE_MS
from otp_server.domain.challenge_type import EVERY_CHANNEL
from otp_server.errors import OtpServerError
from otp_server.services.ports.outbox import MessageState
from otp_server.services.ports.processes import Counted, Started
from otp_server.stores import open_store
from tests.contracts.rest_samples import (
    CALLER,
    EMAIL,
    LEASE,
    SMS,
    T0,
    TENANT,
    attempt,
    claim,
    client,
    email,
    new_process,
    phone,
    plan,
    query,
    report,
    uuid,
    verdict,
)
from tests.support.changed_values import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.services.ports import Store
    from otp_server.services.ports.outbox import LeasedMessage
    from otp_server.services.ports.processes import IdempotencyClaim

    Step = tuple[str, Sequence[int]]

WORDS = (
    "start start keyed-start count count count keyed-count keyed-count settle settle settle"
    " batch lease lease report report report search look forgive sweep forget starts"
)
LIFE = 120_000
STEPS_MS = (0, 0, 0, 0, 0, 0, 0, 0, 1, CLAIM_PATIENCE_MS, LEASE, LIFE // 2)
STATES = (MessageState.SENT, MessageState.FAILED, MessageState.UNCERTAIN, MessageState.QUEUED)
PLANS = [
    plan(SMS, max_attempts=2, attempts=1),
    plan(SMS, EMAIL, SMS, max_attempts=3, attempts=1),
    plan(EMAIL, SMS, type_id=2, max_attempts=4, attempts=2),
]

step: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(WORDS.split()), st.lists(st.integers(0, 11), min_size=6, max_size=6)
)


class Player:
    """One store and what its caller remembers of it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.counted: list[tuple[Counted, IdempotencyClaim | None]] = []
        self.leased: list[LeasedMessage] = []
        self.started = [0]  # there is no process 0
        self.now = 0

    def recent(self, n: int) -> int:
        """Mostly the newest process."""
        return self.started[
            -1 - min((0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3)[n], len(self.started) - 1)
        ]

    async def play(self, step: Step, serial: int) -> object:  # noqa: C901, PLR0911, PLR0912
        word, (a, b, c, d, e, f) = step
        self.now += STEPS_MS[f] if e % 2 else 0
        at = self.now
        match word:
            case "start" | "keyed-start":
                keyed = claim(f"key {a % 2}", asks=f"{b == 0}", operation="init", until=at + LIFE)
                first = new_process(
                    serial,
                    of=PLANS[a % 3],
                    to=b % 3,
                    mail=c % 3 if d % 3 else None,
                    at=at,
                    ttl=LIFE,
                    entities=tuple(client(n % 2) for n in range(e % 3)),
                    claim=keyed if word == "keyed-start" else None,
                    version=e == 11,
                    tenant="other" if f % 5 == 4 else TENANT,
                )
                if f % 4 == 3:
                    first = replace(first, counted_indexes=first.counted_indexes[:1])
                if c % 4 == 3:
                    first = replace(first, supersedes=False)
                second = replace(first, uuid=uuid(serial + (d != 1) * 1000), claim=None)
                outcomes = await self.store.start_processes(
                    [first, second] if d % 4 == 1 else [first]
                )
                if outcomes[0] == Started(first.uuid, first.plan, first.route):
                    self.started.append(serial)
                return outcomes
            case "count" | "keyed-count":
                keyed = claim(f"key {b % 2}", asks=f"{c == 0}", until=at + 4 * CLAIM_PATIENCE_MS)
                used = keyed if word == "keyed-count" else None
                wish = attempt(self.recent(a), at=at, claim=used)
                many = [wish] * (1 + d % 3)
                outcomes = await self.store.count_attempts(many)
                self.counted += [(each, used) for each in outcomes if isinstance(each, Counted)]
                return outcomes
            case "settle" if self.counted:
                place = a % len(self.counted)
                of, used = self.counted[place] if b % 4 == 0 else self.counted.pop(place)
                return await self.store.settle_attempts(
                    [
                        structs.replace(
                            verdict(of, right=c % 3 == 0, at=at, claim=used),
                            usable=frozenset({SMS}) if d % 4 == 3 else EVERY_CHANNEL,
                        )
                    ]
                )
            case "batch":
                all_of_them, self.counted = self.counted, []
                return await self.store.settle_attempts(
                    [
                        verdict(of, right=(n + a) % 4 == 0, at=at, claim=used)
                        for n, (of, used) in enumerate(all_of_them)
                    ]
                )
            case "lease":
                channel = SMS if a % 3 else EMAIL
                messages = await self.store.claim_messages(
                    channel, now_ms=T0 + at, lease_until_ms=T0 + at + LEASE, limit=1 + b % 3
                )
                self.leased += messages
                times = [await self.store.next_message_at(each) for each in (SMS, EMAIL)]
                return [replace(each, lease=b"") for each in messages], times
            case "report" if self.leased:
                place = a % len(self.leased)
                message = self.leased[place] if b % 4 == 0 else self.leased.pop(place)
                said = report(
                    message,
                    STATES[c % 4],
                    at=at,
                    problem="rejected" if d % 2 else None,
                    not_before=at + STEPS_MS[e],
                )
                return await self.store.report_deliveries([said])
            case "search":
                wanted = query(
                    *(client(n) for n in range(a % 3)),
                    type_id=1 + b % 2,
                    phone=phone(c % 3) if c < 6 else None,
                    email=email(d % 3) if d < 6 else None,
                    limit=1 + e % 4,
                    offset=f % 3,
                )
                return await self.store.search_processes(wanted)
            case "look":
                return await self.store.find_process(
                    TENANT if a % 4 else "other", uuid(self.recent(b))
                )
            case "forgive":
                return await self.store.forgive_contact(TENANT, phone(a % 3), CALLER, T0 + at)
            case "sweep":
                return await self.store.sweep_processes(T0 + at, forget_before_ms=0)
            case "forget":
                return await self.store.sweep_processes(
                    T0, forget_before_ms=T0 + at - LIFE + STEPS_MS[a]
                )
            case "starts":
                in_use = await self.store.key_ids_in_use(T0 + at)
                return in_use, await self.store.starts_since(T0 + at - 2 * STEPS_MS[a])
            case _:
                return None

    async def answers(self, history: Sequence[Step]) -> list[object]:
        """What the store says to each step, and what it holds in the end."""
        seen: list[object] = []
        for serial, each in enumerate(history, start=1):
            try:
                seen.append(await self.play(each, serial))
            except OtpServerError as error:
                seen.append((type(error), str(error)))
            for tenant in (TENANT, "other"):
                for n in (1, 2):
                    wanted = query(type_id=n, tenant=tenant)
                    seen.append(await self.store.search_processes(wanted))
        for n in range(3):
            seen.append(await self.store.contact_failures(TENANT, phone(n)))
            seen.append(await self.store.contact_failures(TENANT, email(n)))
        seen.append(await self.store.audit_after(0, 10**6))
        return seen


async def both(history: Sequence[Step]) -> tuple[list[object], list[object]]:
    with tempfile.TemporaryDirectory() as folder, trio.fail_after(60):
        said = []
        for url in ("memory:", "sqlite:otp.db"):
            store = await open_store(url, Path(folder))
            said.append(await Player(store).answers(history))
            await store.aclose()
    return said[0], said[1]


@settings(max_examples=60, deadline=None)
@given(st.lists(step, min_size=1, max_size=60))
def test_the_fake_and_sqlite_agree_on_processes(history: list[Step]) -> None:
    fake, real = trio.run(both, history)
    assert fake == real
