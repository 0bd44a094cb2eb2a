"""Connections that are not let in yet: bounded, and shared out by address."""

from __future__ import annotations

from functools import partial

import pytest

from otp_server.domain.address import parse_networks
from otp_server.transport.entrance import Entrance
from otp_server.transport.options import LinkOptions


class Door:
    """An entrance of 4 places, 2 of them for each address, and who had to go."""

    def __init__(self, *trusted: str) -> None:
        self.entrance = Entrance(4, 2, parse_networks(trusted))
        self.gone: list[int] = []

    def enter(self, number: int, peer: str) -> list[int]:
        self.gone.clear()
        self.entrance.enter(number, peer, partial(self.gone.append, number))
        assert len(self.entrance) <= 4
        return self.gone


def test_an_address_may_take_what_nobody_needs_and_goes_first() -> None:
    door = Door()
    assert door.enter(1, "10.0.0.1") == []
    for number in (2, 3, 4):
        assert door.enter(number, "10.0.0.2") == []
    assert door.enter(5, "::ffff:10.0.0.2") == [4]
    assert door.enter(6, "10.0.0.3") == [5]
    assert door.enter(7, "10.0.0.2") == [1]  # all have a claim
    door.entrance.leave(2)
    door.entrance.leave(2)
    assert door.enter(8, "10.0.0.2") == []  # the claim is free again
    assert door.enter(9, "10.0.0.4") == [7]


def test_the_oldest_of_all_makes_room() -> None:
    door = Door()
    for number in range(1, 5):
        assert door.enter(number, f"10.0.0.{number}") == []
    door.entrance.leave(1)
    assert door.enter(5, "10.0.0.5") == []
    assert door.enter(6, "10.0.0.6") == [2]


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        ("2001:db8::1", "2001:db8::ffff:0:0:2", "2001:db8:0:1::1"),
        ("", "", "10.0.0.1"),
    ],
)
def test_ipv6_counts_by_its_64_and_nobody_is_one_address(one: str, same: str, other: str) -> None:
    door = Door()
    for number, peer in enumerate([other, one, same, one]):
        assert door.enter(number, peer) == []
    assert door.enter(5, other) == [3]


def test_a_trusted_address_has_a_claim_to_all() -> None:
    door = Door("10.0.0.0/8", "fd00::/7")
    for number, peer in enumerate(["10.0.0.1", "10.0.0.1", "10.0.0.1", "fd00::1"]):
        assert door.enter(number, peer) == []
    assert door.enter(5, "1.2.3.4") == [0]


@pytest.mark.parametrize(("connections_max", "size"), [(1, 64), (1000, 100), (1_000_000, 16_384)])
def test_the_entrance_is_a_tenth_within_bounds(connections_max: int, size: int) -> None:
    options = LinkOptions("/", 1024, connections_max, ping_interval_s=20, ping_misses=2)
    assert options.entrance_max == size
    assert options.entrance_per_address == size // 4
