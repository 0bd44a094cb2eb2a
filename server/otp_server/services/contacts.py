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
from typing import TYPE_CHECKING

from otp_server.core import ContactCipher, ContactIndex
from otp_server.domain.draws import Draws
from otp_server.domain.process import SealedContact
from otp_server.errors import ContactUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otp_server.domain.challenge_type import Channel

_SEAL_LABEL = b"otp-server/contact/seal/v1"
_INDEX_LABEL = b"otp-server/contact/index/v1"
_FINGERPRINT_LABEL = b"otp-server/contact/index/fingerprint/v1"
_NONCE_BYTES = 12


class ContactVault:
    """Seals, opens and indexes contacts in their normal form (``domain/contact.py``)."""

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        """``keys`` are ``keys.contact``, ``(id, key)`` pairs, the sealing one first.

        ValueError for none at all, or an id longer than 255 bytes.
        """
        if not keys:
            raise ValueError("contacts need at least one key (keys.contact)")
        self._ciphers = {
            key_id: ContactCipher(hmac.digest(key, _SEAL_LABEL, hashlib.sha256), key_id)
            for key_id, key in keys
        }
        self._nonce = Draws(_NONCE_BYTES).take
        self._current = self._ciphers[keys[0][0]]
        index_key = hmac.digest(keys[-1][1], _INDEX_LABEL, hashlib.sha256)
        self.index: Callable[[str, Channel, str], bytes] = ContactIndex(index_key).of
        """``index(tenant, channel, contact)``: the 32 bytes a contact is found and counted by,
        alike for every normal form alike."""
        self.index_fingerprint = hmac.digest(index_key, _FINGERPRINT_LABEL, hashlib.sha256).hex()[
            :16
        ]
        """16 hex digits that name the key of the index and tell nothing of it."""

    @property
    def key_ids(self) -> frozenset[str]:
        """The keys that contacts can be opened with."""
        return frozenset(self._ciphers)

    def __repr__(self) -> str:
        return f"<ContactVault {list(self._ciphers)!r}>"

    def seal(
        self, tenant: str, channel: Channel, contact: str, index: bytes | None = None
    ) -> SealedContact:
        """The stored form of a contact; each call's differs, its index does not.

        ``index`` is that of ``index()``, from a caller who has it already.
        """
        sealed = self._current.seal(self._nonce(), tenant, channel, contact)
        return SealedContact(index or self.index(tenant, channel, contact), sealed)

    def unseal(self, tenant: str, channel: Channel, sealed: bytes) -> str:
        """The contact.

        Raises:
            ContactUnreadable: its key is not configured any more, or this is not what was sealed
                for this tenant and channel.
        """
        contact = self._current.open(tenant, channel, sealed)
        return self._unseal_older(tenant, channel, sealed) if contact is None else contact

    def _unseal_older(self, tenant: str, channel: Channel, sealed: bytes) -> str:
        length = sealed[0] if sealed else 0
        key_id = sealed[1 : 1 + length].decode(errors="replace")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise ContactUnreadable(
                f"a contact was sealed under the key {key_id!r}, which is not configured: "
                "put it back into keys.contact, after the current one"
            )
        contact = cipher.open(tenant, channel, sealed)
        if contact is None:
            raise ContactUnreadable(
                f"a contact under the key {key_id!r} does not open: the key of this id was "
                "another, or the stored bytes were changed"
            )
        return contact
