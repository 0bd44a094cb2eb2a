"""The order of checks: each refusal at its place, and nothing that comes later ran (28, 25)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from otp_server.domain.account_outcome import CodeRight, PasswordRefused, SignedIn
from otp_server.errors import Busy, ConfigError
from otp_server.services.bounded_threads import BoundedThreads
from otp_server.services.limit_hits import Hitter
from otp_server.services.reset_limits import ResetLimits, ResetWindows
from tests.support.reset_world import (
    ADDRESS,
    EMAIL,
    NEW,
    TENANT,
    UNLIMITED,
    Client,
    ResetWorld,
    StoreCalls,
    change,
    check,
    kind,
    new_session,
    send,
)
from tests.support.world import PLENTY

if TYPE_CHECKING:
    from otp_server.services.ports import Store
    from otp_server.services.reset_calls import Call

UNKNOWN = "nobody@example.org"
ONCE = ((1, 60_000),)
SEND_CALLS = ["find_users", "start_resets"]
CHECK_CALLS = ["find_users", "find_resets", "count_attempts", "settle_checks"]
CHANGE_CALLS = ["find_users", "find_resets", "count_attempts", "change_passwords"]


class Stage:
    """A world with a user, a client with a secret and its right code, and an eye on the store."""

    def __init__(self, world: ResetWorld, client: Client, secret: str, code: str) -> None:
        self.world, self.client, self.secret, self.code = world, client, secret, code
        self.store = StoreCalls(world.store)
        world.over(self.store)

    async def ask(self, call: Call) -> str:
        """The outcome in a word; ``self.store.calls`` are what it asked."""
        self.store.calls.clear()
        many = {"Send": "send_many", "Check": "check_many", "Change": "change_many"}
        [outcome] = await getattr(self.world.resets, many[type(call).__name__])([call])
        return kind(outcome)

    def call(self, name: str, **given: object) -> Call:
        made = {
            "send": lambda: send(self.client),
            "check": lambda: check(self.client, self.secret, self.code),
            "change": lambda: change(self.client, self.secret, self.code),
        }[name]()
        return replace(made, **given)

    def limited(self) -> None:
        """Every limit refuses from now on."""
        windows = ResetWindows(
            account=ONCE, sends_address=ONCE, wrong_address=ONCE, sends_in_all=PLENTY
        )
        limits = self.world.limits = ResetLimits(windows, hits=self.world.hits)
        hitter, now_ms = Hitter(TENANT, "nobody", ADDRESS), self.world.clock.now_ms()
        limits.begin_send(hitter, bytes(32), now_ms)
        limits.begin_attempt(hitter, now_ms)
        self.world.build()


async def stage(store: Store, **given: object) -> Stage:
    world = ResetWorld(store=store, **given)
    await world.add_user()
    client = await world.client()
    sent = await world.send(client)
    return Stage(world, client, sent.secret, await world.code_of(sent.secret))


EACH = pytest.mark.parametrize("name", ["send", "check", "change"])


@EACH
@pytest.mark.parametrize("reveal", [True, False])
async def test_a_call_that_is_right_asks_the_store_once_for_each_step(
    store: Store, name: str, reveal: bool
) -> None:
    on = await stage(store, reveal_accounts=reveal)
    word = await on.ask(on.call(name))
    expected = {
        "send": ("SecretSent", SEND_CALLS),
        "check": ("CodeRight", CHECK_CALLS if reveal else CHECK_CALLS[1:]),
        "change": ("SignedIn", CHANGE_CALLS),
    }[name]
    assert (word, on.store.calls) == expected


async def test_a_batch_asks_the_store_once_for_each_step(store: Store) -> None:
    on = await stage(store)
    world = on.world
    clients = [await world.client() for _ in range(5)]
    on.store.calls.clear()
    sent = await world.resets.send_many([send(client) for client in clients])
    assert on.store.calls == SEND_CALLS
    secrets = [outcome.secret for outcome in sent]
    codes = [await world.code_of(secret) for secret in secrets]
    each = list(zip(clients, secrets, codes, strict=True))
    on.store.calls.clear()
    outcomes = await world.resets.check_many([check(*one) for one in each])
    assert [type(outcome) for outcome in outcomes] == [CodeRight] * 5
    assert [outcome.secret for outcome in outcomes] == secrets
    assert on.store.calls == CHECK_CALLS
    on.store.calls.clear()
    mixed = [change(each[0][0], each[0][1], "000000"), *(change(*one) for one in each[1:])]
    outcomes = await world.resets.change_many(mixed)
    assert [kind(outcome) for outcome in outcomes] == ["WrongCode", "SignedIn", *["WrongCode"] * 3]
    assert on.store.calls == [*CHANGE_CALLS[:3], "settle_checks", "change_passwords"]


@EACH
@pytest.mark.parametrize("why", ["unknown", "another's", "closed", "empty", "no session"])
async def test_first_comes_the_socket(store: Store, name: str, why: str) -> None:
    """Everything that comes later is wrong too."""
    on = await stage(store)
    thief = await on.world.client()
    on.limited()
    given: dict[str, object] = {
        "unknown": {"socket_id": "x" * 22},
        "another's": {"socket_id": thief.socket_id},
        "closed": {},
        "empty": {"socket_id": ""},
        "no session": {"session": None},
    }[why]
    if why == "closed":
        on.world.sockets.unbind(on.client.socket_id)
    subject = "uid" if name == "change" else "email"
    call = on.call(name, **{subject: UNKNOWN}, **given)
    assert await on.ask(call) == "invalid_socket"
    assert on.store.calls == []
    assert on.world.hits.take() == []


@EACH
async def test_a_session_that_is_not_the_sockets_is_none(store: Store, name: str) -> None:
    on = await stage(store)
    _, stranger = new_session(on.world.clock.now_ms())
    assert await on.ask(on.call(name, session=stranger)) == "invalid_socket"
    assert on.store.calls == []


@EACH
async def test_then_the_user(store: Store, name: str) -> None:
    """The code is wrong, and the password weak."""
    on = await stage(store)
    given: dict[str, object] = {"uid" if name == "change" else "email": UNKNOWN}
    if name != "send":
        given["code"] = "000000"
    if name == "change":
        given["password"] = "weak"
    assert await on.ask(on.call(name, **given)) == "NoUser"
    assert on.store.calls == ["find_users"]


async def test_then_the_password(store: Store) -> None:
    """The code is wrong, and limits refuse."""
    on = await stage(store)
    on.limited()
    call = on.call("change", password="weak", code="000000")
    assert await on.ask(call) == "PasswordRefused"
    assert on.store.calls == ["find_users"]
    assert on.world.hits.take() == []


@EACH
async def test_then_the_limits(store: Store, name: str) -> None:
    on = await stage(store)
    on.limited()
    given: dict[str, object] = {} if name == "send" else {"code": "000000", "secret": "unknown"}
    assert await on.ask(on.call(name, **given)) == "rate_limited"
    assert on.store.calls == ["find_users"]


@EACH
async def test_an_account_that_is_not_there_meets_the_limits_too(store: Store, name: str) -> None:
    """Else an address could ask for every e-mail in turn."""
    on = await stage(store)
    on.limited()
    given = {"uid" if name == "change" else "email": UNKNOWN}
    assert await on.ask(on.call(name, **given)) == "rate_limited"


@pytest.mark.parametrize("name", ["check", "change"])
async def test_then_the_secret(store: Store, name: str) -> None:
    on = await stage(store)
    assert await on.ask(on.call(name, secret="unknown")) == "WrongCode"
    assert on.store.calls == ["find_users", "find_resets"]


@pytest.mark.parametrize("name", ["check", "change"])
async def test_then_the_code(store: Store, name: str) -> None:
    on = await stage(store)
    wrong = str((int(on.code) + 1) % 10**6).zfill(6)
    assert await on.ask(on.call(name, code=wrong)) == "WrongCode"
    assert on.store.calls == CHECK_CALLS
    assert await on.world.attempts_of(on.secret) == 1


class NoRoom(BoundedThreads):
    """Threads whose queue is full from the ``free``-th reservation on."""

    def __init__(self, free: int) -> None:
        super().__init__(1, 0)
        self.free = free

    def reserve(self) -> object:
        if not self.free:
            raise Busy("full, as the test wants")
        self.free -= 1
        return super().reserve()


async def test_room_in_the_hasher_comes_before_counting(store: Store) -> None:
    windows = replace(UNLIMITED, wrong_address=ONCE)
    on = await stage(store, windows=windows)
    on.world.hasher._threads = NoRoom(0)
    for code in (on.code, "000000"):
        assert await on.ask(on.call("change", code=code)) == "overloaded"
        assert on.store.calls == ["find_users", "find_resets"]
    assert await on.world.attempts_of(on.secret) == 0
    on.world.hasher._threads = BoundedThreads(1, 0)
    assert await on.ask(on.call("change")) == "SignedIn"
    with on.world.hasher.reserve():  # given back
        pass


async def test_a_batch_larger_than_the_hasher_changes_what_fits(store: Store) -> None:
    on = await stage(store)
    on.world.hasher._threads = BoundedThreads(1, 1)
    outcomes = await on.world.resets.change_many([on.call("change")] * 3)
    assert [kind(outcome) for outcome in outcomes] == ["SignedIn", "WrongCode", "overloaded"]


async def test_room_to_judge_the_password_comes_before_all_that_counts(store: Store) -> None:
    on = await stage(store)
    on.world.policy._threads = NoRoom(0)
    assert await on.ask(on.call("change")) == "overloaded"
    assert on.store.calls == ["find_users"]


async def test_a_list_that_cannot_be_read_lets_no_password_pass(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = await stage(store)

    async def unreadable(*_: object, **__: object) -> list[str]:
        raise ConfigError("svc.breached_passwords cannot be read")

    monkeypatch.setattr(on.world.policy, "problems_of", unreadable)
    assert await on.ask(on.call("change")) == "internal"
    assert on.store.calls == ["find_users"]
    monkeypatch.undo()
    assert await on.ask(on.call("change")) == "SignedIn"


WEAK = ["short", "x" * 129, "password1234", EMAIL, "jana@EXAMPLE.org", "janajana", "JanaNovak"]


@pytest.mark.parametrize("reveal", [True, False])
@pytest.mark.parametrize("password", WEAK)
async def test_a_weak_password_burns_nothing(store: Store, password: str, reveal: bool) -> None:
    """However often: the code is still good, and no attempt is missing."""
    world = ResetWorld(store=store, reveal_accounts=reveal, attempts_max=2)
    user = await world.add_user(lastname="Novak")
    client = await world.client()
    sent = await world.send(client)
    code = await world.code_of(sent.secret)
    for uid in (user.uid, EMAIL, user.uid):
        outcome = await world.change(client, sent.secret, code, uid=uid, password=password)
        assert isinstance(outcome, PasswordRefused), outcome
        assert outcome.problems
        assert all(password not in problem for problem in outcome.problems)
        assert await world.attempts_of(sent.secret) == 0
        assert await world.failures() == 0
    assert isinstance(await world.change(client, sent.secret, code, uid=user.uid), SignedIn)
    assert await world.is_password(NEW)


async def test_hidden_accounts_do_not_tell_their_names_by_refusing_them(store: Store) -> None:
    """With a wrong code a name as password is as good as any; with the right one it is refused."""
    world = ResetWorld(store=store, reveal_accounts=False)
    await world.add_user(lastname="Novak")
    client = await world.client()
    sent = await world.send(client)
    for uid in (EMAIL, UNKNOWN):
        given = {"uid": uid, "password": "JanaNovak"}
        assert kind(await world.change(client, sent.secret, "000000", **given)) == "WrongCode"
    code = await world.code_of(sent.secret)
    outcome = await world.change(client, sent.secret, code, password="JanaNovak")
    assert isinstance(outcome, PasswordRefused)
