"""The limits of the rest face compose: all asked, all charged or none (39, 40, 42-45)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from otp_server.core import Charges, Quota, Quotas
from otp_server.domain.challenge_type import Channel
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.errors import ErrorKind, LimiterFull
from otp_server.services.guards import GuardRules, SmsGuards, block_of
from otp_server.services.limit_hits import Hitter, LimitHits
from otp_server.services.ports.processes import StartRecord
from otp_server.services.start_limits import (
    Charged,
    LimitWindows,
    ProcessLimits,
    SmsStart,
    Wish,
)
from otp_server.telemetry import Metrics
from tests.support.process_world import UNLIMITED
from tests.support.world import PLENTY

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = 1_800_000_000_000
CALLER = Hitter("acme", "client:a", "192.0.2.1")
START_LIMITS = ("contact", "tenant", "everybody")
ATTEMPT_LIMITS = ("wrong_address", "wrong_client")


def limits(
    windows: LimitWindows = UNLIMITED, guard_rules: GuardRules | None = None
) -> ProcessLimits:
    guards = None if guard_rules is None else SmsGuards(guard_rules)
    return ProcessLimits(windows, hits=LimitHits(Metrics()), guards=guards)


def index(contact: int) -> bytes:
    return contact.to_bytes(16) * 2


def wish(contact: int = 0, caller: Hitter = CALLER, *, phone: str | None = None) -> Wish:
    sms = None if phone is None else SmsStart(contact.to_bytes(16), block_of(caller.tenant, phone))
    return Wish(caller, 1, {Channel.EMAIL: index(contact)}, sms)


def let_in(outcomes: Sequence[ProcessRefused | Charged | Charges]) -> int:
    return sum(not isinstance(outcome, ProcessRefused) for outcome in outcomes)


@pytest.mark.parametrize("limited", list(itertools.product([False, True], repeat=4)))
def test_no_limit_on_starts_switches_another_off(limited: tuple[bool, ...]) -> None:
    """Every subset of limits and the guard, so every pair on and off (requirement 45)."""
    windows = UNLIMITED
    names = [name for name, on in zip(START_LIMITS, limited, strict=False) if on]
    for bound, name in enumerate(names, start=3):
        windows = replace(windows, **{name: ((bound, 60_000),)})
    guard = GuardRules(prefix=((2, 60_000),) if limited[3] else PLENTY, enforce=True)
    table = limits(windows, guard)
    outcomes = [table.begin_start(wish(phone="+491701234567"), NOW) for _ in range(9)]
    tightest = 2 if limited[3] else 3 if names else 9
    assert let_in(outcomes) == tightest
    for name in names:  # each refuses alone, when the others have room for more
        alone = replace(UNLIMITED, **{name: getattr(windows, name)})
        outcomes = [limits(alone).begin_start(wish(), NOW) for _ in range(9)]
        assert let_in(outcomes) == 9, "a table of its own each time"
        table = limits(alone)
        outcomes = [table.begin_start(wish(), NOW) for _ in range(9)]
        assert let_in(outcomes) == getattr(windows, name)[0][0]


@pytest.mark.parametrize("limited", list(itertools.product([False, True], repeat=2)))
def test_no_limit_on_attempts_switches_another_off(limited: tuple[bool, ...]) -> None:
    windows = UNLIMITED
    names = [name for name, on in zip(ATTEMPT_LIMITS, limited, strict=True) if on]
    for bound, name in enumerate(names, start=3):
        windows = replace(windows, **{name: ((bound, 60_000),)})
    table = limits(windows)
    outcomes = [table.begin_attempt(CALLER, "a", NOW) for _ in range(9)]
    assert let_in(outcomes) == (3 if names else 9)


def test_all_that_refuse_are_named_and_the_slowest_counts() -> None:
    table = limits(
        replace(UNLIMITED, contact=((1, 60_000), (1, 90_000)), tenant=((1, 1000),)),
        GuardRules(prefix=((1, 120_000),), enforce=True),
    )
    table.begin_start(wish(phone="+491701234567"), NOW)
    refused = table.begin_start(wish(phone="+491701234567"), NOW + 500)
    assert isinstance(refused, ProcessRefused)
    assert set(refused.violated) == {"contact-60", "contact-90", "tenant-1", "sms-prefix"}
    assert refused.retry_after_ms == 119_500
    for policy in refused.violated[:3]:
        assert policy in {quota.policy for quota in refused.quotas or ()}


def test_a_call_refused_by_one_limit_charges_no_other() -> None:
    table = limits(replace(UNLIMITED, contact=((1, 60_000),), tenant=((3, 60_000),)))
    outcomes = [table.begin_start(wish(0), NOW) for _ in range(10)]
    outcomes += [table.begin_start(wish(n), NOW) for n in (1, 2, 3)]
    assert let_in(outcomes[:10]) == 1
    assert [isinstance(outcome, Charged) for outcome in outcomes[10:]] == [True, True, False]


def test_what_is_taken_back_is_free_again() -> None:
    table = limits(
        replace(UNLIMITED, contact=((1, 60_000),), tenant=((1, 60_000),)),
        GuardRules(prefix=((1, 60_000),), enforce=True),
    )
    charged = table.begin_start(wish(phone="+491701234567"), NOW)
    assert isinstance(charged, Charged)
    table.take_back(charged)
    assert isinstance(table.begin_start(wish(phone="+491701234567"), NOW), Charged)
    refused = table.begin_start(wish(7, phone="+33612345678"), NOW)
    assert isinstance(refused, ProcessRefused)
    assert refused.violated == ("tenant-60",)


def test_a_handshake_foresees_everything_and_charges_nothing() -> None:
    table = limits(
        replace(UNLIMITED, contact=((1, 60_000),)),
        GuardRules(prefix=((1, 60_000),), enforce=True),
    )
    foreseen = [table.foresee(wish(phone="+491701234567"), NOW) for _ in range(2)]
    assert all(isinstance(outcome, Quotas) for outcome in foreseen)
    assert isinstance(table.begin_start(wish(phone="+491701234567"), NOW), Charged)
    refused = table.foresee(wish(phone="+491701234567"), NOW)
    assert isinstance(refused, ProcessRefused)
    assert set(refused.violated) == {"contact-60", "sms-prefix"}
    assert isinstance(table.foresee(wish(9), NOW), Quotas)


@pytest.mark.parametrize("full", ["contact", "tenant"])
def test_a_full_table_refuses_and_charges_nothing(full: str) -> None:
    """Strangers cannot fill the memory, and nobody's limit is lifted for it (requirement 40)."""
    table = limits(replace(UNLIMITED, keys_max=2))

    def the(n: int) -> Wish:
        caller = CALLER if full == "contact" else CALLER._replace(tenant=str(n))
        return wish(n if full == "contact" else 0, caller)

    def room(asked: Wish) -> ProcessRefused | Quotas:
        return table.foresee(asked, NOW)

    assert let_in([table.begin_start(the(n), NOW) for n in range(2)]) == 2
    before = [room(the(n)) for n in range(3)]
    refused = table.begin_start(the(2), NOW)
    assert isinstance(refused, ProcessRefused)
    assert refused.kind is ErrorKind.OVERLOADED
    assert [room(the(n)) for n in range(3)] == before
    assert isinstance(table.begin_start(the(0), NOW), Charged), "those held are served"
    later = NOW + 60_000
    assert isinstance(table.begin_start(the(2), later), Charged), "the expired are evicted"


