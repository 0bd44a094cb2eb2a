"""kill -9 while a password is set: never between the old one and the new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.e2e.crash_svc.harness import Harness

if TYPE_CHECKING:
    from pathlib import Path

FIXED_SEED = 2028
"""Another is drawn by ``python -m tests.e2e.crash_svc.harness``."""


@pytest.mark.timeout(300)
def test_the_old_password_with_its_code_or_the_new_one_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harness = Harness(tmp_path, FIXED_SEED)
    report = trio.run(harness.run, 10)
    with capsys.disabled():
        print(f"\n{report.text()}")  # noqa: T201 - whoever sees it fail replays it
    assert report.violations == []
    assert report.kept + report.changed == 10
