"""The judge judges: it explains what a correct server does, and nothing else."""

from __future__ import annotations

import pytest

from tests.e2e.crash_rest.model import Answer, Happening, Kind, Rules, explain

RULES = Rules(max_attempts=3, route_attempts=(1, 3))
A, W, X = Answer.ACCEPTED, Answer.WRONG, Answer.EXHAUSTED


def attempt(sent: int, done: int | None, guess: int | None, answer: Answer | None) -> Happening:
    return Happening(Kind.ATTEMPT, sent, done, guess, answer)


GOOD = {
    "right at once": [attempt(1, 2, 0, A)],
    "twice, one after the other": [
        attempt(1, 2, 0, A),
        attempt(3, 4, 0, Answer.ALREADY_ACCEPTED),
    ],
    "twice at once": [attempt(1, 4, 0, Answer.ALREADY_ACCEPTED), attempt(2, 3, 0, A)],
    "wrong, then the new code": [attempt(1, 2, None, W), attempt(3, 4, 1, A)],
    "wrong, then the old code": [attempt(1, 2, None, W), attempt(3, 4, 0, W)],
    "used up": [
        attempt(1, 2, None, W),
        attempt(3, 4, None, W),
        attempt(5, 6, None, W),
        attempt(7, 8, 1, X),
    ],
    "right on the last": [attempt(1, 2, None, W), attempt(3, 4, None, W), attempt(5, 6, 1, A)],
    "right while the last wrong one is compared": [
        attempt(1, 2, None, W),
        attempt(3, 6, None, W),
        attempt(4, 5, 1, A),
    ],
    "cut off and accepted": [
        attempt(1, None, 0, None),
        attempt(2, 3, 0, Answer.ALREADY_ACCEPTED),
    ],
    "cut off and not counted": [attempt(1, None, 0, None), attempt(2, 3, 0, A)],
    "cut off and counted": [
        attempt(1, None, None, None),
        attempt(2, 3, None, W),
        attempt(4, 5, None, W),
        attempt(6, 7, 1, X),
    ],
    "made to wait while the route's last one is compared": [
        attempt(1, 4, None, W),
        attempt(2, 3, 0, Answer.WAIT),
        attempt(5, 6, 1, A),
    ],
    "made to wait while the right one is compared": [
        attempt(1, 4, 0, A),
        attempt(2, 3, 0, Answer.WAIT),
    ],
    "made to wait by one that was cut off": [
        attempt(1, None, None, None),
        attempt(2, 3, 0, Answer.WAIT),
        attempt(4, 5, 1, A),
    ],
    "superseded": [Happening(Kind.SUPERSEDE, 1, 2), attempt(3, 4, 0, Answer.SUPERSEDED)],
    "superseded, perhaps": [Happening(Kind.SUPERSEDE, 1, None), attempt(3, 4, 0, A)],
}
BAD = {
    "accepted twice": [attempt(1, 2, 0, A), attempt(3, 4, 0, A)],
    "a wrong code accepted": [attempt(1, 2, None, A)],
    "the old code accepted": [attempt(1, 2, None, W), attempt(3, 4, 0, A)],
    "a right code refused": [attempt(1, 2, 0, W)],
    "one attempt too many": [
        attempt(1, 2, None, W),
        attempt(3, 4, None, W),
        attempt(5, 6, None, W),
        attempt(7, 8, 1, A),
    ],
    "an attempt un-counted": [
        attempt(1, 2, None, W),
        attempt(3, 4, None, W),
        attempt(5, 6, None, W),
        attempt(7, 8, None, W),
    ],
    "made to wait for nothing": [attempt(1, 2, 0, Answer.WAIT)],
    "made to wait on the last route": [
        attempt(1, 2, None, W),
        attempt(3, 6, None, W),
        attempt(4, 5, None, Answer.WAIT),
    ],
    "two compared on a route that gives one": [attempt(1, 4, None, W), attempt(2, 3, 0, A)],
    "accepted by nobody": [attempt(1, 2, 0, Answer.ALREADY_ACCEPTED)],
    "accepted after the newer process": [Happening(Kind.SUPERSEDE, 1, 2), attempt(3, 4, 0, A)],
    "refused as used up too early": [attempt(1, 2, None, W), attempt(3, 4, 1, X)],
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD.keys())
def test_what_a_correct_server_does_is_explained(history: list[Happening]) -> None:
    assert explain(RULES, history) is not None


@pytest.mark.parametrize("history", BAD.values(), ids=BAD.keys())
def test_what_no_correct_server_does_is_not(history: list[Happening]) -> None:
    assert explain(RULES, history) is None
