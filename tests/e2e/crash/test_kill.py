"""kill -9 at random moments: codes are exactly-once, and guesses stay counted (requirement 15)."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import httpx2
import pytest
import trio

from tests.e2e.crash.harness import Report, run
from tests.support.clients import open_app
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

SEEDS = [2024, 2025]
"""Another is drawn by ``python -m tests.e2e.crash.harness``."""
ROUND_S = 60.0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_codes_survive_kills_and_confirm_once(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(tmp_path, seed, rounds=3, devices=50, operations=1000)
    with capsys.disabled():
        print(f"\n{report.text()}")  # noqa: T201 - whoever sees it fail replays it
    assert report.violations == []
    assert_hard(report)


def assert_hard(report: Report) -> None:
    """That the run was worth something: much done, and every kill cut through work."""
    assert len(report.history.issues) + len(report.history.attempts) >= 1000
    assert all(issues + confirms > 0 for issues, confirms in report.kills_in_flight)
    assert sum(attempt.accepted is True for attempt in report.history.attempts) > 50


LIMIT = 60
GUESSES_A_LIFE = 24


class Guesser:
    """Wrong codes against a small budget: how many were sent, and how many were judged."""

    def __init__(self, server: ServerProcess, seed: int) -> None:
        self.server = server
        self.source = Random(f"guesses, seed {seed}")  # noqa: S311 - a schedule
        self.sent = self.judged = self.over_limit = self.events = 0
        self.kill_at: int | None = None

    def event(self) -> None:
        self.events += 1
        if self.events == self.kill_at:
            self.server.kill()

    def dead(self) -> bool:
        return self.kill_at is not None and self.events >= self.kill_at

    async def guess_many(self, count: int, *, kill: bool) -> None:
        self.events = 0
        self.kill_at = self.source.randint(count + 1, 2 * count - 1) if kill else None
        with trio.fail_after(ROUND_S):
            async with open_app(self.server.http_url) as app, trio.open_nursery() as nursery:
                for _ in range(count):
                    nursery.start_soon(self._guess, app.http)

    async def _guess(self, http: httpx2.AsyncClient) -> None:
        code = f"{self.source.randrange(10**10):010}"
        if self.dead():
            return
        self.sent += 1
        self.event()
        try:
            answer = await http.post("/device/otp/confirm", json={"otp": code})
        except httpx2.HTTPError:
            assert self.dead()
            return
        assert answer.status_code in {404, 429}
        self.judged += answer.status_code == 404
        self.over_limit += answer.status_code == 429
        self.event()


@pytest.mark.parametrize("seed", SEEDS)
def test_guesses_stay_counted_over_kills(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\nseed {seed}")  # noqa: T201 - whoever sees it fail replays it
    server = ServerProcess(
        tmp_path,
        device="code_length = 10",
        confirm=f"per_address = [[{LIMIT}, 3600]]\nin_all = [[1000000, 60]]",
    )
    guesser = Guesser(server, seed)
    try:
        for _ in range(2):  # 24 guesses each: not enough to use the budget up
            server.start()
            trio.run(lambda: guesser.guess_many(GUESSES_A_LIFE, kill=True))
            assert guesser.over_limit == 0
        server.start()
        trio.run(lambda: guesser.guess_many(LIMIT, kill=False))
    finally:
        server.kill()
    assert guesser.over_limit > 0
    assert guesser.judged <= LIMIT, "a guess was judged and forgotten"
    assert guesser.sent - guesser.over_limit >= LIMIT, "a guess was counted twice"


def test_a_budget_used_up_stays_used_up(tmp_path: Path) -> None:
    server = ServerProcess(
        tmp_path, confirm="per_address = [[5, 3600]]\nin_all = [[1000000, 60]]"
    ).start()

    async def guess(times: int) -> list[int]:
        with trio.fail_after(ROUND_S):
            async with open_app(server.http_url) as app:
                return [(await app.confirm("000000")).status_code for _ in range(times)]

    try:
        assert trio.run(guess, 3) == [404] * 3
        server.kill()
        server.start()
        assert trio.run(guess, 3) == [404, 404, 429]
        server.kill()
        server.start()
        assert trio.run(guess, 1) == [429]
    finally:
        server.kill()
