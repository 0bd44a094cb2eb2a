"""kill -9 at random moments under many devices and apps; then every promise is checked.

    python -m tests.e2e.crash.harness --seed N --rounds R

prints its seed, what it did and what was broken, and exits 1 when something was. The same seed
replays the same schedule (``schedule.py``); what the server had done of it when it was killed is in
the history (``history.py``).
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import trio

from otp_server.simulator.device import SimulatedDevice, SimulationError
from tests.e2e.crash.history import Attempt, History, Issue
from tests.e2e.crash.schedule import STALE_SHARE, Act, Round, Step, plan
from tests.support.clients import App, Registered, connect, device_key_of, open_app, register
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Sequence

DEVICE = """
code_length = 10
code_ttl_s = 600
guess_risk = 0.9
requests_per_minute = 1000000
"""
CONFIRM = """
per_address = [[20000, 60]]
per_organisation = [[20000, 60]]
in_all = [[20000, 60]]
"""
ROUND_S = 60.0
"""No round and no check lasts longer; what does is a hang."""
TRIED_AT_ONCE = 32
_OK, _REFUSED = 200, 404


@dataclass(frozen=True)
class Report:
    """What a run did and what it found."""

    seed: int
    history: History
    kills_in_flight: list[tuple[int, int]]
    """For each crash: issues and confirms that were never answered."""
    violations: list[str]

    def text(self) -> str:
        history = self.history
        confirmed = sum(attempt.accepted is True for attempt in history.attempts)
        done = (
            f"seed {self.seed}: {len(history.issues)} code requests, {len(history.codes())} codes, "
            f"{len(history.attempts)} confirm attempts, {confirmed} confirmed"
        )
        cut = ", ".join(f"{issues}+{confirms}" for issues, confirms in self.kills_in_flight)
        broken = [f"BROKEN {violation}" for violation in self.violations]
        return "\n".join([done, f"cut off by each kill, requests+confirms: {cut}", *broken])


class Harness:
    """One run: a server, its devices, its history."""

    def __init__(self, folder: Path, *, devices: int) -> None:
        self.server = ServerProcess(folder, device=DEVICE, confirm=CONFIRM)
        self.registered: Registered = register(self.server.config, devices)
        self.history = History()
        self._killed = False
        self._kill_at = 0

    # --- the clients ----------------------------------------------------------------------

    def _event(self) -> int:
        now = self.history.tick()
        if not self._killed and now >= self._kill_at:
            self._killed = True
            self.server.kill()
        return now

    async def _issue(self, name: str, device: SimulatedDevice, count: int = 1) -> None:
        """Ask ``count`` times, then read the answers. A broken connection leaves them unknown."""
        asked: list[Issue] = []
        try:
            for _ in range(count):
                if self._killed:
                    break
                asked.append(Issue(name, self._event()))
                self.history.issues.append(asked[-1])
                await device.ask()
            for issue in asked:
                answer = await device.answer()
                if answer.error:
                    self.history.oddities.append(f"{name} was refused a code: {answer.error}")
                    continue
                issue.code, issue.expires_at_ms = answer.otp, answer.expires_at_ms
                issue.done = self._event()
        except SimulationError:
            if not self._killed:
                raise

    async def _confirm(self, app: App, code: str, route: int, *, calm: bool = False) -> None:
        """Try a code; ``calm`` when no kill is due."""
        if self._killed and not calm:
            return
        attempt = Attempt(code, self.history.tick() if calm else self._event(), _now_ms())
        self.history.attempts.append(attempt)
        try:
            response = await app.confirm(code, route)
        except httpx2.HTTPError:
            if calm or not self._killed:
                raise
            return
        attempt.done_ms = _now_ms()
        attempt.done = self.history.tick() if calm else self._event()
        attempt.accepted = response.status_code == _OK
        if attempt.accepted:
            attempt.device = self.registered.device_keys[device_key_of(response.json())]
        elif response.status_code != _REFUSED:
            self.history.oddities.append(f"{code} was answered {response.status_code}")

    async def _act(self, name: str, device: SimulatedDevice, app: App, act: Act) -> None:
        own = [issue.code for issue in self.history.codes() if issue.device == name]
        first, second = act.routes
        if act.step is Step.GUESS:
            await self._confirm(app, f"{act.pick:010}", first)
        elif act.step is Step.PIPELINE:
            await self._issue(name, device, 2)
        elif act.step is Step.ISSUE or not own:
            await self._issue(name, device)
        elif act.step is Step.CONFIRM:
            await self._confirm(app, own[-1], first)
        elif act.step is Step.STALE:
            await self._confirm(app, own[act.pick % len(own)], first)
        else:
            async with trio.open_nursery() as both:
                both.start_soon(self._confirm, app, own[-1], first)
                if act.step is Step.RACE:
                    both.start_soon(self._issue, name, device)
                else:
                    both.start_soon(self._confirm, app, own[-1], second)

    # --- rounds ---------------------------------------------------------------------------

    async def live_and_die(self, round_: Round) -> tuple[int, int]:
        """One life of a started server; the issues and confirms that its end left unknown."""
        before = len(self.history.issues), len(self.history.attempts)
        self._killed = False
        async with (
            open_app(self.server.http_url, self.registered.org_key) as app,
            AsyncExitStack() as open_devices,
        ):
            devices = [
                await open_devices.enter_async_context(connect(self.server.device_url, token))
                for _, token in self.registered.devices
            ]
            self._kill_at = self.history.now + round_.kill_at
            async with trio.open_nursery() as nursery:
                for (name, _), device, script in zip(
                    self.registered.devices, devices, round_.scripts, strict=True
                ):
                    nursery.start_soon(self._play, name, device, app, script)
        assert self._killed, "the scripts ended before the kill: the plan is too short"
        return (
            sum(issue.done is None for issue in self.history.issues[before[0] :]),
            sum(attempt.done is None for attempt in self.history.attempts[before[1] :]),
        )

    async def _play(
        self, name: str, device: SimulatedDevice, app: App, script: Sequence[Act]
    ) -> None:
        for act in script:
            if self._killed:
                return
            await self._act(name, device, app, act)

    async def try_all(self, codes: Sequence[str]) -> None:
        """Try codes on a calm server: once where the outcome was known before, else twice.

        Twice is one after the other, or both at once.
        """
        limiter = trio.CapacityLimiter(TRIED_AT_ONCE)
        known = {attempt.code for attempt in self.history.attempts if attempt.done is not None}

        async def try_one(app: App, n: int, code: str) -> None:
            async with limiter:
                if code in known:
                    await self._try_calmly(app, code, n % 3)
                elif n % 2:
                    async with trio.open_nursery() as both:
                        for route in (n % 3, (n + 1) % 3):
                            both.start_soon(self._try_calmly, app, code, route)
                else:
                    for route in (n % 3, (n + 1) % 3):
                        await self._try_calmly(app, code, route)

        async with (
            open_app(self.server.http_url, self.registered.org_key) as app,
            trio.open_nursery() as nursery,
        ):
            for n, code in enumerate(codes):
                nursery.start_soon(try_one, app, n, code)

    async def _try_calmly(self, app: App, code: str, route: int) -> None:
        await self._confirm(app, code, route, calm=True)

    def untried(self, round_: Round) -> list[str]:
        """Codes nobody has tried yet, but for some that are kept for a later crash."""
        tried = {attempt.code for attempt in self.history.attempts}
        return [
            issue.code
            for n, issue in enumerate(self.history.codes())
            if issue.code not in tried and n % STALE_SHARE != round_.keep
        ]


def run(folder: Path, seed: int, *, rounds: int, devices: int, operations: int) -> Report:
    """Play the seed's schedule against a server in ``folder`` and judge what it answered."""
    harness = Harness(folder, devices=devices)
    in_flight: list[tuple[int, int]] = []

    async def live(round_: Round) -> None:
        with trio.fail_after(ROUND_S):
            in_flight.append(await harness.live_and_die(round_))

    async def check(codes: Sequence[str]) -> None:
        with trio.fail_after(ROUND_S):
            await harness.try_all(codes)

    try:
        for round_ in plan(seed, rounds=rounds, devices=devices, operations=operations):
            harness.server.start()
            trio.run(live, round_)
            harness.server.start()
            trio.run(check, harness.untried(round_))
            harness.server.kill()
        harness.server.start()
        trio.run(check, [issue.code for issue in harness.history.codes()])
    finally:
        harness.server.kill()
    return Report(seed, harness.history, in_flight, harness.history.violations())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--devices", type=int, default=50)
    parser.add_argument("--operations", type=int, default=1000)
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)  # noqa: T201 - a command prints
    with tempfile.TemporaryDirectory() as folder:
        report = run(
            Path(folder),
            asked.seed,
            rounds=asked.rounds,
            devices=asked.devices,
            operations=asked.operations,
        )
    print(report.text())  # noqa: T201 - a command prints
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
