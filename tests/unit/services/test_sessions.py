"""Sessions: begun, found, signed in, ended (requirements 24-32 as far as they concern them)."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from otp_server.domain.account import digest_of
from otp_server.domain.account_outcome import SignedIn, SignInRefused
from otp_server.domain.audit import Actor
from otp_server.domain.outcome import Reason, Refused
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.errors import ErrorKind, StoreUnavailable
from otp_server.services.ports import Store
from otp_server.services.ports.accounts import SignIn, UserKey
from otp_server.services.sessions import SessionAsked
from otp_server.stores.memory import MemoryStore
from tests.support.account_world import (
    ADDRESS,
    EMAIL,
    FREE,
    HOST,
    PASSWORD,
    AccountWorld,
)
from tests.support.world import KEY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from trio.testing import MockClock

    from otp_server.domain.account import User
    from otp_server.domain.account_outcome import SignInOutcome

DAY_S = 86_400
OPERATOR = Actor("operator")


def signed_in(outcome: SignInOutcome) -> SignedIn:
    assert isinstance(outcome, SignedIn), outcome
    return outcome


def kinds(outcomes: Sequence[SignInOutcome]) -> Counter[str]:
    return Counter(
        outcome.kind.token if isinstance(outcome, Refused) else type(outcome).__name__
        for outcome in outcomes
    )


# --- anonymous sessions ---------------------------------------------------------------------------


async def test_a_session_is_found_by_its_id_alone(store: Store) -> None:
    world = AccountWorld(store=store)
    session_id, session = await world.begin()
    other_id, other = await world.begin()
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", session_id)
    assert session.digest == digest_of(session_id) != other.digest
    assert (session.uid, session.host, session.organisation) == (None, HOST, "main")
    assert session.expires_at_ms - session.created_at_ms == DAY_S * 1000
    asked: list[str | None] = [
        None,
        session_id,
        "",
        session_id[:-1],
        session_id + "a",
        other_id,
        session.digest.hex(),
        "\ud800" * 43,
        "a" * 43,
        "x" * 100_000,
    ]
    found = await world.sessions.find_many([SessionAsked(HOST, each) for each in asked])
    assert found == [None, session, None, None, None, other, None, None, None, None]


async def test_a_session_is_good_at_its_own_host_only(store: Store) -> None:
    world = AccountWorld(store=store)
    session_id, session = await world.begin("a.example")
    found = await world.sessions.find_many(
        [SessionAsked(host, session_id) for host in ("b.example", "a.example", "x.a.example", "")]
    )
    assert found == [None, session, None, None]


async def test_the_session_of_a_socket_is_found_by_its_digest(store: Store) -> None:
    world = AccountWorld(store=store)
    session_id, session = await world.begin("a.example")
    find = world.sessions.find_by_digest
    assert await find(session.digest, "a.example") == session
    assert await find(session.digest, "b.example") is None
    assert await find(session_id.encode(), "a.example") is None
    await world.sessions.sign_out(session, ADDRESS)
    assert await find(session.digest, "a.example") is None


async def test_an_anonymous_session_lasts_a_day(mock_clock: MockClock) -> None:
    world = AccountWorld()
    session_id, session = await world.begin()
    mock_clock.jump(DAY_S - 1)
    assert await world.find(session_id) == session
    mock_clock.jump(1)
    assert await world.find(session_id) is None
    assert await world.sessions.find_by_digest(session.digest, HOST) is None


async def test_sessions_of_an_address_are_limited(mock_clock: MockClock) -> None:
    world = AccountWorld(windows=replace(FREE, sessions=((2, 60_000),)))
    addresses = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.9"]
    begun = [await world.sessions.begin(HOST, "main", address) for address in addresses]
    assert [isinstance(each, tuple) for each in begun] == [True, True, False, True]
    refused = begun[2]
    assert isinstance(refused, ProcessRefused)
    assert (refused.kind, refused.violated) == (ErrorKind.RATE_LIMITED, ("session-address-60",))
    assert refused.retry_after_ms == 60_000
    assert [(entry.tenant, entry.actor, entry.subject) for entry in world.hits.take()] == [
        ("svc/main", "nobody", "session-address-60")
    ]
    mock_clock.jump(60)
    assert isinstance(await world.sessions.begin(HOST, "main", addresses[0]), tuple)


async def test_sessions_of_everybody_are_limited(mock_clock: MockClock) -> None:
    world = AccountWorld(windows=replace(FREE, sessions_in_all=((3, 60_000),)))
    await world.add()
    begun = [await world.sessions.begin(HOST, "main", f"192.0.2.{n}") for n in range(5)]
    assert [isinstance(each, tuple) for each in begun] == [True, True, True, False, False]
    refused = begun[4]
    assert isinstance(refused, ProcessRefused)
    assert (refused.violated, refused.retry_after_ms) == (("session-in-all-60",), 60_000)
    signed_in(await world.sign_in())  # these are counted elsewhere
    mock_clock.jump(60)
    assert isinstance(await world.sessions.begin(HOST, "main", ADDRESS), tuple)


async def test_what_is_left_in_all_is_not_told_beside_an_addresss_own_refusal() -> None:
    once = ((1, 60_000),)
    world = AccountWorld(windows=replace(FREE, sessions=once, sessions_in_all=once))
    await world.begin()
    refused = await world.sessions.begin(HOST, "main", ADDRESS)
    assert isinstance(refused, ProcessRefused)
    assert [quota.policy for quota in refused.quotas or ()] == ["session-address-60"]


# --- signing in -----------------------------------------------------------------------------------


async def test_the_right_password_signs_in(store: Store) -> None:
    world = AccountWorld(store=store)
    user = await world.add()
    old_id, old = await world.begin()
    done = signed_in(await world.sign_in(" JANE.DOE@example.com", session=old))
    assert done.user == world.accounts.view(user)
    assert done.session.uid == user.uid
    assert done.session.host == HOST
    assert done.session.digest == digest_of(done.session_id)
    assert done.session.expires_at_ms - done.session.created_at_ms == 30 * DAY_S * 1000
    assert await world.find(done.session_id) == done.session
    assert await world.find(old_id) is None  # a planted id is worth nothing
    assert done.session_id not in repr(done)
    assert (await world.trail())[-1] == (
        f"user:{user.uid}",
        f"user:{user.uid}",
        "user.sign_in",
        "done",
    )


async def test_signing_in_without_a_session_and_again_in_another_browser(store: Store) -> None:
    world = AccountWorld(store=store)
    await world.add()
    first, second = [signed_in(await world.sign_in()) for _ in range(2)]
    assert await world.find(first.session_id) == first.session
    assert await world.find(second.session_id) == second.session


async def test_the_callers_socket_follows_and_others_do_not() -> None:
    world = AccountWorld()
    await world.add()
    _, session = await world.begin()
    _, stranger = await world.begin()
    ended: list[str] = []
    mine = world.sockets.bind(session.digest, lambda: ended.append("mine"))
    planted = world.sockets.bind(session.digest, lambda: ended.append("planted"))
    theirs = world.sockets.bind(stranger.digest, lambda: ended.append("theirs"))
    refused = await world.sign_in(password="wrong password", session=session, socket_id=mine)
    assert isinstance(refused, SignInRefused)
    assert world.sockets.is_bound(mine, session.digest)
    done = signed_in(await world.sign_in(session=session, socket_id=mine))
    assert world.sockets.is_bound(mine, done.session.digest)
    assert ended == ["planted"]
    assert world.sockets.session_of(planted) is None
    assert world.sockets.is_bound(theirs, stranger.digest)


async def test_no_socket_is_signed_in_that_was_not_named() -> None:
    world = AccountWorld()
    await world.add()
    _, session = await world.begin()
    _, stranger = await world.begin()
    planted = world.sockets.bind(session.digest, list)
    theirs = world.sockets.bind(stranger.digest, list)
    done = signed_in(await world.sign_in(session=session, socket_id=theirs))
    assert world.sockets.session_of(planted) is None
    assert world.sockets.is_bound(theirs, stranger.digest)
    assert not world.sockets.is_bound(theirs, done.session.digest)


@pytest.mark.parametrize(
    ("email", "password"),
    [
        (EMAIL, "wrong password"),
        (EMAIL, ""),
        (EMAIL, "x" * 100_000),
        ("nobody@example.com", PASSWORD),
        ("not an e-mail", PASSWORD),
        ("\ud800", "\ud800"),
        ("without@example.com", PASSWORD),
        ("other@example.com", PASSWORD),  # of another organisation
    ],
)
async def test_what_is_wrong_is_not_told_and_changes_nothing(
    store: Store, email: str, password: str
) -> None:
    world = AccountWorld(store=store)
    await world.add()
    await world.add("without@example.com", password=None)
    await world.add("other@example.com", organisation="acme")
    session_id, session = await world.begin()
    trail = await world.trail()
    assert await world.sign_in(email, password, session=session) == SignInRefused()
    assert await world.find(session_id) == session
    assert await world.trail() == trail


class WatchedStore(MemoryStore):
    """Notes which of its methods are called, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    async def find_users(self, keys: Sequence[UserKey]) -> list[User | None]:
        self.calls.append(f"find_users {len(keys)} {[key.uid for key in keys]}")
        return await super().find_users(keys)

    async def find_password(self, uid: str) -> str | None:
        self.calls.append("find_password")
        return await super().find_password(uid)

    async def sign_in(self, asked: SignIn) -> bool:
        self.calls.append("sign_in")
        return await super().sign_in(asked)


