"""Trio for state machines: their rules are no coroutines, and only they move the time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import trio

from tests.support.world import START_MS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeVar

    T = TypeVar("T")

CALL_S = 30


class Clock:
    """Milliseconds that only the machine moves."""

    def __init__(self) -> None:
        self.at_ms = START_MS

    def now_ms(self) -> int:
        return self.at_ms


class TrioThread:
    """Trio in a thread of its own, for rules that are no coroutines."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,), daemon=True)
        self._thread.start()
        self._ready.wait(CALL_S)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._end = trio.Event()
        self._ready.set()
        await self._end.wait()

    def call(self, function: Callable[..., Awaitable[T]], *args: object) -> T:
        async def timely() -> T:
            with trio.fail_after(CALL_S):
                return await function(*args)

        return trio.from_thread.run(timely, trio_token=self._token)

    def close(self) -> None:
        trio.from_thread.run_sync(self._end.set, trio_token=self._token)
        self._thread.join(CALL_S)
