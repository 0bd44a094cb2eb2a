"""API clients of the rest face: back ends that run OTP processes for one tenant."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from enum import StrEnum

TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
DEFAULT_TENANT = "default"


class Scope(StrEnum):
    """What a client may do; the words of tokens and of the command line."""

    RUN = "otp.run"
    """Handshake, init, attempt."""
    ADMIN = "otp.admin"
    """Search and configuration (requirement 65: search needs a permission of its own)."""


@dataclass(frozen=True, slots=True)
class ApiClient:
    """A registered client; ``secret_digest`` is the stored form of its secret."""

    client_id: str
    tenant: str
    name: str
    scopes: frozenset[Scope]
    secret_digest: bytes
    created_at_ms: int
    revoked_at_ms: int | None = None


def new_client_id() -> str:
    """128 random bits."""
    return secrets.token_hex(16)


def new_client_secret() -> str:
    """256 random bits; show it once, store ``domain.device.secret_digest`` of it."""
    return secrets.token_urlsafe(32)
