"""What an ``Idempotency-Key`` stands for: the claim on one call and its answer (requirement 71).

The fingerprint of a call is stored, and what a call holds - a code, a contact - must not be found
out from it (requirements 6, 10). So it is no plain digest but HMAC-SHA-256 under a key of its own,
derived from an installation key that stays when keys rotate: the last of ``keys.contact``.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from otp_server.domain.outcome import Reason
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.errors import ErrorKind
from otp_server.services.ports.processes import ClaimRefusal, IdempotencyClaim

if TYPE_CHECKING:
    from collections.abc import Iterable

_LABEL = b"otp-server/idempotency/v1"


class Claims:
    """Makes claims that are kept for ``kept_ms``."""

    def __init__(self, key: bytes, *, kept_ms: int) -> None:
        self._key = hmac.digest(key, _LABEL, hashlib.sha256)
        self._kept_ms = kept_ms

    def claim(
        self, client_id: str, operation: str, key: str, now_ms: int, *, asked: Iterable[bytes]
    ) -> IdempotencyClaim:
        """The claim of a client's call; ``asked`` is the call in canonical form, field by field."""
        return IdempotencyClaim(
            client_id=client_id,
            operation=operation,
            key=key,
            fingerprint=self._fingerprint(operation, asked),
            expires_at_ms=now_ms + self._kept_ms,
        )

    def _fingerprint(self, operation: str, asked: Iterable[bytes]) -> bytes:
        digest = hmac.new(self._key, digestmod=hashlib.sha256)
        for value in (operation.encode(), *asked):
            digest.update(len(value).to_bytes(8) + value)
        return digest.digest()


def claim_refused(refusal: ClaimRefusal) -> ProcessRefused:
    """The refusal of a call whose key is taken."""
    if refusal is ClaimRefusal.MISMATCH:
        return ProcessRefused(ErrorKind.IDEMPOTENCY_MISMATCH, Reason.CLAIM_MISMATCH)
    return ProcessRefused(ErrorKind.IDEMPOTENCY_IN_FLIGHT, Reason.CLAIM_IN_FLIGHT)
