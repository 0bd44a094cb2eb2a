"""Small values for the tests of stores. Numbers stand for themselves, times are milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from otp_server.domain.challenge import Route
from otp_server.domain.device import Device
from otp_server.services.ports import Acceptance, Guess, NewDeviceCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.challenge import DeviceCode
    from otp_server.services.ports import Store

TTL = 1000
DEADLINE_S = 60


async def deadline() -> None:
    """Beside a test, in its nursery: the test fails when this ends."""
    with trio.fail_after(DEADLINE_S):
        await trio.sleep_forever()


def device(n: int, *, at: int = 0, org_id: int | None = None) -> Device:
    return Device(
        device_id=f"device-{n}",
        name=f"Gerät {n}",
        device_key=f"four-words-number-{n}",
        token_digest=bytes([n % 256]) * 32,
        created_at_ms=at,
        org_id=org_id,
    )


def key_of(organisation: str) -> bytes:
    """The stored form of an organisation's key."""
    return organisation.encode().ljust(32, b".")


def digest(n: int) -> bytes:
    return n.to_bytes(32, "big")


def challenge(n: int) -> bytes:
    return n.to_bytes(16, "big")


def new_code(
    n: int, device_n: int, candidates: Sequence[Sequence[int]], *, at: int = 0, length: int = 6
) -> NewDeviceCode:
    """Code ``n`` for a device; each candidate is its digests' numbers, the current key's first."""
    return NewDeviceCode(
        challenge_id=challenge(n),
        device_id=f"device-{device_n}",
        length=length,
        candidates=[[digest(d) for d in digests] for digests in candidates],
        issued_at_ms=at,
        expires_at_ms=at + TTL,
    )


def guess(n: int, *, at: int = 0, org_id: int | None = None) -> Guess:
    return Guess(guess_id=challenge(n), at_ms=at, address_key=f"192.0.2.{n % 256}", org_id=org_id)


def accept(n: int, *, guess_n: int = 0, at: int = 0, org_id: int | None = None) -> Acceptance:
    route = Route.V1 if org_id is None else Route.V2
    return Acceptance(challenge(n), challenge(guess_n), route, org_id, at)


async def add_devices(store: Store, count: int) -> None:
    for n in range(count):
        await store.add_device(device(n))


async def find(store: Store, *digests: int) -> DeviceCode | None:
    """What a guess of a code with these digests sees. The guess is one of long ago."""
    [found] = await store.count_guesses([(guess(10**6, at=-(10**6)), [digest(d) for d in digests])])
    return found


async def state_of(store: Store, digest_n: int) -> str | None:
    found = await find(store, digest_n)
    return None if found is None else found.state.value
