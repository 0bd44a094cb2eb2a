"""When the rounds over a scenario's servers end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.suite.processes import Running, start
from bench.suite.rounds import Ledger, Plan, interleave

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = "import signal; print('listening port=1', flush=True); signal.pause()"


@pytest.fixture
def resting(tmp_path: Path) -> Iterator[Running]:
    """A server that rests; interleave waits until it does."""
    log = tmp_path / "log"
    log.touch()
    with start("floor", [sys.executable, "-c", SERVER], log) as server:
        yield server


def answer(other_s: float) -> dict[str, Any]:
    figures = dict.fromkeys(("p50", "p90", "p99", "p99.9", "max"), 1.0)
    return {
        "mode": "closed",
        "answers": 100,
        "faults": {},
        "window_s": 1.0,
        "msg_per_s": 100.0,
        "latency_us": figures,
        "generator_late_us": figures,
        "histogram": [],
        "cpu": {"watched_s": 0.1, "generator_s": 0.1, "other_s": other_s, "steal_s": 0.0},
    }


@pytest.mark.parametrize(
    ("other_s", "decided_at", "passes"),
    [(0.0, 99, 3), (0.5, 99, 5), (0.5, 1, 2), (0.5, 3, 3), (0.0, 4, 3)],
    ids=["quiet", "disturbed", "decided at once", "decided late", "quiet before"],
)
def test_passes_end(resting: Running, other_s: float, decided_at: int, passes: int) -> None:
    ledger = Ledger()
    ledger.is_decided = lambda name: name == "rr-64" and len(ledger.records) >= decided_at
    plan = Plan(passes=3, extra=2, decided=2)
    interleave(ledger, plan, "rr-64", {"floor": resting}, lambda _: (answer(other_s), {}))
    assert len(ledger.records) == passes
