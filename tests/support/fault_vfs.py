"""A disk under SQLite that stalls, fills up or turns read-only when a test says so.

While registered it is the default of this process, so a server that runs in the test opens its
database through it. Only what happens to real files differs: all else is SQLite's own.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import apsw

if TYPE_CHECKING:
    from collections.abc import Iterator

_BASE = "unix"
STALL_MAX_S = 60.0


class FaultyDisk(apsw.VFS):
    """``stall``, ``full`` and ``read_only`` may change at any time, from any thread."""

    def __init__(self) -> None:
        self.full = False
        self.read_only = False
        self._flowing = threading.Event()
        self._flowing.set()
        self._stalled = threading.Event()
        super().__init__("faulty", _BASE, makedefault=True)

    def stall(self) -> None:
        """From now on no fsync returns until :meth:`flow`."""
        self._stalled.clear()
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    def wait_stalled(self) -> None:
        """Return when an fsync waits. Blocks."""
        assert self._stalled.wait(STALL_MAX_S), "nothing was written"

    def before_sync(self) -> None:
        if not self._flowing.is_set():
            self._stalled.set()
            assert self._flowing.wait(STALL_MAX_S), "the test left the disk stalled"

    def before_write(self) -> None:
        if self.full:
            raise apsw.FullError("no space left")
        if self.read_only:
            raise apsw.IOError("read-only file system")

    def xOpen(  # noqa: N802 - SQLite's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        if self.read_only and flags[0] & apsw.SQLITE_OPEN_READWRITE:
            flags[0] &= ~(apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
            flags[0] |= apsw.SQLITE_OPEN_READONLY  # what SQLite does when the open was refused
        return _File(self, name, flags)


class _File(apsw.VFSFile):
    def __init__(
        self, disk: FaultyDisk, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        self._disk = disk
        super().__init__(_BASE, name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.before_sync()
        super().xSync(flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.before_write()
        super().xWrite(data, offset)


@contextmanager
def faulty_disk() -> Iterator[FaultyDisk]:
    """The disk, whole and healthy until told otherwise."""
    disk = FaultyDisk()
    try:
        yield disk
    finally:
        disk.flow()
        disk.unregister()
