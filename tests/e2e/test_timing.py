"""A code that is unknown, used or expired is refused with the same words and the same work.

Requirement 51. The proof is deterministic: the store is asked the same things, in the same order
and number, and the answers are the same bytes. A timing figure is printed beside it.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import httpx2
import pytest

from otp_server.core import Passcode
from otp_server.domain.challenge import Route
from otp_server.domain.outcome import Confirmed, Issued, Reason, Refused
from otp_server.services.confirm import Attempt
from otp_server.stores.memory import MemoryStore
from tests.support.clients import ROUTES, open_app, register_in_trio
from tests.support.served import captured_logs, serve
from tests.support.server_process import UNLIMITED_CONFIRMS, ServerProcess
from tests.support.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PAIRS = 400
DEAD = ("unknown", "used", "expired", "superseded", "revoked", "void")


class RecordingStore(MemoryStore):
    """Notes the name of every call."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        super().__init__()

    def __getattribute__(self, name: str) -> object:
        found = super().__getattribute__(name)
        if not name.startswith("_") and callable(found):
            self.calls.append(name)
        return found


class Graveyard:
    """A world with one code of each kind of death."""

    def __init__(self) -> None:
        self.store = RecordingStore()
        self.world = World(store=self.store)

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


@pytest.mark.parametrize("death", DEAD)
async def test_the_store_is_asked_the_same(death: str) -> None:
    graveyard = Graveyard()
    passcode = await graveyard.bury(death)
    graveyard.store.calls.clear()
    outcome = await graveyard.confirm(passcode)
    assert isinstance(outcome, Refused)
    assert outcome.kind.token == "invalid_code"
    assert outcome.retry_after_ms == 0
    expected = {"used": Reason.CONFIRMED}.get(death) or Reason(death)
    assert outcome.reason is expected, "the private reason is still told apart"
    assert graveyard.store.calls == ["count_guesses"]


async def test_the_time_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Interleaved, medians compared. The bound is wide: the proof is the test above."""
    graveyard = Graveyard()
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
    assert max(medians.values()) < 3 * min(medians.values())


async def test_the_answer_is_the_same_bytes(tmp_path: Path) -> None:
    server = ServerProcess(
        tmp_path / "server", device="requests_per_minute = 1000", confirm=UNLIMITED_CONFIRMS
    )
    registered = await register_in_trio(server.config, 1)
    [(_, token)] = registered.devices
    with captured_logs():
        async with (
            serve(server.config) as served,
            open_app(served.http_url, registered.org_key) as app,
        ):

            async def code() -> str:
                bearer = {"Authorization": f"Bearer {token}"}
                body = {"startOtp": True}
                answer = await app.http.post("/device/service", json=body, headers=bearer)
                return str(answer.json()["otp"])

            used = await code()
            assert (await app.confirm(used)).status_code == 200
            superseded = await code()
            await code()
            answers = [
                await app.confirm(otp, route)
                for otp in (used, superseded, "0" * len(used))
                for route in range(len(ROUTES))
            ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert len({shown(answers) for answers in answers}) == 1


def shown(answer: httpx2.Response) -> Sequence[tuple[str, str]]:
    """The headers, but for the one that tells the time."""
    return tuple((name, value) for name, value in answer.headers.items() if name != "date")