def test_a_million_contacts_cost_no_more_than_the_table_holds() -> None:
    table = limits(replace(UNLIMITED, keys_max=1000))
    outcomes = [table.begin_start(wish(n), NOW) for n in range(20_000)]
    assert let_in(outcomes) == 1000


def test_an_address_is_counted_as_its_network() -> None:
    """One /64 of IPv6 is one address, and an IPv4-mapped one is IPv4 (requirement 43)."""
    table = limits(replace(UNLIMITED, wrong_address=((1, 60_000),)))
    addresses = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "::ffff:192.0.2.9", "192.0.2.9"]
    outcomes = [
        table.begin_attempt(Hitter("acme", "client:a", address), "a", NOW) for address in addresses
    ]
    assert [let_in([each]) for each in outcomes] == [1, 0, 1, 1, 0]


def test_a_contact_is_counted_by_tenant_and_type() -> None:
    table = limits(replace(UNLIMITED, contact=((1, 60_000),)))
    other = wish(0, CALLER._replace(tenant="other"))
    wishes = [wish(0), other, structs.replace(wish(0), type_id=2), wish(0), other]
    outcomes = [table.begin_start(each, NOW) for each in wishes]
    assert [isinstance(each, Charged) for each in outcomes] == [True, True, True, False, False]


def test_policies_name_no_contact() -> None:
    """A partition key that could be linked is not told at all (requirement 39)."""
    table = limits(UNLIMITED, GuardRules(prefix=PLENTY))
    told = table.foresee(wish(phone="+491701234567"), NOW)
    assert isinstance(told, Quotas)
    assert {quota.policy for quota in told} == {"contact-60", "tenant-60"}
    assert Quota.__match_args__ == ("policy", "limit", "window_ms", "remaining", "reset_ms")


def test_restoring_more_contacts_than_there_is_room_for_is_an_error() -> None:
    table = limits(replace(UNLIMITED, keys_max=2))
    starts = [StartRecord("acme", 1, index(n), NOW - 1) for n in range(3)]
    with pytest.raises(LimiterFull):
        table.restore(starts, NOW)


def test_restored_starts_count_for_the_tenant_and_everybody() -> None:
    windows = replace(UNLIMITED, tenant=((2, 60_000),), everybody=((3, 60_000),))
    table = limits(windows)
    starts = [StartRecord("acme", 1, index(n), NOW - 1) for n in range(2)]
    assert table.restore([*starts, StartRecord("other", 1, index(0), NOW - 1)], NOW) == 3
    refused = table.begin_start(wish(9), NOW)
    assert isinstance(refused, ProcessRefused)
    assert refused.violated == ("tenant-60", "everybody-60")
