"""Reading the audit trail: walking its chain, and giving it away for keeping elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from otp_server.domain.audit import GENESIS, AuditEntry, chained

if TYPE_CHECKING:
    from otp_server.services.ports import AuditStore

_PAGE_MAX = 1000


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One entry as it stands in the trail. ``digest`` covers all entries up to it."""

    seq: int
    entry: AuditEntry
    digest: bytes


@dataclass(frozen=True, slots=True)
class Walk:
    """How far the chain holds. ``broken_seq`` is the first entry that does not fit; None: all do.

    ``last_seq`` and ``last_digest`` are of the last entry that fits. Entries cut off at the end
    leave a chain that holds: compare these two with ones noted earlier.
    """

    entries: int
    last_seq: int
    last_digest: bytes
    broken_seq: int | None = None


class AuditService:
    """Reads the trail in pages, oldest first, so that its length costs no memory."""

    def __init__(self, store: AuditStore) -> None:
        self._store = store

    async def verify(self) -> Walk:
        """Compute every hash anew, from the first entry on. Raises StoreUnavailable."""
        walk = Walk(entries=0, last_seq=0, last_digest=GENESIS)
        while page := await self.page_after(walk.last_seq):
            for line in page:
                if line.digest != chained(walk.last_digest, line.entry):
                    return replace(walk, broken_seq=line.seq)
                walk = Walk(walk.entries + 1, line.seq, line.digest)
        return walk

    async def page_after(self, seq: int) -> list[AuditLine]:
        """The next entries after ``seq``; none when there is none yet. Raises StoreUnavailable."""
        rows = await self._store.audit_after(seq, _PAGE_MAX)
        return [AuditLine(number, entry, digest) for number, entry, _, digest in rows]
