"""What the use cases of codes of the svc face work with, and what they go by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from otp_server.domain.challenge_type import EVERY_CHANNEL
from otp_server.domain.outcome import Reason, Refused
from otp_server.errors import ErrorKind
from otp_server.services.ports import AccountStore, ProcessStore, ResetStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from otp_server.clock import Clock
    from otp_server.core import Keyring
    from otp_server.domain.challenge_type import Channel
    from otp_server.services.accounts import AccountService
    from otp_server.services.contacts import ContactVault
    from otp_server.services.reset_limits import ResetLimits
    from otp_server.services.sockets import SocketRegistry

NOT_DONE = Refused(ErrorKind.INTERNAL, Reason.STORE)
"""The store failed a call that sends or changes something: the contract's INTERNAL_ERROR."""
NOT_CHECKED = Refused(ErrorKind.UNAVAILABLE, Reason.STORE)
"""It failed one that only checks."""
UNREADABLE = Refused(ErrorKind.INTERNAL, Reason.KEY_MISSING)
"""A key of a code or a contact is not configured any more."""
BUSY = Refused(ErrorKind.OVERLOADED, Reason.BUSY, 1000)
"""Too many passwords are being hashed or judged."""


class ResetsStore(AccountStore, ProcessStore, ResetStore, Protocol):
    """The ports that codes of accounts need."""


@dataclass(frozen=True, slots=True)
class ResetRules:
    """What they go by, beside limits (``config/svc_schema.py``).

    ``message_stored`` wakes who delivers, over one of ``channels``; it does not block.
    """

    message_stored: Callable[[], None]
    reveal_accounts: bool = True
    code_ttl_s: int = 600
    attempts_max: int = 5
    delivery_wait_s: float = 5.0
    channels: frozenset[Channel] = EVERY_CHANNEL


@dataclass(frozen=True, slots=True)
class ResetParts:
    """What all of them work with. ``keyring`` holds ``keys.code``."""

    store: ResetsStore
    clock: Clock
    keyring: Keyring
    vault: ContactVault
    accounts: AccountService
    sockets: SocketRegistry
    limits: ResetLimits
    rules: ResetRules
