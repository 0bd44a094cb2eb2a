"""One operation that waits for a worker: its states, and the Trio task waiting for it.

::

    QUEUED ──taken──▶ RUNNING ──commit or failure──▶ DONE ──▶ the task wakes
       └─cancel─▶ CANCELLED: never run
                       └───cancel───▶ abandoned; committed, it is undone before anything else

All fields but ``result`` and ``error`` change under the worker's lock only.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import apsw
    import trio


class OperationState(Enum):
    """Where an operation stands."""

    QUEUED = auto()
    RUNNING = auto()
    DONE = auto()
    CANCELLED = auto()


class Operation:
    """What to run, how to undo it, and who waits.

    ``undo``, if there is one, ends the effects of a ``run`` that was committed after its task had
    gone. It must be possible in any later transaction and may be tried again if that fails.
    """

    __slots__ = ("abandoned", "error", "result", "run", "state", "task", "undo")

    def __init__(
        self,
        run: Callable[[apsw.Connection], object],
        undo: Callable[[apsw.Connection], object] | None,
        task: trio.lowlevel.Task,
    ) -> None:
        self.run = run
        self.undo = undo
        self.task = task
        self.state = OperationState.QUEUED
        self.abandoned = False
        self.result: Any = None
        self.error: BaseException | None = None
