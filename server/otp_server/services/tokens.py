"""The JWTs that a confirmation hands out (contracts A6): HS256, key id in the header.

Claims: ``iss``, ``sub`` (device id), ``typ`` (``api`` without end, ``quick`` with ``exp``),
``device_key``, ``iat``, ``jti``. The first key signs; every key still checks, so keys rotate by
putting a new one first. A token of a revoked device is refused by the caller, who asks the store.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OctKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.clock import Clock
    from otp_server.domain.device import Device

ISSUER = "otp-server"
_ALGORITHM = "HS256"
_TOKEN_CHARACTERS_MAX = 2048
_MS = 1000


class TokenType(StrEnum):
    """What a token was made for."""

    API = "api"
    QUICK = "quick"


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a checked token says."""

    type: TokenType
    device_id: str
    device_key: str


class TokenService:
    """Signs and checks. ``keys`` are ``(id, bytes)``, the signing one first."""

    def __init__(
        self, keys: Sequence[tuple[str, bytes]], *, clock: Clock, quick_session_s: int
    ) -> None:
        self._keys = KeySet([OctKey.import_key(key, {"kid": kid}) for kid, key in keys])
        self._current = keys[0][0]
        self._clock = clock
        self.quick_session_s = quick_session_s

    def issue(self, device: Device, token_type: TokenType) -> str:
        """A signed token for this device."""
        now_s = self._clock.now_ms() // _MS
        claims: dict[str, str | int] = {
            "iss": ISSUER,
            "sub": device.device_id,
            "typ": token_type.value,
            "device_key": device.device_key,
            "iat": now_s,
            "jti": secrets.token_hex(16),
        }
        if token_type is TokenType.QUICK:
            claims["exp"] = now_s + self.quick_session_s
        header = {"alg": _ALGORITHM, "kid": self._current}
        return jwt.encode(header, claims, self._keys, algorithms=[_ALGORITHM])

    def check(self, token: str) -> TokenClaims | None:
        """The claims of a token of ours that has not ended; None for anything else."""
        if len(token) > _TOKEN_CHARACTERS_MAX:
            return None
        try:
            claims = jwt.decode(token, self._keys, algorithms=[_ALGORITHM]).claims
            kind = TokenType(claims["typ"])
            subject, key = claims["sub"], claims["device_key"]
        except (JoseError, ValueError, KeyError, TypeError):
            return None
        if claims.get("iss") != ISSUER or not isinstance(subject, str) or not isinstance(key, str):
            return None
        if kind is TokenType.QUICK:
            ends_s = claims.get("exp")
            if not isinstance(ends_s, int) or self._clock.now_ms() // _MS >= ends_s:
                return None
        return TokenClaims(kind, subject, key)
