"""Which addresses a provider's name stands for, and which of them may be connected to.

The caller connects to an address of the answer and resolves no second time: so a name that changes
between the check and the connection (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from otp_server.domain.address import Network

    Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
    """Host and port to addresses; OSError when there are none."""

_NAT64 = IPv6Network("64:ff9b::/96")
_ADDRESSES_MAX = 4
"""How many addresses of a name are tried."""
_LOOKUPS_MAX = 8

_lookups = trio.CapacityLimiter(_LOOKUPS_MAX)
"""A resolver that does not answer keeps its threads: these, and not those of others."""


class AddressRefused(OSError):
    """The name stands only for addresses that may not be connected to."""


def _real(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address inside an IPv6 one, where packets end up there."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour or address


def is_allowed(text: str, allowed: Sequence[Network]) -> bool:
    """Whether it is a public unicast address, or in one of the networks that are allowed too."""
    try:
        address = _real(ip_address(text))
    except ValueError:  # such as one with a zone: link-local
        return False
    if any(address.version == network.version and address in network for network in allowed):
        return True
    return address.is_global and not address.is_multicast and not address.is_reserved


async def system_lookup(host: str, port: int) -> list[str]:
    """Ask the operating system. OSError (``socket.gaierror``) when it knows none.

    Cancellation: at once; the thread is left behind until the resolver answers.
    """

    def ask() -> list[str]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(place[0]) for *_, place in found))

    return await trio.to_thread.run_sync(ask, limiter=_lookups, abandon_on_cancel=True)


async def checked_addresses(
    host: str, port: int, *, allowed: Sequence[Network] | None, lookup: Lookup = system_lookup
) -> list[str]:
    """The first few addresses of ``host`` that may be connected to; never empty.

    ``allowed`` None: all may. AddressRefused when none may, another OSError when there are none.
    """
    found = await lookup(host, port)
    fine = [text for text in found if allowed is None or is_allowed(text, allowed)]
    if not found:
        raise OSError("no address")
    if not fine:
        raise AddressRefused(f"{len(found)} addresses, none of them allowed")
    return fine[:_ADDRESSES_MAX]
