"""500 parallel confirms of one code over the three routes: one success (requirements 13, 52)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from otp_server import app as composition
from otp_server.api.web import WebOptions, make_app
from otp_server.clock import SteadyClock
from otp_server.config import load_config, resolve_keys
from otp_server.domain.outcome import Issued
from otp_server.stores import open_store
from otp_server.telemetry import Metrics
from tests.support.clients import ROUTES, ask, connect, device_key_of, open_app
from tests.support.server_process import CONFIG, UNLIMITED_CONFIRMS, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Post = Callable[[str, int], Awaitable[tuple[int, dict[str, Any]]]]

CALLS = 500
DEADLINE_S = 60.0


async def race(code: str, post: Post) -> dict[str, Any]:
    """All at once; the winner's answer, once every other one is known to be the same refusal."""
    answers: list[tuple[int, dict[str, Any]]] = []

    async def call(n: int) -> None:
        answers.append(await post(code, n % len(ROUTES)))

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            for n in range(CALLS):
                nursery.start_soon(call, n)
    assert Counter(status for status, _ in answers) == {200: 1, 404: CALLS - 1}
    losers = {msgspec.json.encode(body) for status, body in answers if status == 404}
    assert len(losers) == 1
    assert msgspec.json.decode(losers.pop())["error"] == "invalid_code"
    [winner] = [body for status, body in answers if status == 200]
    return winner


@pytest.mark.parametrize("url", ["memory:", "sqlite:otp.db"])
async def test_one_winner_in_process(url: str, tmp_path: Path) -> None:
    file = tmp_path / "otp-server.toml"
    file.write_text(
        CONFIG.format(data_dir=tmp_path, device="", http="", confirm=UNLIMITED_CONFIRMS)
    )
    config = load_config(file, {})
    keys = resolve_keys(config)
    store = await open_store(url, tmp_path)
    services = composition.Services(config, keys, store, SteadyClock())
    web, metrics = WebOptions(65536, []), Metrics()
    app = make_app("http", web, metrics)
    composition._device_http(config, services, web, metrics).mount(app)
    client = app.test_client()
    _, org_key = await services.devices.add_organisation("an app")

    async def post(code: str, route: int) -> tuple[int, dict[str, Any]]:
        headers = {"X-Org-Key": org_key} if route == 1 else {}
        answer = await client.post(ROUTES[route], json={"otp": code}, headers=headers)
        return answer.status_code, await answer.get_json()

    device, _ = await services.devices.add(None, "")
    try:
        for _ in range(2):  # the second code of the device is as good as the first
            [issued] = await services.issue.issue_many([device.device_id])
            assert isinstance(issued, Issued)
            winner = await race(issued.passcode.reveal(), post)
            assert device_key_of(winner) == device.device_key
    finally:
        await store.aclose()
    assert b'outcome="confirmed"' in metrics.render()


@pytest.fixture(scope="module")
def device_token(running_server: ServerProcess) -> str:
    return running_server.add_device()[1]


async def test_one_winner_over_sockets(running_server: ServerProcess, device_token: str) -> None:
    org_key = running_server.add_org("racing app")
    async with (
        open_app(running_server.http_url, org_key, connections=CALLS) as app,
        connect(running_server.device_url, device_token) as device,
    ):

        async def post(code: str, route: int) -> tuple[int, dict[str, Any]]:
            answer = await app.confirm(code, route)
            return answer.status_code, answer.json()

        keys = set()
        for _ in range(2):
            answer = await ask(device)
            assert not answer.error
            keys.add(device_key_of(await race(answer.otp, post)))
    assert len(keys) == 1
