"""One OTP process as the contract has it, and whether a history of it can be explained.

An attempt is two steps: it is *counted*, then *settled* by what the comparison said; each happens
at one instant between the request and its answer, and anything may happen in between. An attempt
without an answer was cut off by a kill: neither step happened, or the first, or both.

``explain`` looks for an order of all steps, one after the other, in which every answer is the one
that was given (Wing and Gong's search, with the states already tried left out).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Answer(StrEnum):
    """What an attempt was answered."""

    ACCEPTED = "accepted"
    WRONG = "wrong"
    ALREADY_ACCEPTED = "OTP_ALREADY_ACCEPTED"
    EXHAUSTED = "OTP_ATTEMPTS_EXHAUSTED"
    SUPERSEDED = "OTP_SUPERSEDED"
    WAIT = "RATE_LIMITED"
    """The route's attempts are used up and being compared; nothing was done."""


class Kind(Enum):
    """What may happen to a process."""

    ATTEMPT = "attempt"
    SUPERSEDE = "a newer process of the contact starts"


@dataclass(frozen=True, slots=True)
class Happening:
    """Something asked for at ``sent`` and answered at ``done``; None when no answer came.

    ``guess`` is the generation whose code was tried, None for a code never sent.
    """

    kind: Kind
    sent: int
    done: int | None
    guess: int | None = None
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """The type's settings: attempts in all, and on each route in order."""

    max_attempts: int
    route_attempts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class State:
    """Where a process stands. ``end`` is the answer that later attempts get."""

    end: Answer | None = None
    attempts: int = 0
    route: int = 0
    route_attempts: int = 0
    open: int = 0

    def counted(self, rules: Rules) -> State | Answer:
        """The state after an attempt was counted, or why it is not."""
        if self.end is not None:
            return self.end
        if self.attempts >= rules.max_attempts:
            return Answer.EXHAUSTED
        if self.open and self.is_to_move_on(rules):
            return Answer.WAIT
        here = self.moved() if self.is_to_move_on(rules) else self
        return replace(
            here,
            attempts=here.attempts + 1,
            route_attempts=here.route_attempts + 1,
            open=here.open + 1,
        )

    def is_to_move_on(self, rules: Rules) -> bool:
        """Whether the route gives no more attempts, and there is a next one."""
        last = self.route + 1 >= len(rules.route_attempts)
        return not last and self.route_attempts >= rules.route_attempts[self.route]

    def moved(self) -> State:
        return replace(self, route=self.route + 1, route_attempts=0)

    def settled(self, rules: Rules, *, generation: int, right: bool) -> tuple[State, Answer]:
        """The state after the comparison of an attempt counted in ``generation``, its answer."""
        after = replace(self, open=self.open - 1)
        if right and self.end is None and generation == self.route:
            return replace(after, end=Answer.ALREADY_ACCEPTED, attempts=after.attempts - 1), (
                Answer.ACCEPTED
            )
        if self.end is not None:
            return after, self.end if right else Answer.WRONG
        if after.open:
            return after, Answer.WRONG  # another is still compared, and may be right
        if after.attempts >= rules.max_attempts:
            return replace(after, end=Answer.EXHAUSTED), Answer.WRONG
        return (after.moved() if after.is_to_move_on(rules) else after), Answer.WRONG


UNBORN = -1
"""Nothing is done of a happening yet; counted, it is its generation (0, 1, ...); then OVER."""
OVER = 1_000_000


def explain(rules: Rules, happenings: Sequence[Happening]) -> State | None:
    """The state in which an order that explains everything ends; None when there is none."""
    start = (State(), (UNBORN,) * len(happenings))
    stack, seen = [start], {start}
    while stack:
        state, done = stack.pop()
        if all(d == OVER or h.done is None for d, h in zip(done, happenings, strict=True)):
            return state
        for following in _steps(rules, happenings, state, done):
            if following not in seen:
                seen.add(following)
                stack.append(following)
    return None


def _steps(
    rules: Rules, happenings: Sequence[Happening], state: State, done: tuple[int, ...]
) -> Iterator[tuple[State, tuple[int, ...]]]:
    first_answer = min(
        (h.done for h, d in zip(happenings, done, strict=True) if d != OVER and h.done is not None),
        default=None,
    )
    for i, (happening, progress) in enumerate(zip(happenings, done, strict=True)):
        if progress == OVER or (first_answer is not None and happening.sent > first_answer):
            continue  # whatever was asked after an answer came happened after it
        for after, reached in _advance(rules, happening, state, progress):
            yield after, (*done[:i], reached, *done[i + 1 :])


def _advance(
    rules: Rules, happening: Happening, state: State, progress: int
) -> Iterator[tuple[State, int]]:
    if happening.kind is Kind.SUPERSEDE:
        yield (replace(state, end=Answer.SUPERSEDED) if state.end is None else state), OVER
    elif progress == UNBORN:
        match state.counted(rules):
            case Answer() as refusal:
                if happening.answer in (None, refusal):
                    yield state, OVER
            case counted:
                yield counted, counted.route
    else:
        right = happening.guess == progress
        after, answer = state.settled(rules, generation=progress, right=right)
        if happening.answer in (None, answer):
            yield after, OVER
