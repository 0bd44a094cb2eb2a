"""The installation's JWTs: HS256 under ``keys.token``, the key's id in the header.

The first key signs; every key still checks, so keys rotate by putting a new one first. Only this
algorithm is taken, whatever a header says. ``typ`` says what a token is good for; who reads a token
looks at it first, so that none is good for anything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OctKey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ISSUER = "otp-server"
TOKEN_CHARACTERS_MAX = 2048
_ALGORITHM = "HS256"


class TokenSigner:
    """Signs claims and reads them back. ``keys`` are ``(id, bytes)``, the signing one first."""

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        self._keys = KeySet([OctKey.import_key(key, {"kid": kid}) for kid, key in keys])
        self._current = keys[0][0]

    def sign(self, claims: Mapping[str, str | int]) -> str:
        """A token with these claims and ``iss``."""
        header = {"alg": _ALGORITHM, "kid": self._current}
        whole = {"iss": ISSUER, **claims}
        return jwt.encode(header, whole, self._keys, algorithms=[_ALGORITHM])

    def read(self, token: str) -> dict[str, Any] | None:
        """The claims of a token of ours; None for anything else. Its time is not looked at."""
        if len(token) > TOKEN_CHARACTERS_MAX:
            return None
        try:
            claims = jwt.decode(token, self._keys, algorithms=[_ALGORITHM]).claims
        except (JoseError, ValueError, KeyError, TypeError):
            return None
        return claims if claims.get("iss") == ISSUER else None
