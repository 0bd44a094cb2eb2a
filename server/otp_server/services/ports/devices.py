"""What a store must do for devices: the registry, live codes, and the guesses made at them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otp_server.domain.challenge import DeviceCode, Route
    from otp_server.domain.device import Device, Organisation


class NewDeviceCode(NamedTuple):
    """One code to issue: whose, and the candidates to take the first free one of.

    ``candidates[i]`` holds the digests of candidate ``i`` under every key, the current one first:
    it is free when none of them is a live code's digest.
    """

    challenge_id: bytes
    device_id: str
    length: int
    candidates: Sequence[Sequence[bytes]]
    issued_at_ms: int
    expires_at_ms: int


class IssueRefusal(StrEnum):
    """Why a store did not issue a code."""

    DEVICE_UNKNOWN = "device_unknown"
    DEVICE_REVOKED = "device_revoked"
    NO_FREE_CANDIDATE = "no_free_candidate"


@dataclass(frozen=True, slots=True)
class Guess:
    """One confirm attempt, counted before it is compared."""

    guess_id: bytes
    at_ms: int
    address_key: str
    org_id: int | None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The wish to end one code as confirmed, and to give its guess back."""

    challenge_id: bytes
    guess_id: bytes
    route: Route
    org_id: int | None
    at_ms: int


class AcceptRefusal(StrEnum):
    """Why a store did not accept a code."""

    NOT_LIVE = "not_live"
    LINKED_ELSEWHERE = "linked_elsewhere"


class DeviceStore(Protocol):
    """Devices and organisations."""

    async def add_device(self, device: Device) -> None:
        """Store a new device; AlreadyExists names the taken ``device_id`` or ``device_key``."""

    async def get_devices(self, device_ids: Sequence[str]) -> list[Device | None]:
        """Each device in the order asked, None where there is none."""

    async def list_devices(self) -> list[Device]:
        """All devices, revoked ones too, oldest first."""

    async def revoke_device(self, device_id: str, at_ms: int) -> bool:
        """Revoke it, end its live code, and add it to the revocation feed.

        False when there is no such device; a second call changes nothing and answers True.
        """

    async def revocations_since(self, cursor: int) -> tuple[int, list[str]]:
        """The new cursor and the devices revoked after ``cursor``, by this or another process."""

    async def add_organisation(self, name: str, key_digest: bytes, created_at_ms: int) -> int:
        """Store a new organisation with its key's stored form and give its id.

        AlreadyExists for a taken name.
        """

    async def find_organisation(self, key_digest: bytes) -> Organisation | None:
        """The organisation whose key this is the stored form of; None when there is none."""


class CodeStore(Protocol):
    """Live device codes, and the guesses made at them."""

    async def issue_device_codes(self, batch: Sequence[NewDeviceCode]) -> list[int | IssueRefusal]:
        """In order: supersede the device's live code and store the first free candidate.

        Gives the index of the candidate taken, or why none was. A code counts as live until its
        ``expires_at_ms``; an expired one in the way is ended. Uniqueness holds among all live
        codes, also between items of the batch. When no candidate is free the device's live code
        stays. AlreadyExists, and nothing issued, for a ``challenge_id`` used before: try again
        with fresh ones.

        Cancellation: the batch was not applied, or its codes are ended as void before any later
        call can see them. So a batch that missed its deadline may be tried again, and a code
        whose device heard `timeout` cannot be confirmed. (The code it superseded stays ended.)
        """

    async def void_device_codes(self, challenge_ids: Sequence[bytes], at_ms: int) -> int:
        """End those of the codes that are still issued as void; how many were."""

    async def live_device_codes(self, now_ms: int) -> Mapping[int, int]:
        """How many codes are live, by length."""

    async def count_guesses(
        self, batch: Sequence[tuple[Guess, Sequence[bytes]]]
    ) -> list[DeviceCode | None]:
        """Record each guess durably and once, then look for a code with one of its digests.

        Prefers a live code; otherwise the newest ended one still remembered, so that the reason
        of a refusal can be logged. Decides nothing.
        """

    async def accept_device_codes(
        self, batch: Sequence[Acceptance]
    ) -> list[Device | AcceptRefusal]:
        """In order: end each code as confirmed if it is still issued, and forget its guess.

        Exactly one acceptance of a code can win. With an ``org_id`` the device is linked to that
        organisation in the same step, or refused when linked to another; then the code stays.
        A refused acceptance leaves its guess counted.
        """

    async def guesses_since(self, at_ms: int) -> list[Guess]:
        """The guesses still counted that were made after ``at_ms``, oldest first."""

    async def sweep(self, now_ms: int, *, forget_before_ms: int, guesses_before_ms: int) -> int:
        """End expired codes, forget codes ended and guesses made before those instants.

        Gives how many rows it touched. Bounded work a call: call again while it gives a number.
        """
