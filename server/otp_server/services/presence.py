"""Which devices are connected now, and since when; and the watch for revocations.

A device may hold a few connections while an old one is dying. Whoever keeps the connections
(``api.device``) tells this service; the watch tells it back which devices were revoked, by this
process or by another one on the same store, within half a second (requirement 63).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from otp_server.errors import StoreUnavailable
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from otp_server.clock import Clock
    from otp_server.services.ports import DeviceStore

WATCH_INTERVAL_S = 0.4

log = get_logger(__name__)


class PresenceService:
    """Connections by device, oldest first."""

    def __init__(self, store: DeviceStore, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._connections: dict[str, dict[int, int]] = {}
        self._revoked: set[str] = set()

    def arrived(self, device_id: str, connection: int) -> list[int]:
        """Note a connection; the device's connections now, oldest first."""
        held = self._connections.setdefault(device_id, {})
        held[connection] = self._clock.now_ms()
        return list(held)

    def left(self, device_id: str, connection: int) -> None:
        """Forget a connection. Idempotent."""
        held = self._connections.get(device_id)
        if held is not None:
            held.pop(connection, None)
            if not held:
                del self._connections[device_id]

    def connections_of(self, device_id: str) -> list[int]:
        """The device's connections, oldest first."""
        return list(self._connections.get(device_id, ()))

    def connected_since_ms(self, device_id: str) -> int | None:
        """When its oldest open connection came; None when it is not connected."""
        held = self._connections.get(device_id)
        return min(held.values()) if held else None

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
            await trio.sleep(WATCH_INTERVAL_S)
