"""Random histories of accounts, sessions and resets: the fake and SQLite give the same answers.

The universe is tiny (3 users, the latest 4 sessions, 2 methods, steps of a patience or half a
lifetime), so that superseding, exhaustion, late changes, expiry and forgetting happen in a few
steps. What must never be is checked after each step too.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from otp_server.domain.budget import CLAIM_PATIENCE_MS
from otp_server.domain.process import ProcessStatus
from otp_server.errors import OtpServerError
from otp_server.services.ports.outbox import MessageState
from otp_server.services.ports.processes import Counted, NewAttempt
from otp_server.stores import open_store
from tests.contracts.account_samples import (
    CODES,
    SVC,
    VISITOR,
    by_email,
    by_uid,
    change,
    notice,
    reset,
    says,
    secret,
    session,
    sign_in,
    uid,
    user,
)
from tests.contracts.rest_samples import EMAIL, LEASE, T0, email, query, report, uuid
from tests.support.changed_values import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.services.ports import Store
    from otp_server.services.ports.outbox import LeasedMessage
    from otp_server.services.ports.resets import Changed, NewReset

    Step = tuple[str, Sequence[int]]

WORDS = (
    "add begin begin sign-in sign-in sign-in sign-out start start start start batch"
    " count count count count check check check check change change change change many"
    " lease report look sweep sweep-sessions forget starts"
)
LIFE = 120_000
STEPS_MS = (0, 0, 0, 0, 0, 0, 0, 0, 1, CLAIM_PATIENCE_MS, LEASE, LIFE // 2)
FEW = replace(CODES, max_attempts=3, routes=(replace(CODES.routes[0], attempts=3),))
STATES = (MessageState.SENT, MessageState.FAILED, MessageState.UNCERTAIN)

step: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(WORDS.split()), st.lists(st.integers(0, 11), min_size=6, max_size=6)
)


class Player:
    """One store and what its caller remembers of it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.counted: list[Counted] = []
        self.leased: list[LeasedMessage] = []
        self.started = [0]  # there is no reset 0
        self.begun: list[int] = [0]
        self.of: dict[bytes, int] = {}  # whose e-mail a reset was sent to
        self.now = 0

    def recent(self, n: int) -> int:
        """Mostly the newest reset."""
        return self.started[
            -1 - min((0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3)[n], len(self.started) - 1)
        ]

    def attempt(self, a: int, b: int) -> Counted:
        """One of those counted; one time in four it is kept, to be settled again."""
        place = a % len(self.counted)
        return self.counted[place] if b % 4 == 0 else self.counted.pop(place)

    def resets(self, step: Step, serial: int) -> list[NewReset]:
        """One, or two that are alike."""
        word, (a, b, c, d, e, _) = step
        items = []
        for n in (serial, serial + 1000)[: 1 + (word == "batch")]:
            item = reset(
                n,
                of=None if a % 4 == 3 else a % 3,
                to=a % 3,
                by=self.begun[-1 - b % min(4, len(self.begun))],
                method="otp" if c % 4 == 3 else "",
                at=self.now,
                ttl=LIFE,
            )
            if d % 3 == 0:
                item = replace(item, process=replace(item.process, plan=FEW))
            items.append(item)
            self.of[item.process.uuid] = a % 3
        if e == 11:  # a secret used before
            used = replace(items[0].reset, secret_digest=secret(self.recent(b)))
            items[0] = replace(items[0], reset=used)
        return items

    async def play(self, step: Step, serial: int) -> object:  # noqa: C901, PLR0911, PLR0912
        word, (a, b, c, d, e, f) = step
        self.now += STEPS_MS[f] if e % 2 else 0
        at = self.now
        match word:
            case "add":
                new = user(a % 3, mail=b % 3 if c == 0 else None, at=at)
                return await self.store.add_user(new, "hash" if d % 3 else None, VISITOR)
            case "begin":
                self.begun.append(serial)
                return await self.store.add_session(session(serial, at=at, life=LIFE))
            case "sign-in":
                self.begun.append(serial)
                before = self.begun[b % len(self.begun)] if c % 2 else None
                return await sign_in(
                    self.store, serial, of=a % 3, replaced=before, version=1 + d % 2, at=at
                )
            case "sign-out":
                which = session(self.begun[a % len(self.begun)]).digest
                return await self.store.end_session(which, VISITOR, T0 + at)
            case "start" | "batch":
                items = self.resets(step, serial)
                await self.store.start_resets(items)
                self.started.append(serial)
                return items
            case "count":
                wish = NewAttempt(uuid(self.recent(a)), SVC, T0 + at, VISITOR)
                outcomes = await self.store.count_attempts([wish] * (1 + d % 3))
                self.counted += [each for each in outcomes if isinstance(each, Counted)]
                return outcomes
            case "check" if self.counted:
                said = says(self.attempt(a, b), right=c % 3 > 0, at=at)
                return await self.store.settle_checks([said])
            case "change" if self.counted:
                of = self.attempt(a, b)
                whose = self.of[of.uuid] if d % 4 else d % 3
                item = change(of, serial, of=whose, right=c % 4 > 0, at=at)
                self.begun.append(serial)
                return self.shown(await self.store.change_passwords([item]))
            case "many":
                all_of_them, self.counted = self.counted, []
                if a % 2:
                    batch = [
                        says(of, right=(n + a) % 3 == 0, at=at) for n, of in enumerate(all_of_them)
                    ]
                    return await self.store.settle_checks(batch)
                return self.shown(
                    await self.store.change_passwords(
                        [
                            change(
                                of,
                                serial + 1000 * n,
                                of=self.of[of.uuid],
                                right=(n + c) % 3 > 0,
                                at=at,
                            )
                            for n, of in enumerate(all_of_them)
                        ]
                    )
                )
            case "lease":
                messages = await self.store.claim_messages(
                    EMAIL, now_ms=T0 + at, lease_until_ms=T0 + at + LEASE, limit=1 + b % 3
                )
                self.leased += messages
                due = await self.store.next_message_at(EMAIL)
                return [replace(each, lease=b"") for each in messages], due
            case "report" if self.leased:
                said = report(self.leased.pop(a % len(self.leased)), STATES[c % 3], at=at)
                return await self.store.report_deliveries([said])
            case "look":
                secrets = [secret(self.recent(n)) for n in (a, b)]
                return await self.store.find_resets(secrets)
            case "sweep":
                return await self.store.sweep_processes(T0 + at, forget_before_ms=0)
            case "sweep-sessions":
                return await self.store.sweep_sessions(T0 + at)
            case "forget":
                return await self.store.sweep_processes(
                    T0, forget_before_ms=T0 + at - LIFE + STEPS_MS[a]
                )
            case "starts":
                in_use = await self.store.sealing_key_ids_in_use(T0 + at)
                return in_use, await self.store.starts_since(T0 + at - 2 * STEPS_MS[a])
            case _:
                return None

    @staticmethod
    def shown(changed: list[Changed]) -> list[Changed]:
        """Nothing but what a change that was accepted ended."""
        assert all(not each.ended for each in changed if each.settled.value != "accepted")
        return changed

    async def holds(self) -> list[object]:
        """All that the store holds, and that it may hold it."""
        seen: list[object] = []
        for type_id in (0, -1):
            found = await self.store.search_processes(query(type_id=type_id, tenant=SVC))
            seen.append(found)
            notices = len(found)
        digests = [session(n).digest for n in self.begun]
        users = await self.store.find_users(
            [key for n in range(3) for key in (by_uid(n), by_email(n))]
        )
        seen += [users, await self.store.list_users()]
        seen.append(await self.store.find_sessions(digests, T0 + self.now))
        seen.append([await self.store.find_password(uid(n)) for n in range(3)])
        seen.append([await self.store.contact_failures(SVC, email(n)) for n in range(3)])
        trail = [entry for _, entry, _, _ in await self.store.audit_after(0, 10**6)]
        changes = Counter(each.subject for each in trail if each.action == "user.password")
        had = {each.subject for each in trail if each.action == "user.add"}
        assert set(changes) <= had
        assert notices <= sum(changes.values())
        for each in await self.store.list_users():
            assert each.password_version - changes[f"user:{each.uid}"] in (0, 1)
        resets = await self.store.find_resets([secret(n) for n in self.started])
        for one in resets:
            if one is not None and one.uid is None:
                decoy = await self.store.find_process(SVC, one.uuid)
                assert decoy is not None
                assert decoy.status not in (ProcessStatus.ACCEPTED, ProcessStatus.SENT)
        return seen

    async def answers(self, history: Sequence[Step]) -> list[object]:
        """What the store says to each step, and what it holds after it."""
        seen: list[object] = []
        for n in range(2):
            await self.store.add_user(user(n), "hash", VISITOR)
        await self.store.add_session(session(0, life=LIFE))
        for serial, each in enumerate(history, start=1):
            try:
                seen.append(await self.play(each, serial))
            except OtpServerError as error:
                seen.append((type(error), str(error)))
            seen.append(await self.holds())
        seen.append(await self.store.find_process(SVC, notice(1).uuid))
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
def test_the_fake_and_sqlite_agree_on_resets(history: list[Step]) -> None:
    fake, real = trio.run(both, history)
    assert fake == real
