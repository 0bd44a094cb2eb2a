"""One signer for all tokens: what was not signed here is not read."""

from __future__ import annotations

import base64
import json

import pytest
from joserfc import jws, jwt
from joserfc.jwk import OctKey

from otp_server.services.signing import ISSUER, TOKEN_CHARACTERS_MAX, TokenSigner

KEY = bytes(range(32))


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_what_was_signed_is_read() -> None:
    signer = TokenSigner([("k1", KEY)])
    assert signer.read(signer.sign({"sub": "a", "exp": 1})) == {
        "iss": ISSUER,
        "sub": "a",
        "exp": 1,
    }


def test_a_rotation_still_reads_the_old() -> None:
    old = TokenSigner([("k1", KEY)])
    new = TokenSigner([("k2", KEY[::-1]), ("k1", KEY)])
    assert new.read(old.sign({"sub": "a"})) is not None
    assert old.read(new.sign({"sub": "a"})) is None


def test_what_we_did_not_sign_is_not_read() -> None:
    signer = TokenSigner([("k1", KEY)])
    token = signer.sign({"sub": "a"})
    head, body, signature = token.split(".")
    key = OctKey.import_key(KEY, {"kid": "k1"})
    foreign_issuer = jwt.encode({"alg": "HS256", "kid": "k1"}, {"iss": "x"}, key)
    hs512 = jwt.encode({"alg": "HS512", "kid": "k1"}, {"iss": ISSUER}, key, algorithms=["HS512"])
    for bad in (
        "",
        "a.b.c",
        f"{head}.{body}.",
        f"{head}.{part({'iss': ISSUER, 'sub': 'b'})}.{signature}",
        f"{part({'alg': 'none'})}.{body}.",
        f"{part({'alg': 'HS256', 'kid': 'k9'})}.{body}.{signature}",
        signer.sign({"sub": "x" * TOKEN_CHARACTERS_MAX}),
        "\ud800.\ud800.\ud800",
        foreign_issuer,
        hs512,
        TokenSigner([("k1", KEY[::-1])]).sign({"sub": "a"}),
    ):
        assert signer.read(bad) is None, bad


@pytest.mark.parametrize("payload", ["null", "[]", "3", '"x"'])
def test_a_payload_that_is_no_object_is_not_read(payload: str) -> None:
    key = OctKey.import_key(KEY, {"kid": "k1"})
    token = jws.serialize_compact({"alg": "HS256", "kid": "k1"}, payload, key)
    assert TokenSigner([("k1", KEY)]).read(token) is None
