"""What a run does, drawn from its seed alone: the same seed gives the same schedule."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random

STALE_SHARE = 6
"""One in so many of the codes left over by a crash is kept unconfirmed for a later one."""


class Step(Enum):
    """What a device and the app beside it do next."""

    ISSUE = "ask for a code"
    PIPELINE = "ask for two codes without waiting in between"
    CONFIRM = "confirm the newest code"
    TWICE = "confirm the newest code twice at once"
    RACE = "confirm the newest code while the next is asked for"
    STALE = "confirm an older code"
    GUESS = "confirm a code that nobody was given"


_WEIGHTS = {
    Step.ISSUE: 8,
    Step.PIPELINE: 1,
    Step.CONFIRM: 6,
    Step.TWICE: 2,
    Step.RACE: 3,
    Step.STALE: 1,
    Step.GUESS: 1,
}


@dataclass(frozen=True)
class Act:
    """A step and what it needs to know: routes, and a number that picks among older codes."""

    step: Step
    routes: tuple[int, int]
    pick: int


@dataclass(frozen=True)
class Round:
    """One life of the server: a script for each device, and the event that ends it."""

    scripts: tuple[tuple[Act, ...], ...]
    kill_at: int
    """SIGKILL at this event (a request sent or an answer received) after the round's start."""
    keep: int
    """Leftover codes whose number is this, modulo STALE_SHARE, are kept for later."""


def plan(seed: int, *, rounds: int, devices: int, operations: int) -> list[Round]:
    """About ``operations`` issues and confirms in all before the last crash."""
    source = Random(f"kill -9, seed {seed}")  # noqa: S311 - a schedule, to be replayed
    events = 2 * operations // rounds  # a request and its answer are one each
    return [
        Round(
            scripts=tuple(
                tuple(_act(source) for _ in range(2 * events // devices + 4))
                for _ in range(devices)
            ),
            kill_at=source.randint(events * 3 // 4, events * 5 // 4),
            keep=source.randrange(STALE_SHARE),
        )
        for _ in range(rounds)
    ]


def _act(source: Random) -> Act:
    [step] = source.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
    return Act(step, (source.randrange(3), source.randrange(3)), source.randrange(1_000_000))
