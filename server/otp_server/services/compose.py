"""From a leased message to its words: the only place where code and contact meet (requirement 4).

The code is derived and the contact opened when the message is about to be sent; both are dropped
with the :class:`Message`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from otp_server.domain.contact import mask
from otp_server.domain.process_id import format_uuid
from otp_server.domain.template import draft, minutes_of
from otp_server.services.ports.delivery import Message
from otp_server.services.process_code import derive_code

if TYPE_CHECKING:
    from otp_server.core import Keyring
    from otp_server.services.contacts import ContactVault
    from otp_server.services.ports.outbox import LeasedMessage


@dataclass(frozen=True, slots=True)
class MessageComposer:
    """``keyring`` holds ``keys.code``; ``domain`` is the installation's, for origin-bound SMS."""

    keyring: Keyring
    vault: ContactVault
    domain: str = ""

    def compose(self, leased: LeasedMessage, now_ms: int) -> Message:
        """The message, as it reads when it is sent now.

        KeyError or ContactUnreadable when a key that it needs is not configured any more.
        """
        plan, uuid = leased.plan, leased.uuid
        route = plan.routes[leased.route]
        channel = route.channel
        contact = self.vault.unseal(leased.tenant, channel, leased.contact.sealed)
        code = derive_code(self.keyring, leased)
        minutes = minutes_of(leased.expires_at_ms - now_ms)
        drawn = draft(channel, route.subject, route.text, plan.type_name, minutes, self.domain)
        words = drawn.words(code.reveal(), mask(contact) if drawn.names_contact else "")
        return Message(
            f"{uuid.hex()}-{leased.generation}",
            format_uuid(uuid),
            channel,
            contact,
            words.subject,
            words.text,
            words.html,
            leased.expires_at_ms,
        )
