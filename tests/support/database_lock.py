"""Another process's lock on a database file."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw

WAIT_MS = 10_000
"""Longer than any write of a server that works, which may hold the lock when we ask for it."""


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the only write lock of ``database``: nobody else can write to it meanwhile."""
    with closing(apsw.Connection(str(database))) as connection:
        connection.set_busy_timeout(WAIT_MS)
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
