"""SqliteStore: each method of the port is one operation of the writer or of the reader."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from otp_server.stores.sqlite import code_statements as codes
from otp_server.stores.sqlite import device_statements as devices
from otp_server.stores.sqlite import issue_statements as issuing
from otp_server.stores.sqlite.connection import Database, SqliteOptions, prepare_file
from otp_server.stores.sqlite.group_commit import GroupWorker, WorkerStatistics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class SqliteStatistics:
    """What both threads have done."""

    writer: WorkerStatistics
    reader: WorkerStatistics


async def open_sqlite_store(path: Path, options: SqliteOptions | None = None) -> SqliteStore:
    """Open the database file, created and migrated if need be, and check that it can be written.

    Raises:
        ConfigError: this file can never be used; the message says why and what to do.
        StoreTooNew: it was written by a newer otp-server.
        StoreUnavailable: not now.
    """
    options = SqliteOptions() if options is None else options
    await trio.to_thread.run_sync(prepare_file, path, options)
    store = SqliteStore(Database(path, options))
    try:
        await store.probe()
    except BaseException:
        await store.aclose()
        raise
    return store


class SqliteStore:
    """The embedded store, of the Trio run that made it. Use :func:`open_sqlite_store`."""

    def __init__(self, database: Database) -> None:
        self._writer = GroupWorker(database, read_only=False)
        self._reader = GroupWorker(database, read_only=True)

    def statistics(self) -> SqliteStatistics:
        """A snapshot."""
        return SqliteStatistics(self._writer.statistics(), self._reader.statistics())

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

    # Health.

    async def probe(self) -> None:
        """A real write, to the disk and back."""
        await self._writer.call(_count_probe)

    async def aclose(self) -> None:
        """Finish what is queued, close both connections, end both threads."""
        await self._reader.aclose()
        await self._writer.aclose()


def _nothing(_: apsw.Connection) -> None:
    pass


def _count_probe(connection: apsw.Connection) -> None:
    connection.execute("UPDATE probes SET writes = writes + 1")
