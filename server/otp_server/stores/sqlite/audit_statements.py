"""The audit trail in SQL: appended inside the transaction of what it tells of.

What a function promises is the sentence of its namesake in ``services/ports/audit.py``. The hash
before an entry is the one of the row before it, so it is stored once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otp_server.domain.audit import GENESIS, AuditEntry, chain

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

_COLUMNS = "at_ms, tenant, actor, address, action, subject, outcome"
_ROWS_AT_ONCE = (64, 16, 4, 1)
"""Entries of one statement: as large ones as there are entries for."""
_APPEND = {
    count: (
        f"INSERT INTO audit ({_COLUMNS}, hash)"  # noqa: S608 - our own words
        f" VALUES {', '.join(['(?, ?, ?, ?, ?, ?, ?, ?)'] * count)}"
    )
    for count in _ROWS_AT_ONCE
}
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
    digests = chain(GENESIS if last is None else last[0], entries)
    start = 0
    for count in _ROWS_AT_ONCE:
        while len(entries) - start >= count:
            values: list[object] = []
            part = slice(start, start + count)
            for entry, digest in zip(entries[part], digests[part], strict=True):
                values += (
                    entry.at_ms,
                    entry.tenant,
                    entry.actor,
                    entry.address,
                    entry.action,
                    entry.subject,
                    entry.outcome,
                    digest,
                )
            connection.execute(_APPEND[count], values)
            start += count


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
