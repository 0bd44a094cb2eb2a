"""The two threads of a SQLite store, and its health: what each part of the store is built on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from otp_server.stores.sqlite.group_commit import GroupWorker, WorkerStatistics

if TYPE_CHECKING:
    import apsw

    from otp_server.stores.sqlite.connection import Database


@dataclass(frozen=True, slots=True)
class SqliteStatistics:
    """What both threads have done."""

    writer: WorkerStatistics
    reader: WorkerStatistics


class SqliteWorkers:
    """The writer's operations are serial; the reader sees the last commit and blocks nobody."""

    def __init__(self, database: Database) -> None:
        self._writer = GroupWorker(database, read_only=False, ended=self._write_ended)
        self._reader = GroupWorker(database, read_only=True)

    def statistics(self) -> SqliteStatistics:
        """A snapshot."""
        return SqliteStatistics(self._writer.statistics(), self._reader.statistics())

    async def probe(self) -> None:
        """A real write, to the disk and back."""
        await self._writer.call(_count_probe)

    def _write_ended(self, *, committed: bool) -> None:
        """A transaction of the writer ended. In its thread."""

    async def aclose(self) -> None:
        """Finish what is queued, close both connections, end both threads."""
        await self._reader.aclose()
        await self._writer.aclose()


def _count_probe(connection: apsw.Connection) -> None:
    connection.execute("UPDATE probes SET writes = writes + 1")
