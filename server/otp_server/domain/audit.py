"""The audit trail: who did what, chained by hashes so that no line can change unseen (87).

Each entry's hash covers the hash before it and its own fields, length-prefixed. Entries hold no
code, secret or contact: ``subject`` is an identifier such as a process's uuid.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

GENESIS = bytes(32)
"""The hash before the first entry."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asked, and from where; the server itself has no address."""

    name: str
    address: str | None = None


class AuditEntry(msgspec.Struct, frozen=True):
    """One line, such as ``client:abc`` ``attempt`` of ``<uuid>``: ``wrong``."""

    at_ms: int
    tenant: str
    actor: str
    address: str
    action: str
    subject: str
    outcome: str


def chained(previous: bytes, entry: AuditEntry) -> bytes:
    """The 32-byte hash of ``entry`` after the entry with the hash ``previous``."""
    [digest] = chain(previous, [entry])
    return digest


def chain(previous: bytes, entries: Iterable[AuditEntry]) -> list[bytes]:
    """The hashes of entries that follow each other; those of a batch mostly have the same words."""
    known: dict[str, bytes] = {}
    digests: list[bytes] = []
    for entry in entries:
        parts = [previous]
        for text in (
            str(entry.at_ms),
            entry.tenant,
            entry.actor,
            entry.address,
            entry.action,
            entry.subject,
            entry.outcome,
        ):  # dataclasses.astuple would copy each and cost more than all the rest
            prefixed = known.get(text)
            if prefixed is None:
                field = text.encode()
                prefixed = known[text] = len(field).to_bytes(4) + field
            parts.append(prefixed)
        previous = hashlib.sha256(b"".join(parts)).digest()
        digests.append(previous)
    return digests
