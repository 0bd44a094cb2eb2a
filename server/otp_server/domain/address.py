"""A client's address as a limiter key, and which address of a proxied request to believe.

IPv6 hosts own a /64, so a full address is no key (requirement 43); an IPv4-mapped address is the
IPv4 address. Forwarded headers count only when the connection came from a trusted proxy, and are
read right to left until the first hop that is not trusted; a hop that is no address stops the
walk (requirement 42).
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network

    Network = IPv4Network | IPv6Network

_HOPS_MAX = 32  # a longer chain is not believed past its end
_IPV6_PREFIX = 64
_PEERS_MAX = 1024


def parse_networks(texts: Sequence[str]) -> list[Network]:
    """Addresses and networks in CIDR form; ValueError names the bad one."""
    return [ip_network(text.strip(), strict=False) for text in texts]


def _parse_host(text: str) -> IPv4Address | IPv6Address | None:
    """An address out of a header hop: bare, ``1.2.3.4:5``, ``[::1]:5`` or ``[::1]``."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(maxsize=_PEERS_MAX)
def _parse_peer(text: str) -> IPv4Address | IPv6Address | None:
    """The same of an address that a socket tells: bounded, and often the one before."""
    return _parse_host(text)


@lru_cache(maxsize=_PEERS_MAX)
def shown_peer(text: str) -> str:
    """A socket's address in its normal form; what is no address as it is."""
    parsed = _parse_peer(text)
    return text if parsed is None else str(parsed)


def _trusted(address: IPv4Address | IPv6Address, trusted: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in trusted)


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether an address is in one of the networks; what is no address is not."""
    parsed = _parse_host(address)
    return parsed is not None and _trusted(parsed, trusted)


def client_address(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """The client's address: the peer, or what trusted proxies say of it.

    Args:
        peer: the address the connection came from.
        forwarded_for: the ``X-Forwarded-For`` header lines, in order.
        trusted: networks whose word counts.

    Returns:
        The normalised address; ``peer`` itself when it is no IP address.
    """
    if not forwarded_for:
        return shown_peer(peer)
    here = _parse_peer(peer)
    if here is None:
        return peer
    hops = [hop for line in forwarded_for for hop in line.split(",")]
    for hop in reversed(hops[-_HOPS_MAX:]):
        if not _trusted(here, trusted):
            break
        before = _parse_host(hop)
        if before is None:
            break
        here = before
    return str(here)


@lru_cache(maxsize=_PEERS_MAX)
def address_key(address: str) -> str:
    """The limiter key of an address: IPv4 whole, IPv6 by its /64."""
    parsed = _parse_host(address)
    if parsed is None:
        return f"other:{address[:64]}"
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, _IPV6_PREFIX), strict=False))
    return str(parsed)
