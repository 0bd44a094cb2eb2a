"""The audit trail of the fake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.domain.audit import GENESIS, chained
from otp_server.stores.memory.lifetime import MemoryLifetime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.audit import AuditEntry


class MemoryAudit(MemoryLifetime):
    """A list; an entry's number is its place from 1."""

    def __init__(self) -> None:
        super().__init__()
        self._trail: list[tuple[AuditEntry, bytes]] = []  # with the hash of each

    def _append_audit(self, entries: Sequence[AuditEntry]) -> None:
        """Chain them, as a part of a method that has entered."""
        for entry in entries:
            previous = self._trail[-1][1] if self._trail else GENESIS
            self._trail.append((entry, chained(previous, entry)))

    async def append_audit(self, entries: Sequence[AuditEntry]) -> None:
        """See :class:`otp_server.services.ports.AuditStore`; so for all below."""
        await self._enter()
        self._append_audit(entries)

    async def audit_after(self, seq: int, limit: int) -> list[tuple[int, AuditEntry, bytes, bytes]]:
        """A page of the trail."""
        await self._enter()
        start = max(seq, 0)
        hashes = [GENESIS, *(digest for _, digest in self._trail)]
        return [
            (number, entry, hashes[number - 1], digest)
            for number, (entry, digest) in enumerate(
                self._trail[start : start + limit], start=start + 1
            )
        ]
