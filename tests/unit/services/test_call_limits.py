"""Calls by client, failed logins by address (requirements 39, 40, 43, 44)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from otp_server.core import Quotas
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.errors import ErrorKind
from otp_server.services.call_limits import CallLimits, Login
from otp_server.services.limit_hits import LimitHits
from otp_server.telemetry import Metrics
from tests.support.process_world import UNLIMITED
from tests.support.world import START_MS


class SetClock:
    ms = START_MS

    def now_ms(self) -> int:
        return self.ms


class Stage:
    def __init__(self, **windows: object) -> None:
        self.clock = SetClock()
        self.hits = LimitHits(Metrics())
        self.limits = CallLimits(replace(UNLIMITED, **windows), hits=self.hits, clock=self.clock)

    def trail(self) -> list[tuple[str, str, str, str]]:
        taken = self.hits.take()
        return [(each.tenant, each.actor, each.subject, each.outcome) for each in taken]


def test_calls_are_told_and_then_refused() -> None:
    stage = Stage(calls=((2, 60_000), (3, 3_600_000)))
    left = []
    for _ in range(2):
        told = stage.limits.begin_call("acme", "a", "192.0.2.1")
        assert isinstance(told, Quotas)
        left.append([(quota.policy, quota.remaining) for quota in told])
    assert left == [
        [("calls-60", 1), ("calls-3600", 2)],
        [("calls-60", 0), ("calls-3600", 1)],
    ]
    refused = [stage.limits.begin_call("acme", "a", "192.0.2.1") for _ in range(5)]
    for each in refused:
        assert isinstance(each, ProcessRefused)
        assert (each.kind, each.violated) == (ErrorKind.RATE_LIMITED, ("calls-60",))
        assert each.retry_after_ms == 60_000
    assert isinstance(stage.limits.begin_call("acme", "b", "192.0.2.1"), Quotas)
    assert stage.trail() == [("acme", "client:a", "calls-60", "refused:5")]
    stage.clock.ms += 60_000
    again = stage.limits.begin_call("acme", "a", "192.0.2.1")
    assert isinstance(again, Quotas)  # refused ones are not calls


def test_failed_logins_are_counted_and_right_ones_given_back() -> None:
    stage = Stage(failed_logins=((2, 60_000),))
    for failed in (False, False, False, True, False, True):
        login = stage.limits.begin_login("192.0.2.1")
        assert isinstance(login, Login)
        stage.limits.end_login(login, failed=failed)
    refused = stage.limits.begin_login("::ffff:192.0.2.1")
    assert isinstance(refused, ProcessRefused)
    assert (refused.violated, refused.retry_after_ms) == (("failed-logins-60",), 60_000)
    assert isinstance(stage.limits.begin_login("192.0.2.2"), Login)
    assert stage.trail() == [("", "nobody", "failed-logins-60", "refused:1")]


@pytest.mark.parametrize("failed", [True, False])
def test_logins_at_once_cannot_pass_and_right_ones_come_again_soon(failed: bool) -> None:
    stage = Stage(failed_logins=((2, 60_000),))
    outcomes = [stage.limits.begin_login("2001:db8::1") for _ in range(5)]
    logins = [each for each in outcomes if isinstance(each, Login)]
    assert len(logins) == 2
    for refused in outcomes[2:]:
        assert isinstance(refused, ProcessRefused)
        assert refused.retry_after_ms == 1000
    for login in logins:
        stage.limits.end_login(login, failed=failed)
    again = stage.limits.begin_login("2001:db8::2")
    if failed:
        assert isinstance(again, ProcessRefused)
        assert again.retry_after_ms == 60_000
    else:
        assert isinstance(again, Login)


def test_a_full_table_refuses_who_is_not_in_it() -> None:
    stage = Stage(keys_max=2)
    outcomes = [stage.limits.begin_call("acme", name, "192.0.2.1") for name in "abca"]
    kinds = [each.kind if isinstance(each, ProcessRefused) else None for each in outcomes]
    assert kinds == [None, None, ErrorKind.OVERLOADED, None]
