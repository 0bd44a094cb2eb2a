"""Many simulated devices at a constant rate, and the latency of their answers.

Open loop: requests have intended times, and latency counts from the intended time, so a stalled
server cannot hide behind requests that were not sent (coordinated omission).
"""

from __future__ import annotations

import time
from array import array
from collections import Counter, deque
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from otp_server.simulator.device import SimulationError, connect

if TYPE_CHECKING:
    from pathlib import Path

    from otp_server.simulator.device import SimulatedDevice

PERCENTILES = (50.0, 99.0, 99.9)
ANSWER_S = 10.0
"""How long the last answers are waited for: the contract's deadline."""
_CONNECTING_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What to do; ``rate`` in requests per second over all devices, ``duration_s`` in seconds."""

    url: str
    devices: int
    rate: float
    duration_s: float
    show_progress: bool = False


class LoadReport(msgspec.Struct, frozen=True):
    """What came of it. Latencies in milliseconds, of answers with a code."""

    devices: int
    asked: int
    codes: int
    errors: dict[str, int]
    unanswered: int
    seconds: float
    latency_ms: dict[str, float]

    def as_text(self) -> str:
        """A few lines for people."""
        errors = ", ".join(f"{name} {count}" for name, count in sorted(self.errors.items()))
        latency = "  ".join(f"{name} {value:.2f} ms" for name, value in self.latency_ms.items())
        return (
            f"{self.devices} devices asked {self.asked} times in {self.seconds:.1f} s\n"
            f"codes {self.codes}  errors {errors or 'none'}  unanswered {self.unanswered}\n"
            f"latency from the intended time: {latency or 'no answers'}"
        )


def read_tokens(file: Path, count: int) -> list[str]:
    """The first ``count`` tokens of a file, one a line; SimulationError when there are fewer."""
    try:
        tokens = [line.strip() for line in file.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise SimulationError(f"cannot read tokens from {file}: {error.strerror}") from error
    if len(tokens) < count:
        raise SimulationError(f"{file} holds {len(tokens)} tokens, {count} are needed")
    return tokens[:count]


def percentile(ordered: array[float], percent: float) -> float:
    """The nearest-rank percentile of sorted values."""
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]


class _Tally:
    """Answers as they come; ``complete`` once every request of a finished run has one."""

    def __init__(self) -> None:
        self.asked = 0
        self.latencies: array[float] = array("d")
        self.errors: Counter[str] = Counter()
        self.all_asked = False
        self.complete = trio.Event()

    @property
    def answered(self) -> int:
        return len(self.latencies) + sum(self.errors.values())

    def note(self, latency: float, error: str) -> None:
        if error:
            self.errors[error] += 1
        else:
            self.latencies.append(latency)
        self.check()

    def check(self) -> None:
        if self.all_asked and self.answered == self.asked:
            self.complete.set()


async def simulate_load(options: LoadOptions, tokens: list[str]) -> LoadReport:
    """Connect one device for each token, send at the rate, wait for the answers."""
    if options.devices < 1 or options.rate <= 0 or options.duration_s <= 0:
        raise SimulationError("devices, rate and duration must be more than 0")
    tally = _Tally()
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        progress = stack.enter_context(_progress(options))
        devices: list[tuple[SimulatedDevice, deque[float]]] = []
        connecting = progress.add_task("connecting", total=options.devices)
        ready = trio.Event()
        done = trio.Event()
        limit = trio.CapacityLimiter(_CONNECTING_AT_ONCE)

        async def hold(token: str) -> None:
            await limit.acquire()
            async with connect(options.url, token) as device:
                limit.release_on_behalf_of(trio.lowlevel.current_task())
                asked_at: deque[float] = deque()
                devices.append((device, asked_at))
                progress.advance(connecting)
                if len(devices) == options.devices:
                    ready.set()
                async with trio.open_nursery() as own:
                    own.start_soon(_listen, device, asked_at, tally)
                    await done.wait()
                    own.cancel_scope.cancel()

        for token in tokens[: options.devices]:
            nursery.start_soon(hold, token)
        await ready.wait()
        total = max(1, round(options.rate * options.duration_s))
        asking = progress.add_task("asking", total=total)
        started = time.perf_counter()
        first = trio.current_time()
        for n in range(total):
            intended = first + n / options.rate
            await trio.sleep_until(intended)
            device, asked_at = devices[n % len(devices)]
            asked_at.append(intended)
            tally.asked += 1
            await device.ask()
            progress.advance(asking)
        with trio.move_on_after(ANSWER_S):
            tally.all_asked = True
            tally.check()
            await tally.complete.wait()
        seconds = time.perf_counter() - started
        done.set()
    ordered = array("d", sorted(tally.latencies))
    return LoadReport(
        devices=options.devices,
        asked=tally.asked,
        codes=len(ordered),
        errors=dict(tally.errors),
        unanswered=tally.asked - tally.answered,
        seconds=round(seconds, 3),
        latency_ms={
            f"p{p:g}": round(percentile(ordered, p) * 1000, 3) for p in PERCENTILES if ordered
        },
    )


async def _listen(device: SimulatedDevice, asked_at: deque[float], tally: _Tally) -> None:
    """Pair answers with requests by order."""
    while True:
        answer = await device.answer()
        tally.note(trio.current_time() - asked_at.popleft(), answer.error)


def _progress(options: LoadOptions) -> Progress:
    return Progress(
        TextColumn("{task.description:>10}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not options.show_progress,
    )
