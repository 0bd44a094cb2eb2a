"""Whose address counts: requirements 42 and 43."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_server.domain.address import address_key, client_address, parse_networks

PROXIES = parse_networks(["10.0.0.0/8", "::1/128"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),  # the peer is no proxy: not believed
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),  # right to left
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),  # header lines in order
        ("10.0.0.1", ["198.51.100.1, 10.0.0.2"], "198.51.100.1"),  # through a second proxy
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),  # proxies all the way
        ("10.0.0.1", ["198.51.100.1, nonsense"], "10.0.0.1"),  # a bad hop stops the walk
        ("10.0.0.1", ["198.51.100.1, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ['"[2001:db8::1]"'], "2001:db8::1"),
        ("::1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),  # a mapped proxy is the proxy
        ("", ["198.51.100.1"], ""),
    ],
)
def test_client_address(peer: str, forwarded: list[str], expected: str) -> None:
    assert client_address(peer, forwarded, PROXIES) == expected


def test_rotating_a_forged_header_changes_nothing() -> None:
    seen = {
        address_key(client_address("203.0.113.7", [f"198.51.{n // 250}.{n % 250}"], PROXIES))
        for n in range(1000)
    }
    assert seen == {"203.0.113.7"}


def test_an_endless_chain_is_not_walked_to_its_end() -> None:
    chain = ", ".join(["198.51.100.1"] + ["10.0.0.2"] * 100)
    assert client_address("10.0.0.1", [chain], PROXIES) == "10.0.0.2"


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no address", "other:no address"),
    ],
)
def test_address_key(address: str, key: str) -> None:
    assert address_key(address) == key


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_one_ipv6_prefix_is_one_key(host: int, other: int) -> None:
    prefix = 0x20010DB800010002 << 64

    def text(low: int) -> str:
        number = prefix | low
        return ":".join(f"{(number >> shift) & 0xFFFF:x}" for shift in range(112, -16, -16))

    assert address_key(text(host)) == address_key(text(other))


@given(st.text(max_size=200))
def test_no_header_can_break_it(header: str) -> None:
    assert client_address("10.0.0.1", [header], PROXIES)
