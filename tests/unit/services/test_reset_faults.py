"""A store that fails or stalls at any step, and a caller that leaves at any step.

Never a changed password without a used code, or the other way about; nothing is lost (15, 41).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import pytest
import trio
from trio.testing import MockClock

from otp_server.domain.account_outcome import CodeRight, SignedIn
from otp_server.domain.process import ProcessStatus
from otp_server.errors import StoreUnavailable
from otp_server.services.bounded_threads import BoundedThreads
from otp_server.services.reset_changes import CHANGE_WAIT_S
from otp_server.services.store_wait import STORE_WAIT_S
from tests.support.process_world import wrong
from tests.support.reset_world import (
    NEW,
    OLD,
    UNLIMITED,
    Client,
    FailingCall,
    ResetWorld,
    StoreCalls,
    change,
    kind,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from otp_server.services.ports import Store

T = TypeVar("T")
ONCE = ((1, 60_000),)


class Case:
    """A world with a user, a client with a secret, and its code."""

    def __init__(self, store: Store, **given: object) -> None:
        self.store = store
        self.world = ResetWorld(store=store, **given)

    async def begin(self, **user: object) -> Case:
        world = self.world
        await world.add_user(**user)
        self.client = await world.client()
        self.secret = (await world.send(self.client)).secret
        self.code = await world.code_of(self.secret)
        return self

    async def ask(self, name: str, client: Client | None = None) -> str:
        """``send``, ``check`` or ``change``, in a word."""
        if name == "send":
            return await self.world.try_send(client or self.client)
        call = self.world.check if name == "check" else self.world.change
        return kind(await call(client or self.client, self.secret, self.code))

    async def is_changed(self) -> bool:
        """Whether the password is the new one; all that goes with it must agree."""
        is_new = await self.world.is_password(NEW)
        assert is_new is not await self.world.is_password(OLD)
        [user] = await self.store.list_users()
        process = await self.world.process(self.secret)
        assert user.password_version == 1 + is_new
        assert (process.status is ProcessStatus.ACCEPTED) is is_new
        notices = [word for _, word in await self.world.trail("otp.init")]
        assert notices == ["started"] * is_new
        assert await self.world.is_alive(self.client.session_id) is not is_new
        return is_new


FAILED = {"send": "internal", "check": "unavailable", "change": "internal"}
STEPS = [("send", n) for n in (1, 2)] + [
    (name, n) for name in ("check", "change") for n in range(1, 5)
]


@pytest.mark.parametrize(("name", "step"), STEPS)
async def test_a_store_that_fails_leaves_the_code_good(store: Store, name: str, step: int) -> None:
    case = await Case(store).begin()
    case.world.over(StoreCalls(store, before=FailingCall(step)))
    assert await case.ask(name) == FAILED[name]
    case.world.over(store)
    assert not await case.is_changed()
    counted = name != "send" and step == 4
    assert await case.world.attempts_of(case.secret) == counted
    assert case.client.ended == []
    assert isinstance(await case.world.check(case.client, case.secret, case.code), CodeRight)
    assert await case.ask("change") == "SignedIn"
    assert await case.is_changed()


@pytest.mark.parametrize(("name", "step"), STEPS)
async def test_an_answer_that_is_lost_changes_all_or_nothing(
    store: Store, name: str, step: int
) -> None:
    """The store did it, and its answer did not arrive."""
    case = await Case(store).begin()
    calls = StoreCalls(store, after=FailingCall(step))
    case.world.over(calls)
    assert await case.ask(name) == FAILED[name]
    case.world.over(store)
    changed = calls.calls[-1] == "change_passwords"
    assert await case.is_changed() is changed
    if not changed and calls.calls[-1] != "start_resets":
        assert await case.ask("change") == "SignedIn"


@pytest.mark.parametrize("step", [1, 2, 3, 4])
async def test_a_wrong_code_is_not_answered_by_a_store_that_fails(store: Store, step: int) -> None:
    case = await Case(store).begin()
    right, case.code = case.code, wrong(case.code)
    case.world.over(StoreCalls(store, before=FailingCall(step)))
    assert await case.ask("change") == "internal"
    case.world.over(store)
    assert await case.world.attempts_of(case.secret) == (step == 4)
    case.code = right
    assert await case.ask("change") == "SignedIn"


@pytest.mark.parametrize(("step", "charged"), [(1, False), (2, False), (3, False), (4, True)])
@pytest.mark.parametrize("name", ["check", "change"])
async def test_what_was_not_counted_is_not_charged(
    store: Store, name: str, step: int, charged: bool
) -> None:
    case = await Case(store, windows=replace(UNLIMITED, wrong_address=ONCE)).begin()
    case.world.over(StoreCalls(store, before=FailingCall(step)))
    await case.ask(name)
    case.world.over(store)
    word = "CodeRight" if name == "check" else "SignedIn"
    assert await case.ask(name) == ("rate_limited" if charged else word)


async def test_one_call_that_fails_to_settle_does_not_keep_back_the_others(store: Store) -> None:
    """The right one of a batch is changed though the wrong one was not settled."""
    case = await Case(store).begin()

    def fail(name: str) -> None:
        if name == "settle_checks":
            raise StoreUnavailable(name)

    case.world.over(StoreCalls(store, before=fail))
    calls = [change(case.client, case.secret, code) for code in (wrong(case.code), case.code)]
    outcomes = await case.world.resets.change_many(calls)
    assert [kind(outcome) for outcome in outcomes] == ["internal", "SignedIn"]


# A caller that leaves.


async def left_at(
    case: Case, name: str, step: int, place: Callable[[Callable[[], None]], None] | None = None
) -> bool:
    """Call, and leave at the step's call of the store, or where ``place`` says; whether cut."""
    with trio.CancelScope() as scope:
        calls = iter(range(1, 100))

        def before(_: str) -> None:
            if next(calls) == step:
                scope.cancel()

        case.world.over(StoreCalls(case.store, before=before))
        if place is not None:
            place(scope.cancel)
        await case.ask(name)
        await trio.lowlevel.checkpoint()
    case.world.over(case.store)
    return scope.cancelled_caught


