"""Calls of an address: exactly so many, of any service, others unaffected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.domain.process_outcome import ProcessRefused
from otp_server.errors import ErrorKind
from otp_server.services.address_calls import AddressCalls
from otp_server.services.limit_hits import LimitHits
from otp_server.telemetry import Metrics
from tests.support.world import TrioClock

if TYPE_CHECKING:
    from trio.testing import MockClock


class World:
    """The limit, with virtual time."""

    def __init__(self, count: int, keys_max: int = 1000) -> None:
        self.hits = LimitHits(Metrics())
        self.calls = AddressCalls([(count, 60_000)], keys_max, hits=self.hits, clock=TrioClock())

    def let_in(self, address: str, times: int = 9) -> int:
        return [self.calls.begin(address) for _ in range(times)].count(None)


async def test_exactly_so_many_and_others_unaffected(mock_clock: MockClock) -> None:
    world = World(3)
    assert world.let_in("192.0.2.1") == 3
    assert world.let_in("192.0.2.2") == 3
    assert [world.let_in(host) for host in ("2001:db8::1", "2001:db8::2", "2001:db8:1::1")] == [
        3,
        0,
        3,
    ]
    refused = world.calls.begin("192.0.2.1")
    assert isinstance(refused, ProcessRefused)
    assert (refused.kind, refused.retry_after_ms) == (ErrorKind.RATE_LIMITED, 60_000)
    assert refused.violated == ("svc-address-60",)
    mock_clock.jump(60)
    assert world.let_in("192.0.2.1") == 3


async def test_a_full_table_says_when_to_come_again() -> None:
    world = World(3, keys_max=1)
    assert world.let_in("192.0.2.1", 1) == 1
    refused = world.calls.begin("192.0.2.2")
    assert isinstance(refused, ProcessRefused)
    assert (refused.kind, refused.retry_after_ms) == (ErrorKind.OVERLOADED, 1000)


async def test_refusals_are_in_the_trail() -> None:
    world = World(1)
    world.let_in("192.0.2.1", 3)
    [entry] = world.hits.take()
    assert (entry.tenant, entry.actor, entry.address) == ("", "nobody", "192.0.2.1")
    assert (entry.subject, entry.outcome) == ("svc-address-60", "refused:2")
