"""Releasing contacts that had too many wrong codes (requirement 20): the operator's alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.domain.audit import Actor
from otp_server.domain.challenge_type import Channel
from otp_server.errors import InvalidFields
from otp_server.services.contact_entry import read_contacts

if TYPE_CHECKING:
    from otp_server.clock import Clock
    from otp_server.services.contacts import ContactVault
    from otp_server.services.ports import ProcessStore

OPERATOR = Actor("operator")


class LockoutService:
    """Forgets the wrong codes that were counted against a contact."""

    def __init__(
        self, store: ProcessStore, *, vault: ContactVault, clock: Clock, default_country: str
    ) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._default_country = default_country

    async def forgive(self, tenant: str, channel: Channel, contact: str) -> bool:
        """Whether the tenant's contact had any wrong codes; it has none now.

        Raises:
            InvalidFields: it cannot be a contact of this channel.
            StoreUnavailable: nothing was changed.
        """
        phone, email = (contact, None) if channel is Channel.SMS else (None, contact)
        contacts, problems = read_contacts(phone, email, default_country=self._default_country)
        if problems:
            raise InvalidFields(problems)
        index = self._vault.index(tenant, channel, contacts[channel])
        return await self._store.forgive_contact(tenant, index, OPERATOR, self._clock.now_ms())
