"""Contacts as stores keep them: sealed, and found by a keyed index (requirement 10).

A sealed contact is ``length of the key id | key id | nonce | ChaCha20-Poly1305``: the id says which
key opens it, so keys rotate by putting a new one first. Tenant and channel are associated data:
what was copied to another tenant, or from the phone's column to the e-mail's, does not open. Nonces
are 96 random bits; up to 2^32 contacts under one key two are the same with a chance of 2^-32.

The index is HMAC-SHA-256 over the length-prefixed tenant, channel and contact, and always under the
*last* key, so that limits, failure budgets and searches survive a rotation. The last key therefore
stays as long as what was counted with it; dropping it forgets who was who, so the server refuses
to start then (``contact_keys``).
"""

from __future__ import annotations

import hashlib
import hmac
import os
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from otp_server.domain.process import SealedContact
from otp_server.errors import ContactUnreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.challenge_type import Channel

_SEAL_LABEL = b"otp-server/contact/seal/v1"
_INDEX_LABEL = b"otp-server/contact/index/v1"
_FINGERPRINT_LABEL = b"otp-server/contact/index/fingerprint/v1"
_NONCE_BYTES = 12
_KEY_ID_BYTES_MAX = 255
_ROWS_MAX = 1024


class ContactVault:
    """Seals, opens and indexes contacts in their normal form (``domain/contact.py``)."""

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        """``keys`` are ``keys.contact``, ``(id, key)`` pairs, the sealing one first.

        ValueError for none at all, or an id longer than 255 bytes.
        """
        if not keys:
            raise ValueError("contacts need at least one key (keys.contact)")
        self._ciphers = {
            key_id: ChaCha20Poly1305(hmac.digest(key, _SEAL_LABEL, hashlib.sha256))
            for key_id, key in keys
        }
        self._current = keys[0][0]
        current = self._current.encode()
        if len(current) > _KEY_ID_BYTES_MAX:
            raise ValueError("the id of a contact key is too long")
        self._prefix = bytes([len(current)]) + current
        self._index_key = hmac.digest(keys[-1][1], _INDEX_LABEL, hashlib.sha256)

    @property
    def key_ids(self) -> frozenset[str]:
        """The keys that contacts can be opened with."""
        return frozenset(self._ciphers)

    @property
    def index_fingerprint(self) -> str:
        """16 hex digits that name the key of the index and tell nothing of it."""
        return hmac.digest(self._index_key, _FINGERPRINT_LABEL, hashlib.sha256).hex()[:16]

    def __repr__(self) -> str:
        return f"<ContactVault {list(self._ciphers)!r}>"

    def seal(self, tenant: str, channel: Channel, contact: str) -> SealedContact:
        """The stored form of a contact; each call's differs, its index does not."""
        nonce = os.urandom(_NONCE_BYTES)
        cipher = self._ciphers[self._current]
        ciphertext = cipher.encrypt(nonce, contact.encode(), _row(tenant, channel))
        return SealedContact(
            index=self.index(tenant, channel, contact), sealed=self._prefix + nonce + ciphertext
        )

    def index(self, tenant: str, channel: Channel, contact: str) -> bytes:
        """The 32 bytes a contact is found and counted by, alike for every normal form alike."""
        row = _row(tenant, channel) + _field(contact)
        return hmac.digest(self._index_key, row, hashlib.sha256)

    def unseal(self, tenant: str, channel: Channel, sealed: bytes) -> str:
        """The contact.

        Raises:
            ContactUnreadable: its key is not configured any more, or this is not what was sealed
                for this tenant and channel.
        """
        length = sealed[0] if sealed else 0
        key_id = sealed[1 : 1 + length].decode(errors="replace")
        nonce = sealed[1 + length : 1 + length + _NONCE_BYTES]
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise ContactUnreadable(
                f"a contact was sealed under the key {key_id!r}, which is not configured: "
                "put it back into keys.contact, after the current one"
            )
        try:
            opened = cipher.decrypt(
                nonce, sealed[1 + length + _NONCE_BYTES :], _row(tenant, channel)
            )
        except (InvalidTag, ValueError) as error:
            raise ContactUnreadable(
                f"a contact under the key {key_id!r} does not open: the key of this id was "
                "another, or the stored bytes were changed"
            ) from error
        return opened.decode()


@lru_cache(_ROWS_MAX)
def _row(tenant: str, channel: Channel) -> bytes:
    return _field(tenant) + _field(channel.value)


def _field(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(8) + data
