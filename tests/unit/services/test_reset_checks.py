"""otp.verify: what is right and stays right, and all that is wrong and looks alike."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from otp_server.domain import budget
from otp_server.domain.account_outcome import CodeRight, NoUser, SignedIn
from otp_server.domain.challenge_type import Channel
from otp_server.domain.process import FailureReason, ProcessStatus
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.errors import ErrorKind
from otp_server.services.ports.outbox import DeliveryReport, MessageState
from otp_server.stores import process_rules
from tests.support.process_world import wrong
from tests.support.reset_world import (
    EMAIL,
    NEW,
    OTHER_EMAIL,
    TENANT,
    Client,
    ResetWorld,
    StoreCalls,
    all_at_once,
    check,
    kind,
)

if TYPE_CHECKING:
    from otp_server.services.ports import Store
    from otp_server.services.ports.resets import Reset


class Sent:
    """A world with a user and a code on its way."""

    def __init__(self, world: ResetWorld, client: Client, secret: str, code: str) -> None:
        self.world, self.client, self.secret, self.code = world, client, secret, code

    async def check(self, code: str | int | None = None, **given: object) -> str:
        """The outcome in a word."""
        client = given.pop("client", self.client)
        secret = given.pop("secret", self.secret)
        outcome = await self.world.check(
            client, secret, self.code if code is None else code, **given
        )
        return kind(outcome)

    async def attempts(self) -> int:
        return await self.world.attempts_of(self.secret)


async def sent(store: Store, **given: object) -> Sent:
    world = ResetWorld(store=store, **given)
    await world.add_user()
    await world.add_user(OTHER_EMAIL)
    client = await world.client()
    secret = (await world.send(client)).secret
    return Sent(world, client, secret, await world.code_of(secret))


async def test_a_right_code_is_told_with_its_record(store: Store) -> None:
    it = await sent(store)
    reset = await it.world.reset(it.secret)
    right = await it.world.check(it.client, it.secret, it.code)
    assert right == CodeRight(
        reset.uid or "", it.secret, it.code, reset.created_at_ms, reset.expires_at_ms
    )
    assert it.secret not in repr(right)
    assert it.code not in repr(right).replace(str(reset.created_at_ms), "")


async def test_a_right_code_may_be_checked_again_and_again(store: Store) -> None:
    it = await sent(store, attempts_max=2)
    for _ in range(10):
        assert await it.check() == "CodeRight"
        process = await it.world.process(it.secret)
        assert (process.status, process.attempts) == (ProcessStatus.NEW, 0)
    assert await it.world.failures() == 0
    assert isinstance(await it.world.change(it.client, it.secret, it.code), SignedIn)


@pytest.mark.parametrize(
    "written",
    [
        lambda code: f" {code[:3]} {code[3:]} ",
        lambda code: f"{code[:3]}-{code[3:]}",
        lambda code: "".join(chr(0xFF10 + int(digit)) for digit in code),
        lambda code: "".join(chr(0x0660 + int(digit)) for digit in code),
        int,
    ],
    ids=["blanks", "dash", "full width", "arabic", "a number"],
)
async def test_a_code_may_be_written_otherwise(store: Store, written: object) -> None:
    it = await sent(store)
    right = await it.world.check(it.client, it.secret, written(it.code))
    assert isinstance(right, CodeRight)
    assert right.code == it.code


async def test_a_number_has_its_zeros_put_back(store: Store) -> None:
    it = await sent(store)
    while not it.code.startswith("0"):  # one in ten does
        it.secret = (await it.world.send(it.client)).secret
        it.code = await it.world.code_of(it.secret)
    assert await it.check(int(it.code)) == "CodeRight"
    assert await it.check(str(int(it.code))) == "WrongCode", "as text every zero counts"
    assert await it.attempts() == 1


@pytest.mark.parametrize(
    "code",
    [
        "",
        "   ",
        "-",
        "1" * 25,
        " " * 19 + "123456",
        -1,
        10**6,
        pytest.param(10**5000, id="huge"),
        "\ud800" * 25,
    ],
)
async def test_what_can_be_no_code_is_wrong_and_counts_nowhere(
    store: Store, code: str | int
) -> None:
    it = await sent(store)
    assert await it.check(code) == "WrongCode"
    assert await it.attempts() == 0
    assert await it.world.failures() == 0


@pytest.mark.parametrize("code", ["12345", "1234567", "12345a", "½½½½½½"])
async def test_what_is_no_code_of_this_length_is_a_wrong_one(store: Store, code: str) -> None:
    it = await sent(store)
    assert await it.check(code) == "WrongCode"
    assert await it.attempts() == 1


# What is bound to somebody else is wrong, and burns nothing of his (29).


async def test_an_unknown_secret_is_wrong(store: Store) -> None:
    it = await sent(store)
    for secret in ("", "x", it.secret[:-1], it.secret + "x", it.secret.swapcase(), "\ud800"):
        assert await it.check(secret=secret) == "WrongCode"
    assert await it.attempts() == 0


async def test_a_secret_of_another_session_is_wrong(store: Store) -> None:
    it = await sent(store)
    thief = await it.world.client()
    for _ in range(20):
        assert await it.check(client=thief) == "WrongCode"
    assert await it.attempts() == 0
    assert await it.check() == "CodeRight"


async def test_a_secret_of_another_account_is_wrong(store: Store) -> None:
    """Also for one who has a code of his own, in the same session."""
    it = await sent(store)
    other = (await it.world.send(it.client, OTHER_EMAIL)).secret
    for _ in range(20):
        assert await it.check(email=OTHER_EMAIL) == "WrongCode"
    assert await it.check(secret=other) == "WrongCode"
    assert await it.attempts() == await it.world.attempts_of(other) == 0
    assert await it.check() == "CodeRight"


async def test_a_code_of_another_secret_is_a_counted_failure(store: Store) -> None:
    it = await sent(store)
    other = (await it.world.send(it.client, OTHER_EMAIL)).secret
    code = await it.world.code_of(other)
    assert await it.check(code) == "WrongCode"
    assert await it.attempts() == 1


async def test_a_secret_of_another_organisation_is_wrong(store: Store) -> None:
    it = await sent(store)
    await it.world.add_user(organisation="acme")
    session = replace(it.client.session, organisation="acme")
    assert await it.check(client=replace(it.client, session=session)) == "WrongCode"
    reset = await it.world.reset(it.secret)
    calls = StoreCalls(store)

    async def find_resets(_: object) -> list[Reset]:
        return [replace(reset, tenant="svc/acme")]

    calls.find_resets = find_resets
    it.world.over(calls)
    assert await it.check() == "WrongCode"
    assert calls.calls == ["find_users"]


async def test_an_unknown_account_is_said(store: Store) -> None:
    it = await sent(store)
    for email in ("nobody@example.org", "", "no e-mail"):
        outcome = await it.world.check(it.client, it.secret, it.code, email=email)
        assert outcome == NoUser()


# What ended is wrong.


async def test_an_expired_code_is_wrong(store: Store) -> None:
    it = await sent(store, code_ttl_s=600)
    it.world.clock.shift_ms += 590_000
    assert await it.check() == "CodeRight"
    it.world.clock.shift_ms += 10_000
    assert await it.check() == "WrongCode"
    await it.world.upkeep.sweep()
    assert await it.check() == "WrongCode"
    assert await it.attempts() == 0


async def test_a_superseded_code_is_wrong(store: Store) -> None:
    it = await sent(store)
    await it.world.send(it.client)
    assert await it.check() == "WrongCode"


async def test_a_used_code_is_wrong(store: Store) -> None:
    it = await sent(store)
    signed = await it.world.change(it.client, it.secret, it.code)
    assert isinstance(signed, SignedIn)
    assert it.world.sockets.is_bound(it.client.socket_id, signed.session.digest)
    for session in (signed.session, it.client.session):
        client = it.world.with_socket(session, "")
        assert await it.check(client=client) == "WrongCode"


async def test_an_undeliverable_code_is_wrong(store: Store) -> None:
    it = await sent(store)
    now_ms = it.world.clock.now_ms()
    reset = await it.world.reset(it.secret)
    [message] = await store.claim_messages(
        Channel.EMAIL, now_ms=now_ms, lease_until_ms=now_ms + 30_000, limit=10
    )
    assert message.uuid == reset.uuid
    report = DeliveryReport(
        message.message_id, message.lease, MessageState.FAILED, now_ms, "test", "unknown"
    )
    await store.report_deliveries([report])
    assert (await it.world.process(it.secret)).failure is FailureReason.UNDELIVERABLE
    assert await it.check() == "WrongCode"


async def test_wrong_codes_burn_the_secret(store: Store) -> None:
    it = await sent(store, attempts_max=5)
    for number in range(1, 6):
        assert await it.check(wrong(it.code)) == "WrongCode"
        assert await it.attempts() == number
    assert (await it.world.process(it.secret)).failure is FailureReason.EXHAUSTED
    assert await it.check() == "WrongCode"
    assert kind(await it.world.change(it.client, it.secret, it.code)) == "WrongCode"
    assert not await it.world.is_password(NEW)
    assert await it.attempts() == 5


async def test_checks_and_changes_share_the_attempts(store: Store) -> None:
    it = await sent(store, attempts_max=3)
    assert await it.check(wrong(it.code)) == "WrongCode"
    assert kind(await it.world.change(it.client, it.secret, wrong(it.code))) == "WrongCode"
    assert await it.check(wrong(it.code)) == "WrongCode"
    assert await it.check() == "WrongCode"


@pytest.mark.parametrize("last", ["check", "change"])
async def test_the_right_code_is_accepted_at_the_last_attempt(store: Store, last: str) -> None:
    it = await sent(store, attempts_max=3)
    for _ in range(2):
        assert await it.check(wrong(it.code)) == "WrongCode"
    if last == "check":
        assert await it.check() == "CodeRight"
    assert isinstance(await it.world.change(it.client, it.secret, it.code), SignedIn)


async def test_of_many_wrong_codes_at_once_as_many_are_compared_as_allowed(store: Store) -> None:
    it = await sent(store, attempts_max=5)
    calls = StoreCalls(store)
    settled: list[int] = []
    original = store.settle_checks

    async def settle_checks(batch: list[object]) -> object:
        settled.append(len(batch))
        return await original(batch)

    calls.settle_checks = settle_checks
    it.world.over(calls)
    code = wrong(it.code)
    words = await all_at_once([lambda: it.check(code)] * 200)
    assert Counter(words) == {"WrongCode": 200}
    assert sum(settled) == 5, "who was not counted was not compared"
    process = await it.world.process(it.secret)
    assert (process.attempts, process.failure) == (5, FailureReason.EXHAUSTED)
    assert await it.world.failures() == 5
    counted = Counter(word for _, word in await it.world.trail("otp.attempt"))
    assert counted["wrong"] == 5


async def test_many_right_codes_at_once_are_none_too_many(store: Store) -> None:
    it = await sent(store, attempts_max=5)
    outcomes = await it.world.resets.check_many([check(it.client, it.secret, it.code)] * 5)
    assert [kind(outcome) for outcome in outcomes] == ["CodeRight"] * 5
    assert await it.attempts() == 0
    assert await it.check() == "CodeRight"


# The budget of the contact (19, 20).


@pytest.fixture
def near_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "WAIT_FROM", 3)
    monkeypatch.setattr(process_rules, "FAILURES_MAX", 4)


@pytest.mark.usefixtures("near_budget")
async def test_a_contact_waits_after_many_wrong_codes_and_then_is_locked(store: Store) -> None:
    it = await sent(store, attempts_max=2)
    for _ in range(2):
        await it.check(wrong(it.code))
    secret = (await it.world.send(it.client)).secret
    code = await it.world.code_of(secret)
    await it.check(wrong(code), secret=secret)
    waiting = await it.world.check(it.client, secret, code)
    assert isinstance(waiting, ProcessRefused)
    assert (waiting.kind, waiting.violated) == (ErrorKind.RATE_LIMITED, ("contact-failures",))
    assert 29_000 < waiting.retry_after_ms <= 30_000
    assert kind(await it.world.change(it.client, secret, code)) == "rate_limited"
    it.world.clock.shift_ms += 30_000
    await it.check(wrong(code), secret=secret)
    secret = (await it.world.send(it.client)).secret
    code = await it.world.code_of(secret)
    it.world.clock.shift_ms += 60_000
    assert await it.check(code, secret=secret) == "contact_locked"
    assert kind(await it.world.change(it.client, secret, code)) == "contact_locked"
    assert not await it.world.is_password(NEW)


async def test_only_the_change_forgives_failures(store: Store) -> None:
    it = await sent(store)
    for _ in range(3):
        await it.check(wrong(it.code))
    assert await it.check() == "CodeRight"
    assert await it.world.failures() == 3
    assert isinstance(await it.world.change(it.client, it.secret, it.code), SignedIn)
    assert await it.world.failures() == 0


async def test_a_key_that_is_gone_is_our_fault(store: Store) -> None:
    it = await sent(store)
    other = ResetWorld(store=store, keys=(("k2", b"2" * 32),), sockets=it.world.sockets)
    assert kind(await other.check(it.client, it.secret, it.code)) == "internal"
    assert kind(await other.change(it.client, it.secret, it.code)) == "internal"
    assert not await other.is_password(NEW)


async def test_every_attempt_is_in_the_trail(store: Store) -> None:
    """By the store where a secret was known, else counted (87)."""
    it = await sent(store)
    reset = await it.world.reset(it.secret)
    await it.check(wrong(it.code))
    await it.check()
    await it.check(secret="unknown")
    await it.check(email="nobody@example.org")
    for none in ("", "-- --", "1" * 1000):
        assert await it.check(none) == "WrongCode"
    assert kind(await it.world.change(it.client, it.secret, "")) == "WrongCode"
    assert await it.world.trail("otp.attempt") == [
        ("nobody", "counted"),
        ("nobody", "wrong"),
        ("nobody", "counted"),
        (f"user:{reset.uid}", "checked"),
    ]
    hits = {(hit.tenant, hit.subject, hit.outcome) for hit in it.world.hits.take()}
    assert hits == {
        (TENANT, "unknown-secret", "refused:1"),
        (TENANT, "unknown-account", "refused:1"),
        (TENANT, "no-code", "refused:4"),
    }
    assert EMAIL not in str(await store.audit_after(0, 1000))
