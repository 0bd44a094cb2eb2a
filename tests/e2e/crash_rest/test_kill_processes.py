"""kill -9 at random moments: attempts stay counted, one acceptance, no message lost or twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.crash_rest.harness import Harness
from tests.e2e.crash_rest.model import Answer

if TYPE_CHECKING:
    from pathlib import Path

SEEDS = [2026, 2027]
"""Another is drawn by ``python -m tests.e2e.crash_rest.harness``."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_run_over_kills_is_explained(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Harness(tmp_path, seed, contacts=30).run(rounds=3, events=800)
    with capsys.disabled():
        print(f"\n{report.text()}")  # noqa: T201 - whoever sees it fail replays it
    assert report.violations == []
    answers = [one.answer for one in report.history.tries]
    assert min(answers.count(Answer.ACCEPTED), answers.count(Answer.WRONG)) > 10
    assert all(report.cut), "a kill cut nothing off: it proves nothing"
