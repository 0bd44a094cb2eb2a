"""How late a Trio timer of 1 ms is: the price that other tasks of the process pay.

Two figures: by the clock, and by the processor time that this process itself spent beyond the
millisecond. On a busy process of a quiet machine they are the same; what another process took
of the processor is in the first only.
"""

from __future__ import annotations

import json
import signal
import time
from array import array

import trio

PERIOD_S = 0.001
_KEPT_MAX = 1_000_000


def percentile(ordered: array[float], percent: float) -> float:
    """The nearest-rank percentile of sorted values; 0 of none."""
    if not ordered:
        return 0.0
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]


class TimerWatch:
    """Sleeps again and again and notes how late it woke."""

    def __init__(self) -> None:
        self._late: array[float] = array("d")
        self._own: array[float] = array("d")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            due, used = trio.current_time() + PERIOD_S, time.process_time()
            await trio.sleep_until(due)
            if len(self._late) < _KEPT_MAX:
                late = trio.current_time() - due
                self._late.append(late)
                self._own.append(min(late, max(0.0, time.process_time() - used - PERIOD_S)))

    async def report_on_signal(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """At each SIGUSR1 print what was noted since the last, as a line of JSON."""
        with trio.open_signal_receiver(signal.SIGUSR1) as signals:
            task_status.started()
            async for _ in signals:
                print(self.take(), flush=True)

    def take(self) -> str:
        """What was noted since the last call."""
        ordered, own = array("d", sorted(self._late)), array("d", sorted(self._own))
        self._late, self._own = array("d"), array("d")
        figures: dict[str, float | int] = {"count": len(ordered)}
        for name, percent in (("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("max", 100.0)):
            figures[f"{name}_ms"] = round(percentile(ordered, percent) * 1000, 3)
        figures["own_p99_ms"] = round(percentile(own, 99.0) * 1000, 3)
        return json.dumps({"timer": figures})
