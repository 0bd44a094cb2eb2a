"""SqliteStore: each method of the port is one operation of the writer or of the reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from otp_server.stores.sqlite.account_store import SqliteAccounts
from otp_server.stores.sqlite.connection import Database, SqliteOptions, prepare_file
from otp_server.stores.sqlite.device_store import SqliteDevices
from otp_server.stores.sqlite.settings_store import SqliteSettings

if TYPE_CHECKING:
    from pathlib import Path


async def open_sqlite_store(path: Path, options: SqliteOptions | None = None) -> SqliteStore:
    """Open the database file, created and migrated if need be, and check that it can be written.

    Raises:
        ConfigError: this file can never be used; the message says why and what to do.
        StoreTooNew: it was written by a newer otp-server.
        StoreUnavailable: not now.
    """
    options = SqliteOptions() if options is None else options
    await trio.to_thread.run_sync(prepare_file, path, options)
    store = SqliteStore(Database(path, options))
    try:
        await store.probe()
        await store.read_keys()
    except BaseException:
        await store.aclose()
        raise
    return store


class SqliteStore(SqliteDevices, SqliteSettings, SqliteAccounts):
    """The embedded store, of the Trio run that made it. Use :func:`open_sqlite_store`."""
