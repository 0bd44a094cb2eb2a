"""Where accounts are not revealed, an e-mail that has one and one that has none take the same time.

Requirement 30. Calls are interleaved in a drawn order, and paired, against a real server with its
real store. All of them are shuffled together, so each has as many of each kind before it: what a
delivery does after its answer falls on all alike. What two known accounts differ by in the same run
is the noise of the machine; a known and an unknown one may not differ by more. That the store is
asked the same is proved without a clock in ``tests/unit/services/test_reset_hidden.py``.
"""

from __future__ import annotations

import statistics
import time
from random import Random
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.server_process import ServerProcess
from tests.support.web_client import WebClient, add_user, open_web_client

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SVC = """
[svc]
reveal_accounts = false
limits = [[1000000, 60]]
calls_per_address = [[1000000, 60]]
sends_per_address = [[1000000, 60]]
sends_in_all = [[1000000, 60]]
attempts_per_address = [[1000000, 60]]
"""
PAIRS = 1000
KNOWN, ALSO_KNOWN, UNKNOWN = "reader@example.com", "writer@example.com", "nobody@example.com"
BEFORE = "before@example.com"
"""A known account asked for before each measured call, which would else feel its predecessor's
delivery: and an unknown one comes behind a known one more often than a known one does."""
EMAILS = (KNOWN, ALSO_KNOWN, UNKNOWN)
TRIM = 0.05
"""The share of the most different pairs at each end that says more of the machine than of us."""
T_MAX = 4.5
"""Beyond it two distributions are said to differ (dudect, TVLA)."""
NOISE_TIMES = 3.0
FAR_END_ROOM = 0.25
ROUNDS = 3
"""What a busy neighbour does is not there in each of them; what we do is."""


def trimmed(times: Sequence[float], others: Sequence[float]) -> list[float]:
    """The differences of the pairs, in order, without the most extreme."""
    differences = sorted(a - b for a, b in zip(times, others, strict=True))
    cut = int(len(differences) * TRIM)
    return differences[cut:-cut]


def t_of(differences: Sequence[float]) -> float:
    """Student's t of the mean difference."""
    spread = statistics.stdev(differences) / len(differences) ** 0.5
    return abs(statistics.fmean(differences)) / spread


def far_end(times: Sequence[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(times, n=100)[98]


def difference(times: dict[str, list[float]]) -> str:
    """What tells the unknown account from the known ones beyond the noise; empty: nothing."""
    noise = t_of(trimmed(times[KNOWN], times[ALSO_KNOWN]))
    for known in (KNOWN, ALSO_KNOWN):
        apart = trimmed(times[known], times[UNKNOWN])
        if t_of(apart) > max(T_MAX, NOISE_TIMES * noise):
            return f"the mean by {statistics.fmean(apart) * 1e6:.0f} us, t {t_of(apart):.1f}"
    low, high = sorted(far_end(times[email]) for email in (KNOWN, ALSO_KNOWN))
    room = max(high - low, FAR_END_ROOM * high)
    unknown = far_end(times[UNKNOWN])
    if not low - room < unknown < high + room:
        return f"the 99th percentile: {unknown * 1e6:.0f} us, not {low * 1e6:.0f}"
    return ""


async def measure(client: WebClient, service: str) -> dict[str, list[float]]:
    """The times of so many calls for each e-mail, in seconds."""
    drawn = Random(f"order of {service}")  # noqa: S311 - to be replayed
    times: dict[str, list[float]] = {email: [] for email in EMAILS}
    proof = {"code": "123456", "secret": "x" * 22} if service == "otp.verify" else {}
    for _ in range(PAIRS):
        for email in drawn.sample(EMAILS, len(EMAILS)):
            asked = {"email": email, "socket_id": client.socket_id, **proof}
            await client.data(service, {**asked, "email": BEFORE})
            begun = time.perf_counter()
            await client.data(service, asked)
            times[email].append(time.perf_counter() - begun)
    return times


@pytest.mark.timeout(600)
def test_known_and_unknown_accounts_take_the_same_time(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server", more=SVC).start()
    try:
        for email in (KNOWN, ALSO_KNOWN, BEFORE):
            add_user(server.config, email, "an old but good password")

        async def ask(service: str) -> dict[str, list[float]]:
            async with open_web_client(server.http_url) as client, client.socket():
                return await measure(client, service)

        for service in ("otp.send", "otp.verify"):
            told = [difference(trio.run(ask, service))]
            while told[-1] and len(told) < ROUNDS:
                told.append(difference(trio.run(ask, service)))
            assert not told[-1], (service, told)
    finally:
        server.kill()
