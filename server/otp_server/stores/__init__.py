"""Stores: implementations of the port in ``services/ports/``. One contract suite runs over all.

    memory/         the verified fake: dictionaries, lost with the process
    sqlite/         the embedded store: one writer thread, group commit, a reader thread
    setting_rules   what they all say of settings
    process_rules   what they all say of processes, attempts and messages
    tried           a process as attempts see it
    account_rules   what they all say of accounts, sessions and resets
    bounds          what all of them keep

``open_store`` is the only door the composition root needs. A store belongs to the Trio run that
opened it and must be closed there with ``aclose``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.errors import ConfigError
from otp_server.stores.memory import MemoryStore
from otp_server.stores.sqlite import SqliteStore, open_sqlite_store

if TYPE_CHECKING:
    from pathlib import Path

    from otp_server.services.ports import Store

__all__ = ["MemoryStore", "SqliteStore", "open_sqlite_store", "open_store"]


async def open_store(url: str, data_dir: Path) -> Store:
    """Open the store ``url`` names, creating or migrating its schema.

    Args:
        url: ``sqlite:NAME`` relative to ``data_dir``, ``sqlite:/ABSOLUTE/PATH``, or ``memory:``.
        data_dir: the installation's folder; it must exist.

    Raises:
        ConfigError: the URL is of no store we have, or its file can never be used.
        StoreTooNew: the database was written by a newer otp-server.
        StoreUnavailable: it cannot be opened now.
    """
    scheme, colon, rest = url.partition(":")
    if url == "memory:":
        return MemoryStore()
    if scheme == "sqlite" and colon and rest and not rest.startswith("//"):
        return await open_sqlite_store(data_dir / rest)
    raise ConfigError(
        "store.url names no store we have; "
        'use "sqlite:NAME" (a file in data_dir), "sqlite:/ABSOLUTE/PATH" or "memory:"'
    )
