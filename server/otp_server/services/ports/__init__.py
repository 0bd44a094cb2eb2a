"""What a store must do. Every atomic step is one method, and each method one transaction.

    devices      devices, organisations, live codes, guesses
    clients      API clients of the rest face
    settings     challenge types, their routes, templates
    processes    OTP processes, their attempts, search
    outbox       messages on their way
    accounts     accounts and sessions of the svc face
    resets       codes of the svc face: secrets, and what a right one changes
    audit        the chained trail
    delivery     not a store: what hands a message over to a provider

One contract suite (``tests/contracts``) runs over every implementation; SQLite and PostgreSQL can
both do all of it in one transaction each.

A write that returned is durable. :class:`StoreUnavailable` says that nothing was applied, except
where a cut connection leaves it unknown. A cancelled write happened or it did not; only
``issue_device_codes`` promises more. Times are integer Unix milliseconds, given by the caller.
"""

from __future__ import annotations

from typing import Protocol

from otp_server.services.ports.accounts import AccountStore, SessionStore
from otp_server.services.ports.audit import AuditStore
from otp_server.services.ports.clients import ClientStore
from otp_server.services.ports.devices import (
    Acceptance,
    AcceptRefusal,
    CodeStore,
    DeviceStore,
    Guess,
    IssueRefusal,
    NewDeviceCode,
)
from otp_server.services.ports.outbox import OutboxStore
from otp_server.services.ports.processes import ProcessStore
from otp_server.services.ports.resets import ResetStore
from otp_server.services.ports.settings import SettingsStore

__all__ = [
    "AcceptRefusal",
    "Acceptance",
    "AccountStore",
    "AuditStore",
    "ClientStore",
    "CodeStore",
    "DeviceStore",
    "Guess",
    "IssueRefusal",
    "NewDeviceCode",
    "OutboxStore",
    "ProcessStore",
    "ResetStore",
    "SessionStore",
    "SettingsStore",
    "Store",
]


class Store(
    DeviceStore,
    CodeStore,
    ClientStore,
    SettingsStore,
    ProcessStore,
    OutboxStore,
    AccountStore,
    SessionStore,
    ResetStore,
    AuditStore,
    Protocol,
):
    """Everything, and its own health."""

    async def probe(self) -> None:
        """Write and commit something without meaning; StoreUnavailable when that fails."""

    async def aclose(self) -> None:
        """Finish what is queued and close; later calls raise StoreUnavailable. Idempotent."""
