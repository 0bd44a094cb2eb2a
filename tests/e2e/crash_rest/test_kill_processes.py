"""kill -9 at random moments: attempts stay counted, one acceptance, no message lost or twice."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.e2e.crash_rest.harness import Harness
from tests.e2e.crash_rest.model import Answer

if TYPE_CHECKING:
    from pathlib import Path

FIXED_SEED = 2026


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [FIXED_SEED, None], ids=["fixed-seed", "random-seed"])
def test_every_run_over_kills_is_explained(
    seed: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = secrets.randbelow(2**32) if seed is None else seed
    report = Harness(tmp_path, seed, contacts=30).run(rounds=3, events=800)
    with capsys.disabled():
        print(f"\n{report.text()}")  # noqa: T201 - whoever sees it fail replays it
    assert report.violations == []
    answers = [one.answer for one in report.history.tries]
    assert min(answers.count(Answer.ACCEPTED), answers.count(Answer.WRONG)) > 10
    assert all(report.cut), "a kill cut nothing off: it proves nothing"
