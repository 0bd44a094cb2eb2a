"""Fingerprints of calls tell nothing of what they are of (requirements 6, 10, 71)."""

from __future__ import annotations

import hashlib

from otp_server.services.idempotency import Claims
from tests.support.world import KEY


def fingerprint(*asked: bytes, operation: str = "attempt", key: bytes = KEY) -> bytes:
    claims = Claims(key, kept_ms=1000)
    return claims.claim("client", operation, "key", 5, asked=asked).fingerprint


def test_it_is_keyed_and_of_every_field() -> None:
    prints = {
        fingerprint(b"uuid", b"123456"),
        fingerprint(b"uuid", b"123457"),
        fingerprint(b"uuid1", b"23456"),
        fingerprint(b"uuid123456"),
        fingerprint(b"uuid", b"123456", b""),
        fingerprint(b"uuid", b"123456", operation="init"),
        fingerprint(b"uuid", b"123456", key=KEY[::-1]),
    }
    assert len(prints) == 7
    assert {len(each) for each in prints} == {32}
    assert fingerprint(b"uuid", b"123456") in prints
    plain = [hashlib.sha256(text).digest() for text in (b"123456", b"uuid123456")]
    assert prints.isdisjoint(plain)


def test_a_claim_lives_as_long_as_configured() -> None:
    claim = Claims(KEY, kept_ms=1000).claim("client", "init", "key", 5, asked=[])
    assert (claim.client_id, claim.operation, claim.key) == ("client", "init", "key")
    assert claim.expires_at_ms == 1005