@pytest.mark.parametrize(("name", "step"), STEPS)
async def test_who_leaves_once_counted_is_served_to_the_end(
    store: Store, name: str, step: int
) -> None:
    windows = replace(UNLIMITED, wrong_address=ONCE, account=((2, 60_000),))
    case = await Case(store, windows=windows).begin()
    old = await case.world.signed_in()
    assert await left_at(case, name, step)
    is_changed = name == "change" and step > 1
    assert await case.is_changed() is is_changed
    assert old.ended == [old.socket_id] * is_changed
    assert await case.world.is_alive(old.session_id) is not is_changed
    digest = case.client.session.digest
    assert case.world.sockets.is_bound(case.client.socket_id, digest) is not is_changed
    if not is_changed and (name, step) != ("send", 2):  # and nothing stays charged
        assert await case.ask("change") == "SignedIn"
    started = [start for start in await store.starts_since(0) if start.type_id == 0]
    assert len(started) == 1 + (name == "send" and step > 1)
    assert case.world.hasher._threads._places == 0


async def test_who_leaves_while_the_password_is_hashed_has_it_changed(store: Store) -> None:
    case = await Case(store).begin()
    hashed = case.world.hasher.hash_now

    def place(cancel: Callable[[], None]) -> None:
        def hash_now(password: str) -> str:
            trio.from_thread.run_sync(cancel)
            return hashed(password)

        case.world.hasher.hash_now = hash_now

    assert await left_at(case, "change", 0, place)
    assert await case.is_changed()


