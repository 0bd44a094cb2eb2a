"""Devices and organisations in SQL: each function is one operation inside the caller's transaction.

What a function promises is the sentence of its namesake in ``services/ports/``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otp_server.domain.device import Device, Organisation
from otp_server.errors import AlreadyExists
from otp_server.stores.sqlite.code_statements import end_live_code

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

_DEVICE_COLUMNS = "device_id, name, device_key, token_digest, created_at_ms, org_id, revoked_at_ms"
_SELECT_DEVICE = f"SELECT {_DEVICE_COLUMNS} FROM devices WHERE device_id = ?"  # noqa: S608 - our own words
_LIST_DEVICES = f"SELECT {_DEVICE_COLUMNS} FROM devices ORDER BY created_at_ms, seq"  # noqa: S608 - our own words
_INSERT_DEVICE = (
    f"INSERT INTO devices ({_DEVICE_COLUMNS})"  # noqa: S608 - our own words
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)


def _device_of(row: tuple[Any, ...]) -> Device:
    """A row of ``_DEVICE_COLUMNS``."""
    return Device(*row)


def add_device(connection: apsw.Connection, device: Device) -> None:
    """Insert, or AlreadyExists."""
    for column, value in (("device_id", device.device_id), ("device_key", device.device_key)):
        query = f"SELECT 1 FROM devices WHERE {column} = ?"  # noqa: S608 - one of two words above
        if connection.execute(query, (value,)).fetchone() is not None:
            raise AlreadyExists(column, value)
    connection.execute(
        _INSERT_DEVICE,
        (
            device.device_id,
            device.name,
            device.device_key,
            device.token_digest,
            device.created_at_ms,
            device.org_id,
            device.revoked_at_ms,
        ),
    )


def get_devices(connection: apsw.Connection, device_ids: Sequence[str]) -> list[Device | None]:
    """One look-up each."""
    rows = (connection.execute(_SELECT_DEVICE, (key,)).fetchone() for key in device_ids)
    return [None if row is None else _device_of(row) for row in rows]


def list_devices(connection: apsw.Connection) -> list[Device]:
    """Oldest first; of one millisecond in order of arrival."""
    return [_device_of(row) for row in connection.execute(_LIST_DEVICES)]


def revoke_device(connection: apsw.Connection, device_id: str, at_ms: int) -> bool:
    """Revoke once; the feed gets it in the same transaction."""
    row = connection.execute(
        "SELECT revoked_at_ms FROM devices WHERE device_id = ?", (device_id,)
    ).fetchone()
    if row is None:
        return False
    if row[0] is None:
        connection.execute(
            "UPDATE devices SET revoked_at_ms = ? WHERE device_id = ?", (at_ms, device_id)
        )
        end_live_code(connection, device_id, "revoked", at_ms)
        connection.execute("INSERT INTO revocations (device_id) VALUES (?)", (device_id,))
    return True


def revocations_since(connection: apsw.Connection, cursor: int) -> tuple[int, list[str]]:
    """Writers are serial, so cursors appear in their order and none is skipped."""
    rows: list[tuple[Any, ...]] = connection.execute(
        "SELECT cursor, device_id FROM revocations WHERE cursor > ? ORDER BY cursor", (cursor,)
    ).fetchall()
    return (rows[-1][0] if rows else cursor), [device_id for _, device_id in rows]


def add_organisation(
    connection: apsw.Connection, name: str, key_digest: bytes, created_at_ms: int
) -> int:
    """Insert, or AlreadyExists."""
    taken = connection.execute("SELECT 1 FROM organisations WHERE name = ?", (name,)).fetchone()
    if taken is not None:
        raise AlreadyExists("organisation", name)
    connection.execute(
        "INSERT INTO organisations (name, key_digest, created_at_ms) VALUES (?, ?, ?)",
        (name, key_digest, created_at_ms),
    )
    return connection.last_insert_rowid()


def find_organisation(connection: apsw.Connection, key_digest: bytes) -> Organisation | None:
    """By its key."""
    row = connection.execute(
        "SELECT org_id, name, key_digest, created_at_ms FROM organisations WHERE key_digest = ?",
        (key_digest,),
    ).fetchone()
    return None if row is None else Organisation(*row)