async def test_known_and_unknown_emails_are_exactly_the_same_work() -> None:
    """Store calls, comparisons and charges of the limits are equal (requirement 30)."""
    store = WatchedStore()
    windows = replace(FREE, account=((3, 60_000),))
    world = AccountWorld(store=store, windows=windows)
    await world.add()
    await world.add("without@example.com", password=None)
    seen: dict[str, tuple[list[str], list[bool], list[list[tuple[str, int]]]]] = {}
    for email in (EMAIL, "nobody@example.com", "without@example.com", "no e-mail"):
        store.calls.clear()
        world.hasher.compared.clear()
        left: list[list[tuple[str, int]]] = []
        for _ in range(5):
            outcome = await world.sign_in(email, "wrong password")
            quotas = list(outcome.quotas or ()) if isinstance(outcome, ProcessRefused) else []
            left.append([(quota.policy, quota.remaining) for quota in quotas[1:]])
        seen[email] = [*store.calls], [bool(each) for each in world.hasher.compared], left
    known_calls, known_compared, known_left = seen[EMAIL]
    assert known_calls == ["find_users 1 [None]", "find_password"] * 3
    assert known_compared == [True] * 3
    assert known_left == [[], [], [], [("sign-in-account-60", 0)], [("sign-in-account-60", 0)]]
    for calls, compared, left in seen.values():
        assert calls == known_calls
        assert len(compared) == len(known_compared)
        assert left == known_left


