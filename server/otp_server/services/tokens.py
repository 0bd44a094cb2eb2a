"""The JWTs that a confirmation hands out (contracts A6), signed by :mod:`.signing`.

Claims: ``iss``, ``sub`` (device id), ``typ`` (``api`` without end, ``quick`` with ``exp``),
``device_key``, ``iat``, ``jti``. A token of a revoked device is refused by the caller, who asks the
store.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from otp_server.services.signing import TokenSigner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.clock import Clock
    from otp_server.domain.device import Device

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
        self._signer = TokenSigner(keys)
        self._clock = clock
        self.quick_session_s = quick_session_s

    def issue(self, device: Device, token_type: TokenType) -> str:
        """A signed token for this device."""
        now_s = self._clock.now_ms() // _MS
        claims: dict[str, str | int] = {
            "sub": device.device_id,
            "typ": token_type.value,
            "device_key": device.device_key,
            "iat": now_s,
            "jti": secrets.token_hex(16),
        }
        if token_type is TokenType.QUICK:
            claims["exp"] = now_s + self.quick_session_s
        return self._signer.sign(claims)

    def check(self, token: str) -> TokenClaims | None:
        """The claims of a token of ours that has not ended; None for anything else."""
        claims = self._signer.read(token)
        if claims is None:
            return None
        try:
            kind = TokenType(claims["typ"])
            subject, key = claims["sub"], claims["device_key"]
        except (ValueError, KeyError):
            return None
        if not isinstance(subject, str) or not isinstance(key, str):
            return None
        if kind is TokenType.QUICK:
            ends_s = claims.get("exp")
            if not isinstance(ends_s, int) or self._clock.now_ms() // _MS >= ends_s:
                return None
        return TokenClaims(kind, subject, key)
