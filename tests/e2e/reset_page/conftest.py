"""What the tests of the page share: a running server, a running Chromium, and a visit.

Screenshots are kept in the folder that ``OTP_TEST_ARTEFACTS`` names, else in the test's own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.browser import Browser
from tests.support.chromium import Chromium, chromium
from tests.support.reset_stage import ResetStage, open_reset_stage
from tests.support.reset_visits import Visit, visits

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ResetStage]:
    with open_reset_stage(tmp_path_factory.mktemp("reset")) as stage:
        yield stage


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = chromium()
    with (
        Chromium(program, tmp_path_factory.mktemp("chromium")) as running,
        Browser(running.url) as browser,
    ):
        yield browser


@pytest.fixture
def visit(browser: Browser, stage: ResetStage) -> Iterator[Visit]:
    with visits(browser, stage.url) as visit:
        yield visit


@pytest.fixture
def artefacts(tmp_path: Path) -> Path:
    return Path(os.environ.get("OTP_TEST_ARTEFACTS") or tmp_path)
