"""Devices and organisations: who holds a token, and how a token is written and stored.

A device token reads ``{device_id}-{1|2}-{random}`` (contracts A4). The random part is 256 bits in
hexadecimal, so it holds no dash and the token is cut from the right. Tokens and organisation keys
carry enough entropy that one SHA-256 is a sufficient stored form; they are shown once.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import uuid
from dataclasses import dataclass

DEVICE_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_TOKEN_KINDS = ("1", "2")
_TOKEN_CHARACTERS_MAX = 256  # before anything is hashed; ours are at most 131
ORG_KEY_CHARACTERS_MAX = 128  # before anything is hashed; ours have 51


@dataclass(frozen=True, slots=True)
class Device:
    """A registered device.

    ``device_key`` is four words, public, the same for ever; ``token_digest`` the stored form of
    its token; ``org_id`` the organisation it is linked to by confirm v2; ``revoked_at_ms`` set
    once and never taken back.
    """

    device_id: str
    name: str
    device_key: str
    token_digest: bytes
    created_at_ms: int
    org_id: int | None = None
    revoked_at_ms: int | None = None

    @property
    def revoked(self) -> bool:
        """Whether the device may do nothing any more."""
        return self.revoked_at_ms is not None


@dataclass(frozen=True, slots=True)
class Organisation:
    """An organisation that confirms codes with its key (confirm v2)."""

    org_id: int
    name: str
    key_digest: bytes
    created_at_ms: int


def new_device_id() -> str:
    """A random device id of 128 bits."""
    return secrets.token_hex(16)


def new_device_token(device_id: str, kind: str = "1") -> str:
    """A fresh token; show it once, store :func:`secret_digest` of it."""
    return f"{device_id}-{kind}-{secrets.token_hex(32)}"


def device_id_of_token(token: str) -> str | None:
    """The device a token claims to be of; None when it is no device token at all."""
    if len(token) > _TOKEN_CHARACTERS_MAX or not token.isascii():
        return None
    device_id, _, rest = token.rpartition("-")
    device_id, _, kind = device_id.rpartition("-")
    if kind not in _TOKEN_KINDS or not rest or DEVICE_ID.fullmatch(device_id) is None:
        return None
    return device_id


def new_org_key() -> str:
    """A fresh organisation key: unpadded base64 of ``1:{uuid4}``, as published ones (A6)."""
    return base64.b64encode(f"1:{uuid.uuid4()}".encode()).rstrip(b"=").decode()


def secret_digest(secret: str) -> bytes:
    """The stored form of a token or organisation key: SHA-256, 32 bytes."""
    return hashlib.sha256(secret.encode()).digest()
