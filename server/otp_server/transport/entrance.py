"""Connections that are not let in, or not yet: bounded, and shared out by address.

An address has a claim to so many places. Beyond its claim it takes places that nobody else needs:
when the entrance is full, the oldest beyond a claim goes for a new one, and where there is none the
oldest of all. The oldest, because a device asks within a round trip: those that have waited longest
are the least likely to ask at all.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otp_server.domain.address import address_key, is_trusted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otp_server.domain.address import Network


@dataclass(frozen=True, slots=True)
class _Place:
    crowd: str
    go: Callable[[], object]


class Entrance:
    """Who is there, oldest first. An address in ``trusted`` is a proxy and has a claim to all."""

    def __init__(self, size: int, per_address: int, trusted: Sequence[Network]) -> None:
        self._size = size
        self._per_address = per_address
        self._trusted = trusted
        self._claimed: OrderedDict[int, _Place] = OrderedDict()
        self._beyond: OrderedDict[int, _Place] = OrderedDict()
        self._claims: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._claimed) + len(self._beyond)

    def enter(self, number: int, peer: str, go: Callable[[], object]) -> None:
        """Note a connection that has come; ``go`` is called when it has to go for another."""
        if len(self) >= self._size:
            oldest, place = next(iter((self._beyond or self._claimed).items()))
            self.leave(oldest)
            place.go()
        place = _Place(address_key(peer), go)
        if self._claims[place.crowd] < self._per_address or is_trusted(peer, self._trusted):
            self._claimed[number] = place
            self._claims[place.crowd] += 1
        else:
            self._beyond[number] = place

    def leave(self, number: int) -> None:
        """Forget a connection, if it is there."""
        self._beyond.pop(number, None)
        place = self._claimed.pop(number, None)
        if place is not None:
            self._claims[place.crowd] -= 1
            if not self._claims[place.crowd]:
                del self._claims[place.crowd]
