"""What a store must do for the audit trail. Other methods write their entries themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.audit import AuditEntry


class AuditStore(Protocol):
    """Append-only."""

    async def append_audit(self, entries: Sequence[AuditEntry]) -> None:
        """Chain the entries to the trail, in order."""

    async def audit_after(self, seq: int, limit: int) -> list[tuple[int, AuditEntry, bytes, bytes]]:
        """``(seq, entry, previous hash, hash)`` of the entries after ``seq``, oldest first."""
