"""A code that is unknown, used or expired is refused with the same words and the same work.

Requirement 51. The proof is deterministic: the store is asked the same things, in the same order
and number, and the answers are the same bytes. A timing figure is printed beside it.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, cast

import httpx2
import pytest

from otp_server.clock import SteadyClock
from otp_server.core import Passcode
from otp_server.domain.challenge import Route
from otp_server.domain.outcome import Confirmed, Issued, Reason, Refused
from otp_server.services.confirm import Attempt
from otp_server.stores import open_store
from tests.support.clients import ROUTES, open_app, register_in_trio
from tests.support.served import captured_logs, serve
from tests.support.server_process import UNLIMITED_CONFIRMS, ServerProcess
from tests.support.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from otp_server.services.ports import Store

PAIRS = 400
DEAD = ("unknown", "used", "expired", "superseded", "revoked", "void")


class RecordingStore:
    """Notes the name of every call to a store."""

    def __init__(self, store: Store) -> None:
        self.calls: list[str] = []
        self._store = store

    def __getattr__(self, name: str) -> object:
        self.calls.append(name)
        return getattr(self._store, name)


class Graveyard:
    """A world with one code of each kind of death."""

    def __init__(self, store: Store) -> None:
        self.store = RecordingStore(store)
        self.world = World(store=cast("Store", self.store))

    async def bury(self, death: str) -> Passcode:
        world = self.world
        device, _ = await world.devices.add(None, "")
        if death == "unknown":
            return Passcode.from_text("7" * 9, "numeric")
        [issued] = await world.issue.issue_many([device.device_id])
        assert isinstance(issued, Issued)
        if death == "used":
            assert isinstance(await self.confirm(issued.passcode), Confirmed)
        elif death == "expired":
            world.clock.shift_ms += 400_000
        elif death == "superseded":
            await world.issue.issue_many([device.device_id])
        elif death == "revoked":
            await world.devices.revoke(device.device_id)
        elif death == "void":
            await world.issue.void([issued.challenge_id])
        return issued.passcode

    async def confirm(self, passcode: Passcode) -> Confirmed | Refused:
        attempt = Attempt(passcode, Route.V1, "192.0.2.1")
        [outcome] = await self.world.confirm.confirm_many([attempt])
        return outcome


@pytest.fixture(params=["memory:", "sqlite:otp.db"])
async def graveyard(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Graveyard]:
    store = await open_store(request.param, tmp_path)
    yield Graveyard(store)
    await store.aclose()


@pytest.mark.parametrize("death", DEAD)
async def test_the_store_is_asked_the_same(graveyard: Graveyard, death: str) -> None:
    passcode = await graveyard.bury(death)
    graveyard.store.calls.clear()
    outcome = await graveyard.confirm(passcode)
    assert isinstance(outcome, Refused)
    assert outcome.kind.token == "invalid_code"
    assert outcome.retry_after_ms == 0
    expected = {"used": Reason.CONFIRMED}.get(death) or Reason(death)
    assert outcome.reason is expected, "the private reason is still told apart"
    assert graveyard.store.calls == ["count_guesses"]


async def test_the_time_is_printed(
    graveyard: Graveyard, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interleaved. A figure to look at: the proof is the test above."""
    codes = {death: await graveyard.bury(death) for death in DEAD if death != "expired"}
    codes["expired"] = await graveyard.bury("expired")  # last: it moves the clock
    taken: dict[str, list[int]] = {death: [] for death in codes}
    for n in range(PAIRS):
        for death in list(codes)[n % len(codes) :] + list(codes)[: n % len(codes)]:
            begun = time.perf_counter_ns()
            await graveyard.confirm(codes[death])
            taken[death].append(time.perf_counter_ns() - begun)
    medians = {death: statistics.median(times) / 1000 for death, times in taken.items()}
    with capsys.disabled():
        told = ", ".join(f"{death} {median:.1f}" for death, median in medians.items())
        print(f"\nmedian of {PAIRS} refusals, µs: {told}")  # noqa: T201 - the figure


async def test_the_answer_is_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ServerProcess(
        tmp_path / "server", device="requests_per_minute = 1000", confirm=UNLIMITED_CONFIRMS
    )
    registered = await register_in_trio(server.config, 2)
    [(_, token), (_, other)] = registered.devices
    now_ms = SteadyClock.now_ms
    with captured_logs():
        async with (
            serve(server.config) as served,
            open_app(served.http_url, registered.org_key) as app,
        ):

            async def code(token: str = token) -> str:
                bearer = {"Authorization": f"Bearer {token}"}
                body = {"startOtp": True}
                answer = await app.http.post("/device/service", json=body, headers=bearer)
                return str(answer.json()["otp"])

            expired = await code(other)
            monkeypatch.setattr(SteadyClock, "now_ms", lambda clock: now_ms(clock) + 400_000)
            used = await code()
            assert (await app.confirm(used)).status_code == 200
            superseded = await code()
            await code()
            answers = [
                await app.confirm(otp, route)
                for otp in (used, superseded, expired, "0" * len(used))
                for route in range(len(ROUTES))
            ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert len({shown(answers) for answers in answers}) == 1


def shown(answer: httpx2.Response) -> Sequence[tuple[str, str]]:
    """The headers, but for the one that tells the time."""
    return tuple((name, value) for name, value in answer.headers.items() if name != "date")
