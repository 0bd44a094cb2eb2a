"""How long requests took is observed alike, whoever answers them. In virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from otp_server.api.lanes import LATE_S
from otp_server.api.mount import mount
from otp_server.api.web import WebOptions, make_app
from otp_server.telemetry import Metrics
from tests.support.hot_requests import BODY_BYTES_MAX, Calls, HotStage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio.testing import MockClock

TOOK_S = 1.5


def observed(metrics: Metrics) -> Mapping[str, float]:
    """The metric's count and sum."""
    [family] = metrics.http_seconds.collect()
    samples = {sample.name.removeprefix("otp_http_seconds_"): sample for sample in family.samples}
    return {name: samples[name].value for name in ("count", "sum")}


async def take_time(name: str) -> None:
    if name == "judge":
        await trio.sleep(TOOK_S)


async def test_of_the_quart_path(autojump_clock: MockClock) -> None:
    metrics, calls = Metrics(), Calls(before=take_time)
    app = make_app("test", WebOptions(BODY_BYTES_MAX, []), metrics)
    mount(app, calls.operations, None)
    client = app.test_client()
    assert (await client.post("/judge")).status_code == 200
    assert (await client.post("/start", data=b"decode-crash")).status_code == 500
    assert (await client.post("/nothing")).status_code == 404
    assert observed(metrics) == {"count": 3, "sum": pytest.approx(TOOK_S)}


async def test_of_the_hot_path(autojump_clock: MockClock) -> None:
    stage = HotStage()
    stage.calls.before = take_time
    async with trio.open_nursery() as nursery:
        await nursery.start(stage.face.run)
        stage.ask("judge", b"")
        stage.ask("start", b"decode-crash", b"")
        await trio.sleep(2 * TOOK_S)
        assert observed(stage.metrics) == {"count": 3, "sum": pytest.approx(TOOK_S)}
        nursery.cancel_scope.cancel()


async def test_of_who_waited_in_vain(autojump_clock: MockClock) -> None:
    """One answer after ``LATE_S``; what is in flight has none."""
    stage = HotStage()

    async def never(_name: str) -> None:
        await trio.sleep_forever()

    stage.calls.before = never
    async with trio.open_nursery() as nursery:
        await nursery.start(stage.face.run)
        for _ in range(3):  # two calls at once, and one waits
            stage.ask("start", b"")
        await trio.sleep(2 * LATE_S)
        assert observed(stage.metrics) == {"count": 1, "sum": pytest.approx(LATE_S)}
        nursery.cancel_scope.cancel()
