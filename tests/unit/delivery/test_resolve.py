"""Which addresses of a provider are connected to (SSRF and DNS rebinding)."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from otp_server.delivery.resolve import AddressRefused, checked_addresses, is_allowed


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "0.0.0.0",  # noqa: S104 - nothing is bound to it
        "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
        "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "64:ff9b::7f00:1",
        "2002:7f00:1::", "2002:a00:1::1", "not an address",
    ],
)  # fmt: skip
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not is_allowed(address, ())


@pytest.mark.parametrize("address", ["8.8.8.8", "2600::1", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_ones_are_allowed(address: str) -> None:
    assert is_allowed(address, ())


def test_networks_that_are_allowed_too() -> None:
    allowed = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
    assert is_allowed("10.9.8.7", allowed)
    assert is_allowed("::ffff:10.9.8.7", allowed)
    assert is_allowed("fd00::7", allowed)
    assert not is_allowed("192.168.0.1", allowed)


def answering(*addresses: str) -> object:
    async def lookup(host: str, port: int) -> list[str]:
        assert (host, port) == ("sms.example", 443)
        return list(addresses)

    return lookup


async def addresses(*found: str) -> list[str]:
    return await checked_addresses("sms.example", 443, allowed=(), lookup=answering(*found))


async def test_only_the_allowed_of_a_mixed_answer_are_used() -> None:
    assert await addresses("127.0.0.1", "8.8.8.8", "10.0.0.1") == ["8.8.8.8"]


async def test_a_name_of_private_addresses_alone_is_refused_without_naming_them() -> None:
    with pytest.raises(AddressRefused) as caught:
        await addresses("127.0.0.1", "::1")
    assert "127" not in str(caught.value)


async def test_a_name_without_addresses() -> None:
    with pytest.raises(OSError, match="no address"):
        await addresses()


async def test_no_more_than_four_are_tried() -> None:
    assert len(await addresses(*(f"8.8.8.{n}" for n in range(9)))) == 4