async def test_wrong_passwords_are_in_the_trail_without_the_email() -> None:
    world = AccountWorld()
    user = await world.add()
    for email in (EMAIL, EMAIL, "nobody@example.com"):
        await world.sign_in(email, "wrong password")
    entries = sorted(world.hits.take(), key=lambda entry: entry.actor)
    assert [(each.tenant, each.actor, each.address, each.subject) for each in entries] == [
        ("svc/main", "nobody", ADDRESS, "wrong-password"),
        ("svc/main", f"user:{user.uid}", ADDRESS, "wrong-password"),
    ]
    assert [each.outcome for each in entries] == ["refused:1", "refused:2"]
    assert "example" not in repr(entries)


# --- limits ---------------------------------------------------------------------------------------


async def at_once(calls: Sequence[Callable[[], Awaitable[SignInOutcome]]]) -> list[SignInOutcome]:
    outcomes: list[SignInOutcome] = []

    async def one(call: Callable[[], Awaitable[SignInOutcome]]) -> None:
        outcomes.append(await call())

    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(one, call)
    return outcomes


@pytest.mark.parametrize("email", [EMAIL, "nobody@example.com"])
async def test_a_hundred_wrong_passwords_at_once_for_one_account(email: str) -> None:
    world = AccountWorld(windows=replace(FREE, account=((5, 60_000), (50, 3_600_000))))
    await world.add()

    def call(i: int) -> Callable[[], Awaitable[SignInOutcome]]:
        return lambda: world.sign_in(email, f"wrong password {i}", address=f"192.0.2.{i}")

    outcomes = await at_once([call(i) for i in range(100)])
    assert kinds(outcomes) == {"SignInRefused": 5, "rate_limited": 95}
    assert len(world.hasher.compared) == 5
    still = await world.sign_in(email)
    assert isinstance(still, ProcessRefused)  # the right one too: nobody may guess on
    assert still.violated == ("sign-in-account-60",)


