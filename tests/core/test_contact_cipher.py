"""The sealing of contacts, as stores keep it: known answers, and OpenSSL's cipher beside it."""

from __future__ import annotations

import copy
import pickle

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from otp_server.core import ContactCipher

KEY = bytes(range(32))
NONCE = bytes(range(100, 112))
KEYS = st.binary(min_size=32, max_size=32)
NONCES = st.binary(min_size=12, max_size=12)
IDS = st.text(max_size=60)
CHANNELS = st.sampled_from(["sms", "email"])


def field(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(8) + data


def sealed_by_openssl(
    key: bytes, key_id: str, nonce: bytes, tenant: str, channel: str, contact: str
) -> bytes:
    """As the server sealed contacts before its core did."""
    cipher = ChaCha20Poly1305(key).encrypt(nonce, contact.encode(), field(tenant) + field(channel))
    return bytes([len(key_id.encode())]) + key_id.encode() + nonce + cipher


@given(KEYS, IDS, NONCES, st.text(), CHANNELS, st.text(max_size=300))
def test_both_seal_alike_and_each_opens_the_other(
    key: bytes, key_id: str, nonce: bytes, tenant: str, channel: str, contact: str
) -> None:
    stored = sealed_by_openssl(key, key_id, nonce, tenant, channel, contact)
    cipher = ContactCipher(key, key_id)
    assert cipher.seal(nonce, tenant, channel, contact) == stored
    assert cipher.open(tenant, channel, stored) == contact


@pytest.mark.parametrize(
    ("key_id", "tenant", "channel", "contact", "stored"),
    [
        (
            "k1",
            "acme",
            "sms",
            "+12025550123",
            "026b316465666768696a6b6c6d6e6f1f2089faaa904367cbef274c47e58307b0698d027bdd1b8fd57b0307",
        ),
        (
            "schlüssel",
            "",
            "email",
            "jürgen@exämple.org",
            (
                "0a7363686cc3bc7373656c6465666768696a6b6c6d6e6f5ed207b8ffc018129ea6d6db9ff9b4f65e"
                "a9e053607fc022d1a71efc36055019d169fe06"
            ),
        ),
    ],
)
def test_known_answers(key_id: str, tenant: str, channel: str, contact: str, stored: str) -> None:
    """What stores hold already must open for ever."""
    cipher = ContactCipher(KEY, key_id)
    assert cipher.open(tenant, channel, bytes.fromhex(stored)) == contact
    assert cipher.seal(NONCE, tenant, channel, contact).hex() == stored


@given(st.text(max_size=20), st.text(max_size=20), CHANNELS, st.text(max_size=254), st.data())
def test_nothing_else_opens(
    tenant: str, elsewhere: str, channel: str, contact: str, data: st.DataObject
) -> None:
    cipher = ContactCipher(KEY, "k1")
    stored = cipher.seal(NONCE, tenant, channel, contact)
    other = "sms" if channel == "email" else "email"
    assert cipher.open(tenant, other, stored) is None
    assert (cipher.open(elsewhere, channel, stored) is None) == (elsewhere != tenant)
    for wrong in (ContactCipher(KEY[::-1], "k1"), ContactCipher(KEY, "k2")):
        assert wrong.open(tenant, channel, stored) is None
    at = data.draw(st.integers(0, len(stored) - 1))
    changed = bytearray(stored)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    for bad in (bytes(changed), stored[:at], stored + stored[at:]):
        assert cipher.open(tenant, channel, bad) is None


@pytest.mark.parametrize(("data", "contact"), [(b"\xc3\xbf", "ÿ"), (b"\xff\xfe", None)])
def test_what_is_no_text_is_no_contact(data: bytes, contact: str | None) -> None:
    ciphertext = ChaCha20Poly1305(KEY).encrypt(NONCE, data, field("acme") + field("sms"))
    cipher = ContactCipher(KEY, "k1")
    assert cipher.open("acme", "sms", b"\x02k1" + NONCE + ciphertext) == contact


def test_keys_ids_and_nonces_are_checked() -> None:
    for size in (0, 31, 33):
        with pytest.raises(ValueError, match="32 bytes"):
            ContactCipher(bytes(size), "k1")
    with pytest.raises(ValueError, match="contact key is too long"):
        ContactCipher(KEY, "é" * 128)
    cipher = ContactCipher(KEY, "k" * 255)
    for size in (0, 11, 13):
        with pytest.raises(ValueError, match="12 bytes"):
            cipher.seal(bytes(size), "t", "sms", "c")


def test_it_shows_nothing_and_cannot_be_copied() -> None:
    cipher = ContactCipher(KEY, "k1")
    assert repr(cipher) == str(cipher) == "<ContactCipher>"
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leave(cipher)
