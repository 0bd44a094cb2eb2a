"""Holding the writer at a chosen point, without sleeping."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from otp_server.stores.sqlite import SqliteStore


class Gate:
    """A place in the writer's thread: a test waits until it is reached, then opens it."""

    def __init__(self, *, refuse: bool = False) -> None:
        self.refuse = refuse
        self._reached = threading.Event()
        self._open = threading.Event()

    def stand(self, _: object = None) -> None:
        """Called in the thread; also usable as an operation."""
        self._reached.set()
        assert self._open.wait(20), "the test never opened the gate"

    async def reached(self) -> None:
        await trio.to_thread.run_sync(self._reached.wait, 20)
        assert self._reached.is_set()

    def open(self) -> None:
        self._open.set()


async def at_commits(store: SqliteStore, *answers: Gate | bool) -> None:
    """For each COMMIT after this: stand at a gate, refuse it (True), or let it pass (False)."""
    script = iter((False, *answers))  # this one passes

    def hook() -> bool:
        answer = next(script, False)
        if isinstance(answer, Gate):
            answer.stand()
            return answer.refuse
        return answer

    await store._writer.call(lambda connection: connection.set_commit_hook(hook))