async def test_who_leaves_while_the_password_is_judged_has_begun_nothing(store: Store) -> None:
    case = await Case(store).begin()
    judged = case.world.policy.problems_of

    def place(cancel: Callable[[], None]) -> None:
        async def problems_of(password: str, *, about: list[str]) -> list[str]:
            cancel()
            return await judged(password, about=about)

        case.world.policy.problems_of = problems_of

    assert await left_at(case, "change", 0, place)
    case.world.policy.problems_of = judged
    assert not await case.is_changed()
    assert await case.world.attempts_of(case.secret) == 0
    assert await case.ask("change") == "SignedIn"


# A store that stalls, on virtual time: over memory, and without threads.


class Inline(BoundedThreads):
    """Runs what threads would, after so many seconds."""

    def __init__(self, seconds: float = 0) -> None:
        super().__init__(2, 64)
        self.seconds = seconds

    async def run(self, call: Callable[[], T]) -> T:
        await trio.sleep(self.seconds)
        return call()


async def stalled(name: str, **windows: object) -> tuple[Case, StoreCalls]:
    """A case whose store never answers ``name``."""
    world = ResetWorld()
    case = Case(world.store, windows=replace(UNLIMITED, **windows))
    case.world.policy._threads = case.world.hasher._threads = Inline()
    await case.begin()

    async def never(*_: object) -> None:
        await trio.sleep_forever()

    calls = StoreCalls(case.store)
    setattr(calls, name, never)
    case.world.over(calls)
    return case, calls


@pytest.mark.parametrize(
    ("name", "step", "word", "after_s"),
    [
        ("send", "start_resets", "internal", STORE_WAIT_S),
        ("check", "find_resets", "unavailable", STORE_WAIT_S),
        ("check", "count_attempts", "unavailable", STORE_WAIT_S),
        ("check", "settle_checks", "unavailable", STORE_WAIT_S),
        ("change", "find_resets", "internal", STORE_WAIT_S),
        ("change", "count_attempts", "internal", STORE_WAIT_S),
        ("change", "change_passwords", "internal", CHANGE_WAIT_S),
    ],
)
async def test_a_store_that_does_not_answer_is_given_up_and_the_charge_stays(
    autojump_clock: MockClock, name: str, step: str, word: str, after_s: float
) -> None:
    case, _ = await stalled(step, wrong_address=ONCE, account=((2, 60_000),))
    begun = trio.current_time()
    assert await case.ask(name) == word
    assert trio.current_time() - begun == after_s
    case.world.over(case.store)
    assert not await case.world.is_password(NEW)
    assert await case.ask(name) == "rate_limited", "it may have been done"
    assert case.world.hasher._threads._places == 0


async def test_a_callers_deadline_cuts_the_wait_for_counting(autojump_clock: MockClock) -> None:
    case, _ = await stalled("count_attempts")
    with trio.move_on_after(3):
        await case.ask("change")
        await trio.lowlevel.checkpoint()
    assert trio.current_time() == 3
    assert not await case.is_changed()


async def test_a_callers_deadline_does_not_cut_the_change(autojump_clock: MockClock) -> None:
    case, calls = await stalled("nothing")
    original = calls.change_passwords

    async def slow(batch: object) -> object:
        await trio.sleep(5)
        return await original(batch)

    calls.change_passwords = slow
    with trio.move_on_after(3) as scope:
        assert await case.ask("change") == "SignedIn"
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert trio.current_time() == 5
    case.world.over(case.store)
    assert await case.is_changed()


async def test_hashing_that_takes_too_long_changes_nothing(autojump_clock: MockClock) -> None:
    case, _ = await stalled("nothing")
    case.world.hasher._threads = Inline(60)
    assert await case.ask("change") == "internal"
    assert trio.current_time() == CHANGE_WAIT_S
    case.world.hasher._threads = Inline()
    case.world.over(case.store)
    assert not await case.is_changed()
    assert await case.world.attempts_of(case.secret) == 1
    signed = await case.world.change(case.client, case.secret, case.code)
    assert isinstance(signed, SignedIn)
