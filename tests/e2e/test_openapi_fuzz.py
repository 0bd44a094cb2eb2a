"""The OpenAPI document and the server agree, by schemathesis with all its checks.

It makes requests of the document, good and bad ones, and compares each answer with it. Each run has
a fixed seed and a fixed number of examples; ``make fuzz-http`` draws a new seed.

A connection that has asked for anything else than hot operations is Hypercorn's from then on. So
some runs give each request a connection of its own: then the hot ones are the reactor's. The others
keep theirs, and mix them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.openapi import fuzzing
from tests.e2e.openapi.fuzzing import EACH_ALONE, MIXED, SETTINGS, Target, open_target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_S = 110
FIXED_SEED = 20260731
SEEDS = [(401755698, 18), (1, 8), (2, 8)]
"""Seeds and how many examples of each operation: 401755698 finds a head that is too large."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with open_target(tmp_path_factory.mktemp("fuzzed")) as opened:
        yield opened


def fuzz(target: Target, folder: Path, settings: str, *options: str, seed: int = FIXED_SEED) -> str:
    """What schemathesis said, when it found nothing."""
    options = ("--seed", str(seed), *options)
    done = fuzzing.fuzz(target, folder, settings, *options, timeout_s=WAIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_with_a_token(target: Target, tmp_path: Path) -> None:
    options = ("--max-examples", "5", "--exclude-tag", "svc")
    said = fuzz(target, tmp_path, target.settings(each_alone=True), *options)
    assert "Tested: 30" in said


def test_the_services_of_web_clients(target: Target, tmp_path: Path) -> None:
    options = ("--max-examples", "5", "--include-tag", "svc")
    said = fuzz(target, tmp_path, target.settings(each_alone=True), *options)
    assert "Tested: 10" in said


@pytest.mark.parametrize(("seed", "examples"), SEEDS)
def test_on_connections_that_are_kept(
    seed: int, examples: int, target: Target, tmp_path: Path
) -> None:
    options = ("--max-examples", str(examples), *MIXED)
    said = fuzz(target, tmp_path, target.settings(), *options, seed=seed)
    assert "Tested: 40" in said


def test_without_a_token(target: Target, tmp_path: Path) -> None:
    options = ("--phases", "coverage", "--exclude-tag", "svc")
    fuzz(target, tmp_path, EACH_ALONE + SETTINGS, *options)
