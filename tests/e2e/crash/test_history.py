"""The judge must see each broken promise, and let pass what a crash makes legal."""

from __future__ import annotations

import pytest

from tests.e2e.crash.history import Attempt, History, Issue
from tests.e2e.crash.schedule import plan

END_MS = 1_000_000


def code(text: str, sent: int, done: int | None, device: str = "d") -> Issue:
    return Issue(device, sent, done, text if done is not None else "", END_MS)


def tried(
    text: str, sent: int, done: int | None, *, won: bool | None, at_ms: int = 0, by: str = "d"
) -> Attempt:
    return Attempt(text, sent, at_ms, done, at_ms, won, by if won else "")


def judge(*events: Issue | Attempt) -> list[str]:
    history = History(
        issues=[event for event in events if isinstance(event, Issue)],
        attempts=[event for event in events if isinstance(event, Attempt)],
    )
    return history.violations()


GIVEN = code("1", 1, 2)

LEGAL = {
    "confirmed once": [GIVEN, tried("1", 3, 4, won=True), tried("1", 5, 6, won=False)],
    "two at once, one wins": [GIVEN, tried("1", 3, 6, won=False), tried("1", 4, 5, won=True)],
    "a lost answer spent it": [GIVEN, tried("1", 3, None, won=None), tried("1", 9, 10, won=False)],
    "a lost request left it": [GIVEN, tried("1", 3, None, won=None), tried("1", 9, 10, won=True)],
    "superseded": [GIVEN, code("2", 3, 4), tried("1", 5, 6, won=False), tried("2", 7, 8, won=True)],
    "superseded by a request that was cut off": [
        GIVEN,
        code("", 3, None),
        tried("1", 5, 6, won=False),
    ],
    "not superseded by a request that was cut off": [
        GIVEN,
        code("", 3, None),
        tried("1", 5, 6, won=True),
    ],
    "expired": [GIVEN, tried("1", 3, 4, won=False, at_ms=END_MS)],
    "a guess of no code": [tried("9", 1, 2, won=False)],
    "the same digits for two devices, one after the other": [
        GIVEN,
        tried("1", 3, 4, won=True),
        code("1", 5, 6, "e"),
        tried("1", 7, 8, won=True, by="e"),
    ],
}

BROKEN = {
    "lost": ([GIVEN, tried("1", 3, 4, won=False)], "refused though it lived"),
    "refused before anything could end it": (
        [GIVEN, tried("1", 3, 4, won=False), code("2", 5, 6), tried("2", 7, 8, won=True)],
        "refused though it lived",
    ),
    "twice": (
        [GIVEN, tried("1", 3, 4, won=True), tried("1", 5, 6, won=True)],
        "confirmed 2 times",
    ),
    "twice around a crash": (
        [
            GIVEN,
            tried("1", 3, 4, won=True),
            tried("1", 5, None, won=None),
            tried("1", 7, 8, won=True),
        ],
        "confirmed 2 times",
    ),
    "revived": (
        [
            GIVEN,
            tried("1", 3, None, won=None),
            tried("1", 5, 6, won=False),
            tried("1", 7, 8, won=True),
        ],
        "refused and confirmed later",
    ),
    "superseded and confirmed": (
        [GIVEN, code("2", 3, 4), tried("1", 5, 6, won=True), tried("2", 7, 8, won=True)],
        "superseded it",
    ),
    "for another device": ([GIVEN, tried("1", 3, 4, won=True, by="e")], "confirmed as e"),
    "after its end": ([GIVEN, tried("1", 3, 4, won=True, at_ms=2 * END_MS)], "after its end"),
    "never given": ([tried("9", 1, 2, won=True)], "never given"),
    "never tried": ([GIVEN, tried("1", 3, None, won=None)], "never tried"),
}


@pytest.mark.parametrize("events", LEGAL.values(), ids=LEGAL)
def test_legal(events: list[Issue | Attempt]) -> None:
    assert judge(*events) == []


@pytest.mark.parametrize(("events", "why"), BROKEN.values(), ids=BROKEN)
def test_broken(events: list[Issue | Attempt], why: str) -> None:
    assert any(why in violation for violation in judge(*events))


def test_oddities_are_violations() -> None:
    assert History(oddities=["1 was answered 500"]).violations() == ["1 was answered 500"]


def test_a_seed_is_a_schedule() -> None:
    first = plan(5, rounds=3, devices=4, operations=100)
    assert first == plan(5, rounds=3, devices=4, operations=100)
    assert first != plan(6, rounds=3, devices=4, operations=100)
    assert len({round_.kill_at for round_ in first}) > 1
