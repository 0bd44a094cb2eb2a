"""The limits of codes: exact, all asked, alike for everybody, kept over a restart (33-45)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from otp_server.core import Charges
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.errors import ErrorKind, LimiterFull, StoreUnavailable
from otp_server.services.limit_hits import Hitter, LimitHits
from otp_server.services.ports.processes import StartRecord
from otp_server.services.reset_limits import ResetLimits
from otp_server.telemetry import Metrics
from tests.support.process_world import ProcessWorld, init, wrong
from tests.support.reset_world import (
    ADDRESS,
    CONTRACT,
    OTHER_EMAIL,
    TENANT,
    UNLIMITED,
    FailingCall,
    ResetWorld,
    StoreCalls,
    all_at_once,
    kind,
    send,
)
from tests.support.world import PLENTY

if TYPE_CHECKING:
    from otp_server.services.ports import Store

NOW = 1_800_000_000_000
CALLER = Hitter(TENANT, "nobody", ADDRESS)
ONCE = ((1, 60_000),)


def limits(**windows: object) -> ResetLimits:
    return ResetLimits(replace(UNLIMITED, **windows), hits=LimitHits(Metrics()))


def let_in(outcomes: list[ProcessRefused | Charges]) -> int:
    return sum(isinstance(outcome, Charges) for outcome in outcomes)


def test_no_limit_on_sends_switches_another_off() -> None:
    both = limits(account=((3, 60_000),), sends_address=((5, 60_000),))
    one, other = bytes(32), b"\x01" * 32
    assert let_in([both.begin_send(CALLER, one, NOW) for _ in range(9)]) == 3
    refused = both.begin_send(CALLER, one, NOW)
    assert isinstance(refused, ProcessRefused)
    assert refused.violated == ("code-account-60",)
    assert let_in([both.begin_send(CALLER, other, NOW) for _ in range(9)]) == 2
    refused = both.begin_send(CALLER, one, NOW)
    assert isinstance(refused, ProcessRefused)
    assert refused.violated == ("code-address-60",)
    assert (refused.kind, refused.retry_after_ms) == (ErrorKind.RATE_LIMITED, 60_000)
    elsewhere = CALLER._replace(address="192.0.2.2")
    assert let_in([both.begin_send(elsewhere, other, NOW) for _ in range(9)]) == 1


def test_a_refused_address_reads_nothing_of_an_account() -> None:
    """What others used of it is the same to see as what nobody used: nothing."""
    table = limits(account=CONTRACT, sends_address=((1, 30_000),))
    used, fresh, own = bytes(32), b"\x01" * 32, b"\x02" * 32
    for n in range(6):
        table.begin_send(CALLER._replace(address=f"192.0.2.{n + 10}"), used, NOW)
    assert let_in([table.begin_send(CALLER, own, NOW)]) == 1
    told = [table.begin_send(CALLER, index, NOW) for index in (used, fresh)]
    assert told[0] == told[1]
    refused = told[0]
    assert isinstance(refused, ProcessRefused)
    assert [quota.policy for quota in refused.quotas or ()] == ["code-address-30"]
    assert (refused.violated, refused.retry_after_ms) == (("code-address-30",), 30_000)
    elsewhere = table.begin_send(CALLER._replace(address="192.0.2.99"), used, NOW)
    assert isinstance(elsewhere, ProcessRefused)
    assert elsewhere.violated == ("code-account-60",)
    assert [quota.policy for quota in elsewhere.quotas or ()] == [
        "code-address-30",
        "code-account-60",
    ]


def test_codes_of_everybody_are_limited() -> None:
    table = limits(sends_in_all=((3, 60_000),), account=ONCE)
    callers = [CALLER._replace(address=f"192.0.2.{n}") for n in range(6)]
    outcomes = [table.begin_send(each, bytes([n]) * 32, NOW) for n, each in enumerate(callers)]
    assert [isinstance(each, Charges) for each in outcomes] == [True] * 3 + [False] * 3
    for email in (0, 9):  # one that was used, and one that was not
        refused = table.begin_send(CALLER, bytes([email]) * 32, NOW)
        assert isinstance(refused, ProcessRefused)
        assert (refused.violated, refused.retry_after_ms) == (("code-in-all-60",), 60_000)
        assert "code-account-60" not in [quota.policy for quota in refused.quotas or ()]
    assert let_in([table.begin_attempt(CALLER, NOW)]) == 1
    first = outcomes[0]
    assert isinstance(first, Charges)
    first.refund()
    assert let_in([table.begin_send(CALLER, bytes([9]) * 32, NOW)]) == 1


def test_accounts_of_two_organisations_and_hosts_of_one_network() -> None:
    table = limits(account=ONCE)
    assert let_in([table.begin_send(CALLER, bytes(32), NOW) for _ in range(2)]) == 1
    acme = CALLER._replace(tenant="svc/acme")
    assert let_in([table.begin_send(acme, bytes(32), NOW)]) == 1
    table = limits(sends_address=ONCE, wrong_address=ONCE)
    network = "2001:db8::1", "2001:db8::2", "2001:db8:1::1"
    callers = [CALLER._replace(address=address) for address in network]
    assert [let_in([table.begin_send(each, bytes(32), NOW)]) for each in callers] == [1, 0, 1]
    assert [let_in([table.begin_attempt(each, NOW)]) for each in callers] == [1, 0, 1]


def test_the_contract_of_an_account_holds_at_every_instant() -> None:
    table = limits(account=CONTRACT)
    stamps: list[int] = []
    for second in range(0, 90_000, 7):
        now = NOW + second * 1000
        if isinstance(table.begin_send(CALLER, bytes(32), now), Charges):
            stamps.append(now)
        for count, period in CONTRACT:
            assert sum(now - period < at for at in stamps) <= count
    assert len(stamps) >= 24


def test_what_was_wrong_stays_and_what_was_not_is_given_back() -> None:
    table = limits(wrong_address=((2, 60_000),))
    for _ in range(5):
        charged = table.begin_attempt(CALLER, NOW)
        assert isinstance(charged, Charges)
        charged.refund()
        charged.decide()
    for _ in range(2):
        charged = table.begin_attempt(CALLER, NOW)
        assert isinstance(charged, Charges)
        undecided = table.begin_attempt(CALLER, NOW)
        if isinstance(undecided, ProcessRefused):
            assert undecided.retry_after_ms == 1000, "one may yet be given back"
        else:
            undecided.refund()
            undecided.decide()
        charged.decide()
    refused = table.begin_attempt(CALLER, NOW)
    assert isinstance(refused, ProcessRefused)
    assert (refused.violated, refused.retry_after_ms) == (("code-wrong-60",), 60_000)
    assert [quota.policy for quota in refused.quotas or ()] == ["code-wrong-60"]


def test_a_full_table_refuses_and_charges_nothing() -> None:
    table = limits(account=((2, 60_000),), sends_address=PLENTY, keys_max=1)
    assert let_in([table.begin_send(CALLER, bytes(32), NOW)]) == 1
    other = table.begin_send(CALLER, b"\x01" * 32, NOW)
    assert isinstance(other, ProcessRefused)
    assert (other.kind, other.retry_after_ms) == (ErrorKind.OVERLOADED, 1000)
    elsewhere = CALLER._replace(address="192.0.2.2")
    full = table.begin_send(elsewhere, bytes(32), NOW)
    assert isinstance(full, ProcessRefused)
    assert full.kind is ErrorKind.OVERLOADED
    assert let_in([table.begin_send(CALLER, bytes(32), NOW)]) == 1, "the account was given back"


def test_refusals_are_noted_for_the_trail() -> None:
    hits = LimitHits(Metrics())
    table = ResetLimits(replace(UNLIMITED, account=ONCE), hits=hits)
    for _ in range(3):
        table.begin_send(CALLER, bytes(32), NOW)
    [entry] = hits.take()
    assert (entry.tenant, entry.actor, entry.address) == CALLER
    assert (entry.action, entry.subject, entry.outcome) == (
        "otp.limit",
        "code-account-60",
        "refused:2",
    )


def test_a_restart_remembers_the_codes_of_the_svc_face_alone() -> None:
    table = limits(account=((3, 60_000),), sends_address=ONCE)
    starts = [
        StartRecord(TENANT, 0, bytes(32), NOW - 50_000),
        StartRecord("acme", 7, bytes(32), NOW - 1),
        StartRecord("svc/acme", 0, bytes(32), NOW - 1),
        StartRecord(TENANT, 0, bytes(32), NOW - 1),
    ]
    assert table.restore(starts, NOW) == 3
    assert let_in([table.begin_send(CALLER, bytes(32), NOW)]) == 1, "addresses begin anew"
    refused = table.begin_send(CALLER._replace(address="::1"), bytes(32), NOW)
    assert isinstance(refused, ProcessRefused)
    assert refused.retry_after_ms == 10_000
    with pytest.raises(LimiterFull):
        limits(keys_max=1).restore(starts, NOW)


def test_a_code_of_the_future_counts_as_of_now() -> None:
    """The clock went back across the restart."""
    table = limits(account=ONCE)
    table.restore([StartRecord(TENANT, 0, bytes(32), NOW + 9_000)], NOW)
    refused = table.begin_send(CALLER, bytes(32), NOW)
    assert isinstance(refused, ProcessRefused)
    assert refused.retry_after_ms == 60_000


# Through the service.


async def test_of_many_sends_at_once_six_are_sent(store: Store) -> None:
    world = ResetWorld(store=store, windows=replace(UNLIMITED, account=CONTRACT))
    await world.add_user()
    clients = [await world.client() for _ in range(100)]
    calls = [lambda c=client: world.resets.send_many([send(c)]) for client in clients]
    words = Counter(kind(outcome) for [outcome] in await all_at_once(calls))
    assert words == {"SecretSent": 6, "rate_limited": 94}
    assert len(await store.starts_since(0)) == 6
    again = ResetWorld(store=store, windows=replace(UNLIMITED, account=CONTRACT))
    assert await again.resets.restore() == 6
    assert await again.try_send(await again.client()) == "rate_limited"
    again.clock.shift_ms += 61_000
    assert await again.try_send(await again.client()) == "SecretSent"


async def test_decoys_are_remembered_too(store: Store) -> None:
    world = ResetWorld(store=store, reveal_accounts=False)
    await world.send(await world.client(), "nobody@example.org")
    assert await ResetWorld(store=store).resets.restore() == 1


async def test_the_two_faces_do_not_charge_each_other(store: Store) -> None:
    world = ResetWorld(store=store)
    await world.add_user()
    await world.send(await world.client())
    rest = ProcessWorld(store=store)
    await rest.add_type()
    await rest.start(init())
    assert await ResetWorld(store=store).resets.restore() == 1
    assert await ProcessWorld(store=store).starts.restore() == 1


async def test_an_e_mail_without_an_account_is_charged_alike(store: Store) -> None:
    for reveal in (True, False):
        windows = replace(UNLIMITED, account=((2, 60_000),))
        world = ResetWorld(store=store, windows=windows, reveal_accounts=reveal)
        client = await world.client()
        words = [
            kind((await world.resets.send_many([send(client, "no@example.org")]))[0])
            for _ in range(4)
        ]
        assert words[2:] == ["rate_limited"] * 2
        assert "rate_limited" not in words[:2]


async def test_an_address_cannot_go_through_all_e_mails(store: Store) -> None:
    world = ResetWorld(store=store, windows=replace(UNLIMITED, sends_address=((3, 60_000),)))
    client = await world.client()
    calls = [send(client, f"nobody{n}@example.org") for n in range(9)]
    words = Counter(kind(outcome) for outcome in await world.resets.send_many(calls))
    assert words == {"NoUser": 3, "rate_limited": 6}


async def test_a_store_that_fails_charges_nothing(store: Store) -> None:
    world = ResetWorld(store=store, windows=replace(UNLIMITED, account=ONCE, sends_address=ONCE))
    await world.add_user()
    client = await world.client()
    for number in (1, 2):
        world.over(StoreCalls(store, before=FailingCall(number)))
        assert await world.try_send(client) == "internal"
    world.over(store)
    await world.send(client)


WRONG = ["wrong code", "unknown secret", "unknown account", "no code", "used up"]


@pytest.mark.parametrize("why", WRONG)
@pytest.mark.parametrize("call", ["check", "change"])
async def test_every_wrong_code_is_charged_to_the_address(
    store: Store, why: str, call: str
) -> None:
    windows = replace(UNLIMITED, wrong_address=((2, 60_000),))
    world = ResetWorld(store=store, windows=windows, attempts_max=1 if why == "used up" else 5)
    await world.add_user()
    client = await world.client()
    secret = (await world.send(client)).secret
    code = await world.code_of(secret)
    given: dict[str, object] = {}
    if why == "unknown account":
        given["uid" if call == "change" else "email"] = OTHER_EMAIL
    bad = {"wrong code": wrong(code), "no code": "", "used up": wrong(code)}.get(why, code)
    bad_secret = "unknown" if why == "unknown secret" else secret
    ask = world.check if call == "check" else world.change
    words = [kind(await ask(client, bad_secret, bad, **given)) for _ in range(3)]
    word = "NoUser" if why == "unknown account" else "WrongCode"
    assert words == [word, word, "rate_limited"]
    refused = await ask(client, secret, code)
    assert isinstance(refused, ProcessRefused)
    assert refused.violated == ("code-wrong-60",)
    assert refused.retry_after_ms > 50_000, "they are judged: none may be given back"
    world.clock.shift_ms += 60_000
    assert kind(await ask(client, secret, code)) != "rate_limited"


async def test_right_codes_are_not_charged(store: Store) -> None:
    world = ResetWorld(store=store, windows=replace(UNLIMITED, wrong_address=ONCE))
    await world.add_user()
    client = await world.client()
    secret = (await world.send(client)).secret
    code = await world.code_of(secret)
    for _ in range(3):
        assert kind(await world.check(client, secret, code)) == "CodeRight"
    assert kind(await world.change(client, secret, code)) == "SignedIn"
    assert kind(await world.check(client, secret, code)) == "invalid_socket"
    client = await world.client()
    assert kind(await world.check(client, secret, code)) == "WrongCode"


async def test_the_journal_that_cannot_be_read_stops_the_start(store: Store) -> None:
    world = ResetWorld(store=store).over(StoreCalls(store, before=FailingCall(1)))
    with pytest.raises(StoreUnavailable):
        await world.resets.restore()
