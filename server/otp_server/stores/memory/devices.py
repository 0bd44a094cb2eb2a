"""Devices, organisations, device codes and guesses of the memory store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from otp_server.domain.challenge import CodeState, DeviceCode
from otp_server.domain.device import Organisation
from otp_server.errors import AlreadyExists
from otp_server.services.ports import AcceptRefusal, IssueRefusal
from otp_server.stores.bounds import SWEEP_ROWS_MAX
from otp_server.stores.memory.lifetime import MemoryLifetime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otp_server.domain.device import Device
    from otp_server.services.ports import Acceptance, Guess, NewDeviceCode


class MemoryDevices(MemoryLifetime):
    """What :mod:`otp_server.services.ports.devices` asks, in dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self._devices: dict[str, Device] = {}  # by device_id, in order of insertion
        self._device_keys: set[str] = set()
        self._revocations: list[str] = []  # the cursor is how many of them were seen
        self._organisations: dict[bytes, Organisation] = {}  # by key_digest
        self._codes: dict[bytes, DeviceCode] = {}  # by challenge_id, in order of insertion
        self._places: dict[bytes, int] = {}  # when issued: of two codes the newer has the greater
        self._issued = 0
        self._ended_at: dict[bytes, int] = {}
        self._live_by_digest: dict[bytes, bytes] = {}  # challenge_id of the one issued
        self._live_by_device: dict[str, bytes] = {}
        self._ended_by_digest: dict[bytes, list[bytes]] = {}  # newest last
        self._guesses: dict[bytes, Guess] = {}

    # Devices and organisations.

    async def add_device(self, device: Device) -> None:
        """See :class:`otp_server.services.ports.DeviceStore`; so for all below."""
        await self._enter()
        if device.device_id in self._devices:
            raise AlreadyExists("device_id", device.device_id)
        if device.device_key in self._device_keys:
            raise AlreadyExists("device_key", device.device_key)
        self._devices[device.device_id] = device
        self._device_keys.add(device.device_key)

    async def get_devices(self, device_ids: Sequence[str]) -> list[Device | None]:
        """Each device in the order asked."""
        await self._enter()
        return [self._devices.get(device_id) for device_id in device_ids]

    async def list_devices(self) -> list[Device]:
        """All devices, oldest first."""
        await self._enter()
        return sorted(self._devices.values(), key=lambda device: device.created_at_ms)

    async def revoke_device(self, device_id: str, at_ms: int) -> bool:
        """Revoke a device, end its live code, feed the revocation."""
        await self._enter()
        device = self._devices.get(device_id)
        if device is None:
            return False
        if not device.revoked:
            self._devices[device_id] = replace(device, revoked_at_ms=at_ms)
            self._end_live_of(device_id, CodeState.REVOKED, at_ms)
            self._revocations.append(device_id)
        return True

    async def revocations_since(self, cursor: int) -> tuple[int, list[str]]:
        """The feed after ``cursor``."""
        await self._enter()
        return max(cursor, len(self._revocations)), self._revocations[max(cursor, 0) :]

    async def add_organisation(self, name: str, key_digest: bytes, created_at_ms: int) -> int:
        """A new organisation with its key."""
        await self._enter()
        if any(organisation.name == name for organisation in self._organisations.values()):
            raise AlreadyExists("organisation", name)
        org_id = len(self._organisations) + 1
        self._organisations[key_digest] = Organisation(org_id, name, key_digest, created_at_ms)
        return org_id

    async def find_organisation(self, key_digest: bytes) -> Organisation | None:
        """The organisation of a key."""
        await self._enter()
        return self._organisations.get(key_digest)

    # Codes and guesses.

    async def issue_device_codes(self, batch: Sequence[NewDeviceCode]) -> list[int | IssueRefusal]:
        """Supersede and issue, in order."""
        await self._enter()
        fresh: set[bytes] = set()
        for item in batch:
            if item.challenge_id in self._codes or item.challenge_id in fresh:
                raise AlreadyExists("challenge_id", item.challenge_id.hex())
            fresh.add(item.challenge_id)
        return [self._issue(item) for item in batch]

    def _issue(self, item: NewDeviceCode) -> int | IssueRefusal:
        device = self._devices.get(item.device_id)
        if device is None:
            return IssueRefusal.DEVICE_UNKNOWN
        if device.revoked:
            return IssueRefusal.DEVICE_REVOKED
        now_ms = item.issued_at_ms
        own = self._live_by_device.get(item.device_id)  # about to be superseded: in nobody's way
        for index, digests in enumerate(item.candidates):
            in_the_way = {
                self._live_by_digest[digest] for digest in digests if digest in self._live_by_digest
            } - {own}
            if any(now_ms < self._codes[other].expires_at_ms for other in in_the_way):
                continue
            for other in in_the_way:
                self._end(other, CodeState.EXPIRED, now_ms)
            self._end_live_of(item.device_id, CodeState.SUPERSEDED, now_ms)
            self._codes[item.challenge_id] = DeviceCode(
                challenge_id=item.challenge_id,
                device_id=item.device_id,
                digest=digests[0],
                length=item.length,
                state=CodeState.ISSUED,
                issued_at_ms=now_ms,
                expires_at_ms=item.expires_at_ms,
            )
            self._issued += 1
            self._places[item.challenge_id] = self._issued
            self._live_by_digest[digests[0]] = item.challenge_id
            self._live_by_device[item.device_id] = item.challenge_id
            return index
        return IssueRefusal.NO_FREE_CANDIDATE

    def _end_live_of(self, device_id: str, state: CodeState, at_ms: int) -> None:
        challenge_id = self._live_by_device.get(device_id)
        if challenge_id is not None:
            expired = self._codes[challenge_id].expires_at_ms <= at_ms
            self._end(challenge_id, CodeState.EXPIRED if expired else state, at_ms)

    def _end(self, challenge_id: bytes, state: CodeState, at_ms: int) -> None:
        code = self._codes[challenge_id]
        self._codes[challenge_id] = replace(code, state=state)
        self._ended_at[challenge_id] = at_ms
        del self._live_by_digest[code.digest]
        del self._live_by_device[code.device_id]
        self._ended_by_digest.setdefault(code.digest, []).append(challenge_id)

    async def void_device_codes(self, challenge_ids: Sequence[bytes], at_ms: int) -> int:
        """End the codes still issued as void."""
        await self._enter()
        still = [
            challenge_id
            for challenge_id in dict.fromkeys(challenge_ids)
            if challenge_id in self._codes and self._codes[challenge_id].state is CodeState.ISSUED
        ]
        for challenge_id in still:
            self._end(challenge_id, CodeState.VOID, at_ms)
        return len(still)

    async def live_device_codes(self, now_ms: int) -> Mapping[int, int]:
        """Live codes by length."""
        await self._enter()
        counts: dict[int, int] = {}
        for challenge_id in self._live_by_device.values():
            code = self._codes[challenge_id]
            if now_ms < code.expires_at_ms:
                counts[code.length] = counts.get(code.length, 0) + 1
        return counts

    async def count_guesses(
        self, batch: Sequence[tuple[Guess, Sequence[bytes]]]
    ) -> list[DeviceCode | None]:
        """Record, then look."""
        await self._enter()
        for guess, _ in batch:
            self._guesses.setdefault(guess.guess_id, guess)
        return [self._find(digests) for _, digests in batch]

    def _find(self, digests: Sequence[bytes]) -> DeviceCode | None:
        live = [self._live_by_digest[d] for d in digests if d in self._live_by_digest]
        ended = [old for d in digests for old in self._ended_by_digest.get(d, ())]
        found = max(live or ended, key=self._places.__getitem__, default=None)
        return None if found is None else self._codes[found]

    async def accept_device_codes(
        self, batch: Sequence[Acceptance]
    ) -> list[Device | AcceptRefusal]:
        """Confirm each code at most once."""
        await self._enter()
        return [self._accept(item) for item in batch]

    def _accept(self, item: Acceptance) -> Device | AcceptRefusal:
        code = self._codes.get(item.challenge_id)
        if code is None or code.state is not CodeState.ISSUED or item.at_ms >= code.expires_at_ms:
            return AcceptRefusal.NOT_LIVE
        device = self._devices[code.device_id]
        if item.org_id is not None and item.org_id != device.org_id:
            if device.org_id is not None:
                return AcceptRefusal.LINKED_ELSEWHERE
            device = self._devices[code.device_id] = replace(device, org_id=item.org_id)
        self._end(item.challenge_id, CodeState.CONFIRMED, item.at_ms)
        self._guesses.pop(item.guess_id, None)
        return device

    async def guesses_since(self, at_ms: int) -> list[Guess]:
        """The guesses after ``at_ms``."""
        await self._enter()
        later = [guess for guess in self._guesses.values() if guess.at_ms > at_ms]
        return sorted(later, key=lambda guess: guess.at_ms)

    async def sweep(self, now_ms: int, *, forget_before_ms: int, guesses_before_ms: int) -> int:
        """End and forget, bounded."""
        await self._enter()
        expired = [
            challenge_id
            for challenge_id in self._live_by_device.values()
            if self._codes[challenge_id].expires_at_ms <= now_ms
        ]
        expired.sort(key=lambda challenge_id: self._codes[challenge_id].expires_at_ms)
        old_codes = [code for code, at_ms in self._ended_at.items() if at_ms < forget_before_ms]
        old_guesses = [g.guess_id for g in self._guesses.values() if g.at_ms < guesses_before_ms]
        for challenge_id in expired[:SWEEP_ROWS_MAX]:
            self._end(challenge_id, CodeState.EXPIRED, now_ms)
        for challenge_id in old_codes[:SWEEP_ROWS_MAX]:
            self._forget(challenge_id)
        for guess_id in old_guesses[:SWEEP_ROWS_MAX]:
            del self._guesses[guess_id]
        return sum(len(rows[:SWEEP_ROWS_MAX]) for rows in (expired, old_codes, old_guesses))

    def _forget(self, challenge_id: bytes) -> None:
        code = self._codes.pop(challenge_id)
        del self._ended_at[challenge_id], self._places[challenge_id]
        remembered = self._ended_by_digest[code.digest]
        remembered.remove(challenge_id)
        if not remembered:
            del self._ended_by_digest[code.digest]
