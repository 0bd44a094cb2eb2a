"""Opening the database file, and what SQLite's errors mean to an operator."""

from __future__ import annotations

import os
import stat
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import apsw

from otp_server.errors import ConfigError, StoreUnavailable
from otp_server.stores.sqlite.schema import migrate, require_current

if TYPE_CHECKING:
    from pathlib import Path

SQLITE_MIN = (3, 51, 3)
"""Older ones can corrupt a WAL database (sqlite.org/wal.html#walresetbug)."""

UNAVAILABLE: dict[type[apsw.Error], str] = {
    apsw.FullError: "disk full: free space on the volume of {path}",
    apsw.ReadOnlyError: "{path} cannot be written: check its owner, mode and mount",
    apsw.CantOpenError: "{path} cannot be opened: check that it is there, its owner and mode",
    apsw.PermissionsError: "{path} cannot be used: check its owner and mode",
    apsw.BusyError: "{path} is locked: end the process that holds a transaction open",
    apsw.LockedError: "{path} is locked: end the process that holds a transaction open",
    apsw.ProtocolError: "{path} is locked: end the process that holds a transaction open",
    apsw.IOError: "reading or writing {path} failed: check the disk and its free space",
    apsw.NoMemError: "no memory was left for {path}",
    apsw.CorruptError: "{path} is damaged: stop the server and restore a backup",
    apsw.NotADBError: "{path} is no SQLite database: stop the server and restore a backup",
}
"""Errors of the storage, not of a statement: what to tell an operator."""

_STATEMENTS = 1000
"""A connection's cache of statements: one is dropped when so many others ran after it."""

STILL_SOUND = (apsw.FullError, apsw.BusyError, apsw.LockedError, apsw.ConstraintError)
"""After these a connection whose transaction was rolled back goes on; after others it is reopened.
"""


@dataclass(frozen=True, slots=True)
class SqliteOptions:
    """The numbers of a SQLite store."""

    busy_timeout_ms: int = 5000
    """How long a transaction waits for another process."""
    group_max: int = 1024
    """Operations in one transaction: bounds how long the first of them waits for its commit."""
    queue_max: int = 100_000
    """Operations waiting; beyond it new ones are refused."""


def unavailable(error: BaseException, path: Path) -> StoreUnavailable:
    """A fresh StoreUnavailable that says what happened and what to do; chained to ``error``."""
    if isinstance(error, StoreUnavailable):
        told = StoreUnavailable(*error.args)
    else:
        hint = next(
            (text for kind, text in UNAVAILABLE.items() if isinstance(error, kind)),
            "the transaction on {path} failed",
        )
        told = StoreUnavailable(f"{hint.format(path=path)} ({type(error).__name__}: {error})")
    told.__cause__ = error
    return told


def prepare_file(path: Path, options: SqliteOptions) -> None:
    """Create the file if need be, for its owner alone, and bring its schema up to date. Blocks.

    Raises:
        ConfigError: this file can never be used, or SQLite is too old.
        StoreTooNew: its schema is from a newer otp-server.
        StoreUnavailable: not now.
    """
    found = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if found < SQLITE_MIN:
        raise ConfigError(
            f"SQLite {apsw.sqlite_lib_version()} can corrupt a database in WAL mode: "
            f"install an apsw with SQLite {'.'.join(map(str, SQLITE_MIN))} or newer"
        )
    if "ENABLE_CARRAY" not in apsw.compile_options:
        raise ConfigError("SQLite was built without carray: install the apsw of PyPI")
    try:
        _create_file(path)
        with closing(_open(path, options)) as connection:
            if connection.pragma("journal_mode", "wal") != "wal":
                raise ConfigError(f"store.url: {path} is on a file system without shared memory")
            migrate(connection, path)
    except (apsw.Error, OSError) as error:
        raise unavailable(error, path) from error


def _create_file(path: Path) -> None:
    if not path.parent.is_dir():
        raise ConfigError(f"store.url: the folder {path.parent} does not exist: create it")
    try:
        # Only a file nobody has open is opened here: closing it drops no lock of SQLite's.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"store.url: {path} is not a file: choose another") from None
        return
    try:
        os.fchmod(descriptor, 0o600)  # whatever the umask; SQLite gives -wal and -shm the same
    finally:
        os.close(descriptor)


def _open(path: Path, options: SqliteOptions) -> apsw.Connection:
    connection = apsw.Connection(
        str(path), flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=_STATEMENTS
    )
    connection.set_busy_timeout(options.busy_timeout_ms)
    # Plans never look at what is bound: else each statement that a partial index might serve is
    # planned anew for every value, which costs ten times as much as running it.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    connection.pragma("synchronous", "full")
    connection.pragma("foreign_keys", 1)
    connection.pragma("secure_delete", "fast")  # what is forgotten goes where it costs no write
    connection.pragma("cache_size", -32 * 1024)  # KiB; the indexes of live codes are read at random
    connection.pragma("journal_size_limit", 64 * 1024 * 1024)  # a burst's WAL shrinks again
    return connection


@dataclass(frozen=True, slots=True)
class Database:
    """A prepared file that workers open connections to."""

    path: Path
    options: SqliteOptions

    def connect(self, *, read_only: bool) -> apsw.Connection:
        """A new connection; never creates or migrates. Blocks. Raises apsw.Error, StoreTooNew."""
        connection = _open(self.path, self.options)
        try:
            require_current(connection, self.path)
            # What a savepoint may have to bring back is kept in memory: no page of the database is
            # written to a temporary file too. A migration may sort more than memory holds.
            connection.pragma("temp_store", "memory")
            if read_only:
                # Not SQLITE_OPEN_READONLY: that cannot recover a WAL left by a crash.
                connection.pragma("query_only", 1)
        except BaseException:
            connection.close()
            raise
        return connection

    def identity(self) -> tuple[int, int]:
        """Which file is at the path now. Raises StoreUnavailable when none can be seen."""
        try:
            status = self.path.stat()
        except OSError as error:
            raise StoreUnavailable(f"{self.path} is gone: move it back") from error
        return status.st_dev, status.st_ino