async def test_a_hundred_wrong_passwords_at_once_from_one_address() -> None:
    world = AccountWorld(windows=replace(FREE, address=((30, 60_000),)))

    def call(i: int) -> Callable[[], Awaitable[SignInOutcome]]:
        return lambda: world.sign_in(f"p{i}@example.com", "wrong", address=f"2001:db8::{i:x}")

    outcomes = await at_once([call(i) for i in range(100)])
    assert kinds(outcomes) == {"SignInRefused": 30, "rate_limited": 70}
    assert len(world.hasher.compared) == 30
    other = await world.sign_in(address="192.0.2.2")
    assert isinstance(other, SignInRefused)


async def test_a_refused_address_reads_nothing_of_an_account(mock_clock: MockClock) -> None:
    """What others tried at it is the same to see as what nobody tried: nothing."""
    windows = replace(FREE, account=((2, 90_000), (50, 3_600_000)), address=((1, 60_000),))
    world = AccountWorld(windows=windows)
    for n in (2, 3):
        await world.sign_in(EMAIL, "wrong", address=f"192.0.2.{n}")
    assert isinstance(await world.sign_in("b@example.com", "wrong"), SignInRefused)
    told = []
    for email in (EMAIL, "fresh@example.com"):
        refused = await world.sign_in(email, "wrong")
        assert isinstance(refused, ProcessRefused)
        told.append((refused.violated, refused.retry_after_ms, refused.quotas))
    assert told[0] == told[1]
    assert told[0][0] == ("sign-in-address-60",)
    assert [quota.policy for quota in told[0][2] or ()] == ["sign-in-address-60"]
    elsewhere = await world.sign_in(EMAIL, "wrong", address="192.0.2.9")
    assert isinstance(elsewhere, ProcessRefused)
    assert elsewhere.violated == ("sign-in-account-90",)
    policies = [quota.policy for quota in elsewhere.quotas or ()]
    assert policies == ["sign-in-address-60", "sign-in-account-90"], "not the hour's, with room"


async def test_right_passwords_are_given_back() -> None:
    world = AccountWorld(windows=replace(FREE, account=((2, 60_000),), address=((2, 60_000),)))
    await world.add()
    for _ in range(5):
        signed_in(await world.sign_in())
    assert isinstance(await world.sign_in(password="wrong"), SignInRefused)
    for _ in range(5):
        signed_in(await world.sign_in())
    outcomes = await at_once([world.sign_in] * 5)
    assert kinds(outcomes) == {"SignedIn": 1, "rate_limited": 4}
    for refused in outcomes:
        if isinstance(refused, ProcessRefused):
            assert refused.retry_after_ms == 1000  # the one being judged may be right


