"""The audit trail: who did what, chained by hashes so that no line can change unseen (87).

Each entry's hash covers the hash before it and its own fields, length-prefixed. Entries hold no
code, secret or contact: ``subject`` is an identifier such as a process's uuid.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import astuple

from otp_server.core import hash_chain

GENESIS = bytes(32)
"""The hash before the first entry."""


class Actor(msgspec.Struct, frozen=True, gc=False):
    """Who asked, and from where; the server itself has no address."""

    name: str
    address: str | None = None


class AuditEntry(msgspec.Struct, frozen=True, gc=False):
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
    [digest] = hash_chain(previous, [astuple(entry)])
    return digest
