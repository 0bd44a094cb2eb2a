"""The worker: one thread, one connection, and all operations waiting in one transaction.

A commit costs an fsync however much it carries, so what waits while one commit runs shares the
next (group commit). The cycle::

    take     up to ``group_max`` operations, and every undo owed
    run      BEGIN; the undos; each operation in its own SAVEPOINT; COMMIT
             (one that is alone needs no savepoint: COMMIT, or ROLLBACK if it raises)
    settle   results and errors under the lock, one ``run_sync_soon`` for the whole group

An operation that raises is rolled back alone and its caller hears it. When BEGIN, COMMIT or the
storage under any operation fails, the group is rolled back as a whole and every caller gets
StoreUnavailable; the next group tries afresh, so the store recovers by itself.

Cancellation never waits for the disk. An operation not begun is never run. One that is running or
committed is abandoned; if it has an undo, that runs before any operation of a later transaction,
and nothing at all runs until it has succeeded. Only a crash, or a close that could not write
(``CLOSE_TRIES``), can leave an undo out.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast

import apsw
import trio

from otp_server.errors import StoreUnavailable
from otp_server.stores.sqlite.connection import STILL_SOUND, UNAVAILABLE, unavailable
from otp_server.stores.sqlite.operation import Operation, OperationState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otp_server.stores.sqlite.connection import Database

    Undo = Callable[[apsw.Connection], object]

    class Ended(Protocol):
        """See ``GroupWorker``."""

        def __call__(self, *, committed: bool) -> None:
            """A transaction ended."""


T = TypeVar("T")

UNDO_RETRY_S: Final = 0.2
"""How soon an undo that failed is tried again when no operation comes first."""
CLOSE_TRIES: Final = 5
"""Failed transactions after which a closing worker gives its undos up."""
CLOSE_WAIT_S: Final = 30.0
"""How long ``aclose`` waits for a disk that does not answer at all."""

_STORAGE_ERRORS = tuple(UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """What a worker has done since it began, and what waits."""

    groups: int
    """Transactions that ended as they should: also that of one operation alone which raised."""
    failed_groups: int
    """Transactions rolled back; each of their operations heard StoreUnavailable."""
    operations: int
    """Operations run in them, failed ones too."""
    undos: int
    """Undos committed."""
    queued: int
    """Operations waiting now."""
    undos_owed: int
    """Abandoned operations whose undo is not committed yet."""


class GroupWorker:
    """Runs operations on the one connection it owns, for the Trio run that made it."""

    def __init__(self, database: Database, *, read_only: bool, ended: Ended | None = None) -> None:
        """``ended`` is told how each transaction ended, before who waits; in the thread."""
        self._database = database
        self._read_only = read_only
        self._begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"
        self._ended = ended
        self._token = trio.lowlevel.current_trio_token()
        self._closed = trio.Event()
        self._connection: apsw.Connection | None = None  # the thread's own
        self._identity: tuple[int, int] | None = None
        # The lock guards everything below and the states of operations.
        self._wake = threading.Condition()
        self._queue: OrderedDict[Operation, None] = OrderedDict()
        self._undos: list[Undo] = []
        self._undos_owed = 0
        self._undos_failing = False
        self._closing = False
        self._close_tries = 0
        self._groups = self._failed_groups = self._operations = self._undone = 0
        # A daemon, so that a program which failed before aclose() still ends: SQLite survives a
        # writer that stops anywhere. The order of a clean end is aclose()'s.
        name = "sqlite-reader" if read_only else "sqlite-writer"
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    # In Trio.

    async def call(self, run: Callable[[apsw.Connection], T], undo: Undo | None = None) -> T:
        """Run ``run`` in a transaction and give its result once that is committed.

        Cancellation: not run at all, or run, committed and then undone as the module says;
        without an ``undo`` it may stay.

        Raises:
            StoreUnavailable: nothing was applied.
            Exception: whatever ``run`` raised; it was rolled back.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        operation = Operation(run, undo, trio.lowlevel.current_task())
        with self._wake:
            if self._closing:
                raise StoreUnavailable("the store is closed")
            if len(self._queue) >= self._database.options.queue_max:
                raise StoreUnavailable(f"{len(self._queue)} operations wait for the disk already")
            self._queue[operation] = None
            self._wake.notify()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._abandon(operation)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        if operation.error is not None:
            raise operation.error
        return cast("T", operation.result)

    def owes_undo(self) -> bool:
        """Whether an abandoned operation may still show; a ``call`` made now comes after it."""
        with self._wake:
            return self._undos_owed > 0

    def statistics(self) -> WorkerStatistics:
        """A snapshot."""
        with self._wake:
            return WorkerStatistics(
                groups=self._groups,
                failed_groups=self._failed_groups,
                operations=self._operations,
                undos=self._undone,
                queued=len(self._queue),
                undos_owed=self._undos_owed,
            )

    async def aclose(self) -> None:
        """Finish what is queued and every undo, close the connection, end the thread. Idempotent.

        Cancellation does not cut it short; ``CLOSE_WAIT_S`` does.
        """
        with self._wake:
            self._closing = True
            self._wake.notify()
        with trio.move_on_after(CLOSE_WAIT_S) as patience:
            patience.shield = True
            await self._closed.wait()
            self._thread.join()  # it has said its last word

    def _abandon(self, operation: Operation) -> None:
        with self._wake:
            if operation.state is OperationState.QUEUED:
                operation.state = OperationState.CANCELLED
                self._queue.pop(operation, None)
                return
            operation.abandoned = True
            if operation.undo is None:
                return
            if operation.state is OperationState.RUNNING:
                self._undos_owed += 1  # _settle goes on with it
            elif operation.error is None:
                self._undos_owed += 1
                self._undos.append(operation.undo)
                self._wake.notify()

    def _deliver(self, group: Sequence[Operation]) -> None:
        for operation in group:
            if not operation.abandoned:
                trio.lowlevel.reschedule(operation.task)

    # In the thread.

    def _work(self) -> None:
        while (work := self._take()) is not None:
            undos, group = work
            failed = self._transact(undos, group)
            if failed is None and self._ended is not None:
                self._ended(committed=True)
            self._settle(undos, group, failed)
        self._drop_connection()
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._closed.set)

    def _take(self) -> tuple[list[Undo], list[Operation]] | None:
        """Wait for work; None when closing and there is none, or no hope for it."""
        with self._wake:
            self._wake.wait_for(self._has_work, UNDO_RETRY_S if self._undos_failing else None)
            if self._closing and not self._queue:
                hopeless = self._undos_failing and self._close_tries >= CLOSE_TRIES
                if not self._undos or hopeless:
                    return None
            count = min(len(self._queue), self._database.options.group_max)
            group = [self._queue.popitem(last=False)[0] for _ in range(count)]
            return list(self._undos), group

    def _has_work(self) -> bool:
        if self._queue:
            return True
        return not self._undos_failing if self._undos else self._closing

    def _transact(self, undos: Sequence[Undo], group: Sequence[Operation]) -> BaseException | None:
        """One transaction; what it failed of, None when it was committed."""
        try:
            connection = self._ready_connection()
            connection.execute(self._begin)
            for undo in undos:
                undo(connection)
            if len(group) == 1 and not undos:
                self._run(connection, group[0])
                connection.execute("COMMIT" if group[0].error is None else "ROLLBACK")
                return None
            for operation in group:
                connection.execute("SAVEPOINT operation")
                self._run(connection, operation)
                if operation.error is not None:
                    connection.execute("ROLLBACK TO operation")
                connection.execute("RELEASE operation")
            connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - the thread outlives everything
            if self._ended is not None:  # before the numbers that it gave can be another's
                self._ended(committed=False)
            self._roll_back(error)
            return error
        return None

    def _run(self, connection: apsw.Connection, operation: Operation) -> None:
        """Run it, unless it was cancelled. What it raises is its ``error``."""
        with self._wake:
            if operation.state is OperationState.CANCELLED:
                return
            operation.state = OperationState.RUNNING
        try:
            operation.result = operation.run(connection)
        except _STORAGE_ERRORS:
            raise  # not this operation's fault: the whole group fails
        except BaseException as error:  # noqa: BLE001 - its caller hears of it
            operation.error = error

    def _settle(
        self, undos: Sequence[Undo], group: Sequence[Operation], failed: BaseException | None
    ) -> None:
        with self._wake:
            if failed is None:
                del self._undos[: len(undos)]
                self._undos_owed -= len(undos)
                self._undone += len(undos)
                self._groups += 1
            else:
                self._failed_groups += 1
                self._close_tries += self._closing
            self._undos_failing = failed is not None and bool(undos)
            waiting = [operation for operation in group if self._finish(operation, failed)]
        if waiting:
            with suppress(trio.RunFinishedError):  # then nobody waits
                self._token.run_sync_soon(self._deliver, waiting)

    def _finish(self, operation: Operation, failed: BaseException | None) -> bool:
        """Write down what became of it; whether its task is still there to hear."""
        if operation.state is OperationState.CANCELLED:
            return False
        if failed is None:
            self._operations += 1
        elif operation.error is None:
            operation.result = None
            operation.error = unavailable(failed, self._database.path)
        operation.state = OperationState.DONE
        if operation.abandoned and operation.undo is not None:
            if operation.error is None:
                self._undos.append(operation.undo)
            else:
                self._undos_owed -= 1  # owed since it was abandoned, and not due
        return not operation.abandoned

    # The connection.

    def _ready_connection(self) -> apsw.Connection:
        """The connection, on the file it was opened on; a new one after a failure.

        SQLite would go on writing to a file that was moved or deleted, and acknowledge it. The
        open connection is kept meanwhile: it is sound again once the file is back.
        """
        identity = self._database.identity()
        if self._connection is not None and identity == self._identity:
            return self._connection
        if self._identity not in (None, identity):
            raise StoreUnavailable(
                f"{self._database.path} was replaced by another file: "
                "put the first back or restart the server"
            )
        self._connection = self._database.connect(read_only=self._read_only)
        self._identity = identity
        return self._connection

    def _roll_back(self, error: BaseException) -> None:
        if self._connection is None:
            return
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error:
            self._drop_connection()
        else:
            if isinstance(error, apsw.Error) and not isinstance(error, STILL_SOUND):
                self._drop_connection()

    def _drop_connection(self) -> None:
        if self._connection is not None:
            with suppress(apsw.Error):
                self._connection.close()
            self._connection = None