async def test_a_full_table_lets_nobody_in() -> None:
    world = AccountWorld(windows=replace(FREE, keys_max=1))
    await world.add()
    assert isinstance(await world.sign_in(password="wrong"), SignInRefused)
    outcome = await world.sign_in("nobody@example.com", address="192.0.2.2")
    assert isinstance(outcome, Refused)
    assert (outcome.kind, outcome.retry_after_ms) == (ErrorKind.OVERLOADED, 1000)


async def test_who_finds_no_room_to_be_judged_is_not_charged() -> None:
    world = AccountWorld(windows=replace(FREE, account=((100, 60_000),)))
    await world.add()
    for _ in range(2):  # the second time too there is room for a hundred
        outcomes = await at_once([world.sign_in] * 100)
        assert kinds(outcomes) == {"SignedIn": 66, "overloaded": 34}
        refused = next(each for each in outcomes if isinstance(each, Refused))
        assert (refused.reason, refused.retry_after_ms) == (Reason.BUSY, 1000)


# --- races and failures ---------------------------------------------------------------------------


class MeanwhileStore(MemoryStore):
    """Something happens right after a password was read, or before a session begins."""

    after_password: Callable[[], Awaitable[None]] | None = None
    before_sign_in: Callable[[], Awaitable[None]] | None = None

    async def find_password(self, uid: str) -> str | None:
        found = await super().find_password(uid)
        if self.after_password is not None:
            await self.after_password()
        return found

    async def sign_in(self, asked: SignIn) -> bool:
        if self.before_sign_in is not None:
            await self.before_sign_in()
        return await super().sign_in(asked)

    async def change(self, uid: str, hashed: str) -> None:
        """What ``change_passwords`` does to an account."""
        self._passwords[uid] = hashed
        user = self._users[uid]
        self._users[uid] = replace(user, password_version=user.password_version + 1)


@pytest.mark.parametrize("when", ["after_password", "before_sign_in"])
async def test_the_old_password_loses_against_a_change(when: str) -> None:
    store = MeanwhileStore()
    world = AccountWorld(store=store, windows=replace(FREE, account=((1, 60_000),)))
    user = await world.add()
    session_id, session = await world.begin()
    socket_id = world.sockets.bind(session.digest, list)
    hashed = await world.hasher.hash("another violet tractor")

    async def change() -> None:
        await store.change(user.uid, hashed)

    setattr(store, when, change)
    assert await world.sign_in(session=session) == SignInRefused()
    assert await world.find(session_id) == session  # nothing was replaced
    assert world.sockets.is_bound(socket_id, session.digest)
    again = await world.sign_in()
    assert isinstance(again, ProcessRefused)  # it counted as a wrong one


async def test_a_sign_in_that_has_begun_ends_even_if_its_caller_leaves() -> None:
    store = MeanwhileStore()
    world = AccountWorld(store=store)
    await world.add()
    session_id, session = await world.begin()
    socket_id = world.sockets.bind(session.digest, list)
    with trio.CancelScope() as scope:

        async def leave() -> None:
            scope.cancel()
            await trio.lowlevel.checkpoint_if_cancelled()

        store.before_sign_in = leave
        await world.sign_in(session=session, socket_id=socket_id)
    assert await world.find(session_id) is None
    assert not world.sockets.is_bound(socket_id, session.digest)
    assert world.sockets.session_of(socket_id) is not None


async def test_who_leaves_before_the_answer_is_charged_as_wrong() -> None:
    store = MeanwhileStore()
    world = AccountWorld(store=store, windows=replace(FREE, account=((1, 60_000),)))
    await world.add()
    with trio.CancelScope() as scope:

        async def leave() -> None:
            scope.cancel()
            await trio.lowlevel.checkpoint()

        store.after_password = leave
        await world.sign_in()
    assert scope.cancelled_caught
    refused = await world.sign_in()
    assert isinstance(refused, ProcessRefused)
    assert refused.retry_after_ms > 1000, "it is decided"


class Away(MemoryStore):
    """Fails the named method."""

    failing = ""

    def __getattribute__(self, name: str) -> object:
        if name == MemoryStore.__getattribute__(self, "failing"):
            raise StoreUnavailable("away")
        return super().__getattribute__(name)


