"""An installation without a server: what the commands open.

It works beside the running server, in another process, on the same database.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import trio

from otp_server.clock import SteadyClock
from otp_server.config import ensure_data_dir, resolve_keys
from otp_server.errors import ConfigError
from otp_server.services.accounts import AccountService
from otp_server.services.audit import AuditService
from otp_server.services.breached import BreachedPasswords
from otp_server.services.clients import ClientService
from otp_server.services.contact_keys import check_contact_keys
from otp_server.services.contacts import ContactVault
from otp_server.services.devices import DeviceService
from otp_server.services.lockouts import LockoutService
from otp_server.services.password_policy import PasswordPolicy
from otp_server.services.passwords import PasswordHasher
from otp_server.services.settings import SettingsService
from otp_server.stores import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from otp_server.clock import Clock
    from otp_server.config import Config, InstallationKeys
    from otp_server.domain.account import User
    from otp_server.services.accounts import NewAccount
    from otp_server.services.ports import Store


class Installation:
    """What an operator does to an installation, over its open store."""

    def __init__(self, config: Config, keys: InstallationKeys, store: Store, clock: Clock) -> None:
        self.devices = device_service(keys, store, clock)
        self.clients = ClientService(
            store, clock=clock, settings=SettingsService(store, clock=clock)
        )
        vault = ContactVault(keys.contact)
        self._check_contact_keys = partial(
            check_contact_keys,
            store,
            vault,
            now_ms=clock.now_ms(),
            accepted=config.rest.contact_index,
        )
        self.users = AccountService(
            store,
            vault=vault,
            clock=clock,
            hasher=PasswordHasher(),
            policy=PasswordPolicy(BreachedPasswords(config.svc.breached_passwords)),
        )
        self.lockouts = LockoutService(
            store,
            vault=vault,
            clock=clock,
            default_country=config.rest.default_country,
        )
        self.audit = AuditService(store)

    async def add_user(self, new: NewAccount) -> User:
        """``users.add``, under the keys the server finds accounts by; ConfigError for others."""
        await self._check_contact_keys()
        return await self.users.add(new)


def device_service(keys: InstallationKeys, store: Store, clock: Clock) -> DeviceService:
    """The registry of devices over an open store."""
    return DeviceService(store, clock=clock, key=keys.device_key[0][1])


def is_installed(config: Config) -> bool:
    """Whether there is an installation to open, or one would be made.

    Raises:
        ConfigError: the store lives inside a server process.
    """
    if config.database is None:
        raise ConfigError(
            "the memory store lives inside the server process: set store.url to sqlite:FILE"
        )
    return config.database.exists()


@asynccontextmanager
async def open_installation(config: Config) -> AsyncIterator[Installation]:
    """Open the installation, made anew where there is none, and close it at the end.

    Raises:
        ConfigError: the keys or the store cannot be used.
        StoreUnavailable: the store cannot be opened now.
    """
    ensure_data_dir(config.server.data_dir)
    keys = resolve_keys(config)
    store = await open_store(config.store.url, config.server.data_dir)
    try:
        yield Installation(config, keys, store, SteadyClock())
    finally:
        with trio.CancelScope(shield=True):
            await store.aclose()
