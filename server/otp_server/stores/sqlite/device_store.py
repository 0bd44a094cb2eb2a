"""Devices, organisations, device codes and guesses of the SQLite store."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from otp_server.stores.sqlite import code_statements as codes
from otp_server.stores.sqlite import device_statements as devices
from otp_server.stores.sqlite import issue_statements as issuing
from otp_server.stores.sqlite.workers import SqliteWorkers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import apsw

    from otp_server.domain.challenge import DeviceCode
    from otp_server.domain.device import Device, Organisation
    from otp_server.services.ports import (
        Acceptance,
        AcceptRefusal,
        Guess,
        IssueRefusal,
        NewDeviceCode,
    )


class SqliteDevices(SqliteWorkers):
    """What :mod:`otp_server.services.ports.devices` asks, in SQL."""

    # Devices and organisations.

    async def add_device(self, device: Device) -> None:
        """See :class:`otp_server.services.ports.DeviceStore`; so for all below."""
        await self._writer.call(partial(devices.add_device, device=device))

    async def get_devices(self, device_ids: Sequence[str]) -> list[Device | None]:
        """Each device in the order asked."""
        return await self._reader.call(partial(devices.get_devices, device_ids=device_ids))

    async def list_devices(self) -> list[Device]:
        """All devices, oldest first."""
        return await self._reader.call(devices.list_devices)

    async def revoke_device(self, device_id: str, at_ms: int) -> bool:
        """Revoke a device, end its live code, feed the revocation."""
        return await self._writer.call(
            partial(devices.revoke_device, device_id=device_id, at_ms=at_ms)
        )

    async def revocations_since(self, cursor: int) -> tuple[int, list[str]]:
        """The feed after ``cursor``."""
        return await self._reader.call(partial(devices.revocations_since, cursor=cursor))

    async def add_organisation(self, name: str, key_digest: bytes, created_at_ms: int) -> int:
        """A new organisation with its key."""
        return await self._writer.call(
            partial(
                devices.add_organisation,
                name=name,
                key_digest=key_digest,
                created_at_ms=created_at_ms,
            )
        )

    async def find_organisation(self, key_digest: bytes) -> Organisation | None:
        """The organisation of a key."""
        return await self._reader.call(partial(devices.find_organisation, key_digest=key_digest))

    # Codes and guesses.

    async def issue_device_codes(self, batch: Sequence[NewDeviceCode]) -> list[int | IssueRefusal]:
        """Supersede and issue, in order; void if cancelled too late not to."""

        def undo(connection: apsw.Connection) -> None:
            for item in batch:
                codes.void_device_codes(connection, [item.challenge_id], item.issued_at_ms)

        return await self._writer.call(partial(issuing.issue_device_codes, batch=batch), undo)

    async def void_device_codes(self, challenge_ids: Sequence[bytes], at_ms: int) -> int:
        """End the codes still issued as void."""
        return await self._writer.call(
            partial(codes.void_device_codes, challenge_ids=challenge_ids, at_ms=at_ms)
        )

    async def live_device_codes(self, now_ms: int) -> Mapping[int, int]:
        """Live codes by length; a scan, on the reader."""
        if self._writer.owes_undo():
            await self._writer.call(_nothing)  # comes after the undo, and so does the scan
        return await self._reader.call(partial(codes.live_device_codes, now_ms=now_ms))

    async def count_guesses(
        self, batch: Sequence[tuple[Guess, Sequence[bytes]]]
    ) -> list[DeviceCode | None]:
        """Record, then look."""
        return await self._writer.call(partial(codes.count_guesses, batch=batch))

    async def accept_device_codes(
        self, batch: Sequence[Acceptance]
    ) -> list[Device | AcceptRefusal]:
        """Confirm each code at most once."""
        return await self._writer.call(partial(codes.accept_device_codes, batch=batch))

    async def guesses_since(self, at_ms: int) -> list[Guess]:
        """The guesses after ``at_ms``."""
        return await self._reader.call(partial(codes.guesses_since, at_ms=at_ms))

    async def sweep(self, now_ms: int, *, forget_before_ms: int, guesses_before_ms: int) -> int:
        """End and forget, bounded."""
        return await self._writer.call(
            partial(
                codes.sweep,
                now_ms=now_ms,
                forget_before_ms=forget_before_ms,
                guesses_before_ms=guesses_before_ms,
            )
        )


def _nothing(_: apsw.Connection) -> None:
    pass