@pytest.mark.parametrize("failing", ["find_users", "find_password", "sign_in"])
async def test_a_store_that_is_away_lets_nobody_in_and_charges_nobody(failing: str) -> None:
    store = Away()
    world = AccountWorld(store=store, windows=replace(FREE, account=((1, 60_000),)))
    await world.add()
    session_id, session = await world.begin()
    store.failing = failing
    for _ in range(3):
        outcome = await world.sign_in(session=session)
        assert isinstance(outcome, Refused)
        assert (outcome.kind, outcome.reason) == (ErrorKind.UNAVAILABLE, Reason.STORE)
    store.failing = ""
    assert await world.find(session_id) == session
    signed_in(await world.sign_in(session=session))


async def test_other_calls_without_a_store() -> None:
    store = Away()
    world = AccountWorld(store=store)
    _, session = await world.begin()
    socket_id = world.sockets.bind(session.digest, list)
    for store.failing, call in (
        ("add_session", lambda: world.sessions.begin(HOST, "main", ADDRESS)),
        ("end_session", lambda: world.sessions.sign_out(session, ADDRESS)),
    ):
        outcome = await call()
        assert isinstance(outcome, Refused)
        assert outcome.kind is ErrorKind.UNAVAILABLE
    assert world.sockets.is_bound(socket_id, session.digest)
    store.failing = "find_sessions"
    with pytest.raises(StoreUnavailable):
        await world.find("a" * 43)
    assert await world.find("cannot be one") is None


async def test_an_account_that_does_not_open_is_our_fault(store: Store) -> None:
    await AccountWorld(store=store, contact_keys=[("c0", KEY), ("c1", KEY[::-1])]).add()
    world = AccountWorld(store=store)  # finds it by the last key, and cannot open it
    outcome = await world.sign_in()
    assert isinstance(outcome, Refused)
    assert (outcome.kind, outcome.reason) == (ErrorKind.INTERNAL, Reason.KEY_MISSING)


# --- the end --------------------------------------------------------------------------------------


async def test_signing_out_ends_the_session_and_its_sockets(store: Store) -> None:
    world = AccountWorld(store=store)
    user = await world.add()
    done = signed_in(await world.sign_in())
    other = signed_in(await world.sign_in())
    ended: list[str] = []
    mine = world.sockets.bind(done.session.digest, lambda: ended.append("mine"))
    theirs = world.sockets.bind(other.session.digest, lambda: ended.append("theirs"))
    for _ in range(2):
        assert await world.sessions.sign_out(done.session, ADDRESS) is None
    assert ended == ["mine"]
    assert not world.sockets.is_bound(mine, done.session.digest)
    assert world.sockets.is_bound(theirs, other.session.digest)
    assert await world.find(done.session_id) is None
    assert await world.find(other.session_id) == other.session
    assert [line for line in await world.trail() if line[2] == "user.sign_out"] == [
        (f"user:{user.uid}", f"user:{user.uid}", "user.sign_out", "done")
    ]


async def test_an_anonymous_session_may_end_too(store: Store) -> None:
    world = AccountWorld(store=store)
    session_id, session = await world.begin()
    assert await world.sessions.sign_out(session, ADDRESS) is None
    assert await world.find(session_id) is None


async def test_signing_out_ends_even_if_the_caller_leaves() -> None:
    world = AccountWorld()
    session_id, session = await world.begin()
    ended: list[int] = []
    world.sockets.bind(session.digest, lambda: ended.append(1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await world.sessions.sign_out(session, ADDRESS)
    assert ended == [1]
    assert await world.find(session_id) is None


async def test_a_signed_in_session_lasts_as_configured(mock_clock: MockClock) -> None:
    world = AccountWorld()
    await world.add()
    done = signed_in(await world.sign_in())
    mock_clock.jump(30 * DAY_S - 1)
    assert await world.find(done.session_id) == done.session
    mock_clock.jump(1)
    assert await world.find(done.session_id) is None
