"""The audit trail in SQL: appended inside the transaction of what it tells of.

What a function promises is the sentence of its namesake in ``services/ports/audit.py``. The hash
before an entry is the one of the row before it, so it is stored once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import astuple

from otp_server.core import hash_chain
from otp_server.domain.audit import GENESIS, AuditEntry
from otp_server.stores.sqlite.bulk_insert import BulkInsert

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

_COLUMNS = "at_ms, tenant, actor, address, action, subject, outcome"
_APPEND = BulkInsert("audit", f"{_COLUMNS}, hash")
_LAST_HASH = "SELECT hash FROM audit WHERE seq = (SELECT max(seq) FROM audit)"
_HASH_BEFORE = "SELECT hash FROM audit WHERE seq <= ? ORDER BY seq DESC LIMIT 1"
_AFTER = (
    f"SELECT seq, hash, {_COLUMNS} FROM audit"  # noqa: S608 - our own words
    " WHERE seq > ? ORDER BY seq LIMIT ?"
)


def append(connection: apsw.Connection, entries: Sequence[AuditEntry]) -> None:
    """Chain the entries to the trail, in order; one look at its end whatever their number."""
    if not entries:
        return
    last = connection.execute(_LAST_HASH).fetchone()
    rows = [astuple(entry) for entry in entries]
    hashes = hash_chain(GENESIS if last is None else last[0], rows)
    values: list[object] = []
    for row, digest in zip(rows, hashes, strict=True):
        values += row
        values.append(digest)
    _APPEND.insert(connection, values)


def audit_after(
    connection: apsw.Connection, seq: int, limit: int
) -> list[tuple[int, AuditEntry, bytes, bytes]]:
    """A page of the trail."""
    before = connection.execute(_HASH_BEFORE, (seq,)).fetchone()
    previous = GENESIS if before is None else before[0]
    found: list[tuple[int, AuditEntry, bytes, bytes]] = []
    rows: list[tuple[Any, ...]] = connection.execute(_AFTER, (seq, limit)).fetchall()
    for number, digest, *fields in rows:
        found.append((number, AuditEntry(*fields), previous, digest))
        previous = digest
    return found
