"""Which devices are connected now, and since when; and the watch for revocations.

A device may hold a few connections while an old one is dying. Whoever keeps the connections
(``api.device``) tells this service; the watch tells it back which devices were revoked, by this
process or by another one on the same store, within half a second (requirement 63).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from otp_server.core import PresenceTable
from otp_server.errors import StoreUnavailable
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from otp_server.clock import Clock
    from otp_server.services.ports import DeviceStore

WATCH_INTERVAL_S = 0.4

log = get_logger(__name__)


class PresenceService:
    """Connections by device, oldest first. A known, idle connection costs nothing beside it."""

    def __init__(self, store: DeviceStore, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._table = PresenceTable()
        self._revoked: set[str] = set()

    def hold(self, address: str) -> int:
        """Count one more connection of an address: how many there are now."""
        return self._table.hold(address)

    def release(self, address: str) -> None:
        """Count one less."""
        self._table.release(address)

    def arrived(self, device_id: str, connection: int, address: str | None = None) -> list[int]:
        """Note a connection; the device's connections now, oldest first.

        An ``address`` was held before, and is released when the connection has left.
        """
        self._table.arrive(connection, device_id, address, self._clock.now_ms())
        return self._table.connections_of(device_id)

    def left(self, connection: int) -> bool:
        """Forget a connection; whether its device was known. Idempotent."""
        return self._table.leave(connection)

    def device_of(self, connection: int) -> str | None:
        """The device of an open connection; None while it is not known."""
        return self._table.device_of(connection)

    def connections_of(self, device_id: str) -> list[int]:
        """The device's connections, oldest first."""
        return self._table.connections_of(device_id)

    def connected_since_ms(self, device_id: str) -> int | None:
        """When its oldest open connection came; None when it is not connected."""
        return self._table.since_ms(device_id)

    def is_revoked(self, device_id: str) -> bool:
        """Whether the watch has seen this device revoked since the start. Never blocks."""
        return device_id in self._revoked

    async def watch_revocations(
        self,
        revoked: Callable[[list[str]], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Call ``revoked`` with newly revoked devices, until cancelled.

        Started once the feed's place is known: a device let in later cannot be missed. The first
        read raises StoreUnavailable, later ones are tried again.
        """
        cursor, _ = await self._store.revocations_since(0)
        task_status.started()
        while True:
            try:
                cursor, devices = await self._store.revocations_since(cursor)
                if devices:
                    self._revoked.update(devices)
                    revoked(devices)
            except StoreUnavailable as error:
                log.warning("revocations not read", why=str(error))
            except Exception:
                log.exception("revocations not told")
            await trio.sleep(WATCH_INTERVAL_S)
