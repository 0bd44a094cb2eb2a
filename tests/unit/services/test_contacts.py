"""Contacts sealed and indexed (requirement 10), across tenants, channels and rotations."""

from __future__ import annotations

import hmac

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from otp_server.domain.challenge_type import Channel
from otp_server.errors import ContactUnreadable
from otp_server.services.contacts import ContactVault

OLD = ("k1", bytes(range(32)))
NEW = ("k2", bytes(range(1, 33)))
PHONE = "+12025550123"


def prefixed(*texts: str) -> bytes:
    return b"".join(len(text).to_bytes(8, "big") + text.encode() for text in texts)


@given(st.text(max_size=20), st.sampled_from(Channel), st.text(max_size=254), st.text(max_size=20))
def test_what_was_sealed_opens_here_and_nowhere_else(
    tenant: str, channel: Channel, contact: str, elsewhere: str
) -> None:
    vault = ContactVault([OLD])
    sealed = vault.seal(tenant, channel, contact).sealed
    assert vault.unseal(tenant, channel, sealed) == contact
    other = Channel.SMS if channel is Channel.EMAIL else Channel.EMAIL
    with pytest.raises(ContactUnreadable):
        vault.unseal(tenant, other, sealed)
    if elsewhere != tenant:
        with pytest.raises(ContactUnreadable):
            vault.unseal(elsewhere, channel, sealed)


def test_sealing_twice_looks_unlike_and_is_found_alike() -> None:
    vault = ContactVault([OLD])
    one, two = (vault.seal("t", Channel.SMS, PHONE) for _ in range(2))
    assert one.sealed != two.sealed
    assert one.index == two.index == vault.index("t", Channel.SMS, PHONE)
    assert len(one.index) == 32
    assert PHONE.encode() not in one.sealed


@pytest.mark.parametrize(
    ("tenant", "channel", "contact", "sealed", "index"),
    [
        (
            "acme",
            Channel.SMS,
            PHONE,
            "026b316465666768696a6b6c6d6e6f4bb65997e197c278431e277b5c3e30b22479c95a34d8b5813cf2aef6",
            "4b2a222b4c168b7009ffe0b84142c8fdeea6df5cacb69feeada03ed0bdfe3fc7",
        ),
        (
            "default",
            Channel.EMAIL,
            "jürgen@exämple.org",
            (
                "026b316465666768696a6b6c6d6e6f0a44d7d5b4c7990d1657d6ec9308e6c51f4e309f65cc72c5f3"
                "8f69da1a5490cb4cc16741"
            ),
            "f1dc121e7c1239d3948a89f8becefd33315c3200690ac62614ee0902bd38f09b",
        ),
    ],
)
def test_what_stores_hold_already_opens_and_is_found(
    tenant: str, channel: Channel, contact: str, sealed: str, index: str
) -> None:
    """Known answers: an installation's contacts outlive every version of the vault."""
    for vault in (ContactVault([OLD]), ContactVault([NEW, OLD])):
        assert vault.unseal(tenant, channel, bytes.fromhex(sealed)) == contact
        assert vault.index(tenant, channel, contact).hex() == index
    assert ContactVault([OLD]).index_fingerprint == "c95cbe7f860aad70"


def test_an_index_that_the_caller_has_is_taken() -> None:
    vault = ContactVault([OLD])
    index = vault.index("t", Channel.SMS, PHONE)
    contact = vault.seal("t", Channel.SMS, PHONE, index)
    assert contact.index is index
    assert vault.unseal("t", Channel.SMS, contact.sealed) == PHONE


def test_indexes_tell_tenants_channels_and_contacts_apart() -> None:
    vault = ContactVault([OLD])
    rows = [
        ("t", Channel.SMS, PHONE),
        ("u", Channel.SMS, PHONE),
        ("t", Channel.EMAIL, PHONE),
        ("t", Channel.SMS, "+12025550124"),
        ("", Channel.SMS, PHONE),
        ("tsms", Channel.SMS, PHONE[1:]),
    ]
    assert len({vault.index(*row) for row in rows}) == len(rows)
    assert ContactVault([NEW]).index(*rows[0]) != vault.index(*rows[0])


def test_a_rotation_seals_anew_and_finds_and_opens_the_old() -> None:
    before, after = ContactVault([OLD]), ContactVault([NEW, OLD])
    sealed = before.seal("t", Channel.SMS, PHONE)
    assert after.unseal("t", Channel.SMS, sealed.sealed) == PHONE
    again = after.seal("t", Channel.SMS, PHONE)
    assert again.index == sealed.index
    assert again.sealed[:3] == b"\x02k2"
    with pytest.raises(ContactUnreadable, match="'k2', which is not configured"):
        before.unseal("t", Channel.SMS, again.sealed)


def test_a_key_of_the_same_id_but_another_does_not_open() -> None:
    sealed = ContactVault([OLD]).seal("t", Channel.SMS, PHONE).sealed
    with pytest.raises(ContactUnreadable, match="does not open") as refusal:
        ContactVault([("k1", NEW[1])]).unseal("t", Channel.SMS, sealed)
    assert PHONE not in str(refusal.value)


def test_no_byte_can_be_changed_or_lost() -> None:
    vault = ContactVault([OLD])
    sealed = vault.seal("t", Channel.SMS, PHONE).sealed
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        for bad in (bytes(changed), sealed[:at]):
            with pytest.raises(ContactUnreadable):
                vault.unseal("t", Channel.SMS, bad)
    with pytest.raises(ContactUnreadable):
        vault.unseal("t", Channel.SMS, sealed + b"\0")


def test_index_and_seal_do_not_share_a_key() -> None:
    """The same installation key gives each use its own: nothing of one opens the other."""
    row = prefixed("t", "sms")
    contact = ContactVault([OLD]).seal("t", Channel.SMS, PHONE)
    seal_key, index_key = (
        hmac.digest(OLD[1], f"otp-server/contact/{use}/v1".encode(), "sha256")
        for use in ("seal", "index")
    )
    nonce, ciphertext = contact.sealed[3:15], contact.sealed[15:]
    assert ChaCha20Poly1305(seal_key).decrypt(nonce, ciphertext, row) == PHONE.encode()
    for other in (OLD[1], index_key):
        with pytest.raises(InvalidTag):
            ChaCha20Poly1305(other).decrypt(nonce, ciphertext, row)
    whole = row + prefixed(PHONE)
    assert contact.index == hmac.digest(index_key, whole, "sha256")
    assert contact.index != hmac.digest(OLD[1], whole, "sha256")


@pytest.mark.parametrize("keys", [[], [("é" * 128, bytes(32))]])
def test_keys_are_checked(keys: list[tuple[str, bytes]]) -> None:
    with pytest.raises(ValueError, match="contact"):
        ContactVault(keys)


def test_the_vault_shows_ids_only() -> None:
    assert repr(ContactVault([NEW, OLD])) == "<ContactVault ['k2', 'k1']>"
