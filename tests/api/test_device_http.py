"""The HTTP side of the device face, through the application (contracts A4, A6; rulings D1-D6)."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import trio

from otp_server.api.device.http import DeviceHttp, DeviceHttpOptions
from otp_server.api.mount import mount
from otp_server.api.web import WebOptions, make_app
from otp_server.app.http import HttpSide
from otp_server.core import panic_on_purpose
from otp_server.domain.address import parse_networks
from otp_server.domain.outcome import Issued
from otp_server.services.tokens import TokenType
from otp_server.stores import open_store
from tests.support.http_stage import client_of, served_over
from tests.support.world import PLENTY, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ROUTES = ["/device/otp/confirm", "/device/otp/confirm/v2", "/device/otp/confirm-quick-session"]
PROBLEM = "application/problem+json"


class Site:
    """The application over a world, and an organisation."""

    client: httpx2.AsyncClient

    def __init__(self, world: World, answer_s: float = 60) -> None:
        self.world = world
        web = WebOptions(65_536, parse_networks(["127.0.0.0/8"]))
        self.draining = False
        self.app = make_app("test", web, world.metrics, draining=lambda: self.draining)
        device = DeviceHttp(
            DeviceHttpOptions(web, 6, 10, answer_s=answer_s),
            issue=world.issue,
            confirm=world.confirm,
            devices=world.devices,
            presence=world.presence,
            tokens=world.tokens,
            clock=world.clock,
            metrics=world.metrics,
        )
        operations = device.operations()
        mount(self.app, operations)
        self.side = HttpSide(self.app, operations, None, world.metrics, lambda: self.draining)
        self.org_key = ""

    def crashes(self) -> float:
        return self.world.metrics.crashes.labels(where="http")._value.get()

    async def code(self, device_id: str | None = None) -> str:
        if device_id is None:
            device_id = (await self.world.devices.add(None, ""))[0].device_id
        [outcome] = await self.world.issue.issue_many([device_id])
        assert isinstance(outcome, Issued)
        return outcome.passcode.reveal()

    async def post(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:  # noqa: ANN401 - JSON
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if path.endswith("/v2"):
            sent.setdefault("X-Org-Key", self.org_key)
        response = await self.client.post(path, json=body, headers=sent)
        assert response.headers["Cache-Control"] == "no-store"
        return response.status_code, response.json(), response.headers


@asynccontextmanager
async def site_over(world: World, answer_s: float = 60) -> AsyncIterator[Site]:
    site = Site(world, answer_s)
    async with client_of(site.side) as site.client:
        yield site


@pytest.fixture(params=["memory:", "sqlite:otp.db"])
async def site(
    request: pytest.FixtureRequest, each_http: None, tmp_path: Path
) -> AsyncIterator[Site]:
    store = await open_store(request.param, tmp_path)
    async with site_over(World(store=store, requests=PLENTY)) as site:
        _, site.org_key = await site.world.devices.add_organisation("Acme")
        yield site
    await store.aclose()


async def test_v1_gives_a_token(site: Site) -> None:
    status, body, headers = await site.post(ROUTES[0], {"otp": await site.code()})
    assert status == 200
    assert headers["Content-Type"] == "application/json"
    assert body.keys() == {"token"}
    assert site.world.tokens.check(body["token"])


async def test_v1_ignores_a_bearer_header(site: Site) -> None:
    status, _, _ = await site.post(ROUTES[0], {"otp": await site.code()}, Authorization="Bearer x")
    assert status == 200  # ruling D4


async def test_v2_links_and_gives_the_key(site: Site) -> None:
    status, body, _ = await site.post(ROUTES[1], {"otp": await site.code()})
    assert status == 200
    assert body.keys() == {"device_key"}
    assert re.fullmatch(r"[a-z]+-[a-z]+-[a-z]+-[a-z]+", body["device_key"])


async def test_quick_session(site: Site) -> None:
    status, body, _ = await site.post(ROUTES[2], {"otp": await site.code()})
    assert status == 200
    assert body.keys() == {"token", "expires_in", "device_key"}
    assert body["expires_in"] == 172_800


@pytest.mark.parametrize("second", ROUTES)
@pytest.mark.parametrize("first", ROUTES)
async def test_exactly_once_among_all_three(site: Site, first: str, second: str) -> None:
    code = await site.code()
    assert (await site.post(first, {"otp": code}))[0] == 200
    status, body, _ = await site.post(second, {"otp": code})
    assert (status, body["error"]) == (404, "invalid_code")


async def test_500_at_once_over_three_routes(site: Site) -> None:
    code = await site.code()
    answers: list[tuple[int, str]] = []

    async def confirm(n: int) -> None:
        status, body, _ = await site.post(ROUTES[n % 3], {"otp": code})
        answers.append((status, body.get("error", "")))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for n in range(500):
                nursery.start_soon(confirm, n)
    assert sorted(answers) == [(200, "")] + [(404, "invalid_code")] * 499


async def test_refusals_read_alike(site: Site) -> None:
    expired = await site.code()
    site.world.clock.shift_ms += 400_000
    used = await site.code()
    device, _ = await site.world.devices.add(None, "")
    superseded = await site.code(device.device_id)
    live = await site.code(device.device_id)
    await site.post(ROUTES[0], {"otp": used})
    unknown = str((int(live) + 1) % 10**6).zfill(6)
    dead = (used, superseded, expired, unknown)
    answers = [await site.post(ROUTES[0], {"otp": otp}) for otp in dead]
    assert [status for status, _, _ in answers] == [404] * 4
    assert all(body == answers[0][1] for _, body, _ in answers)
    for _, _, headers in answers:
        headers.pop("Date")
    assert len({tuple(sorted(headers.items())) for _, _, headers in answers}) == 1


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"otp": "12345"}, "6 to 10 digits"),
        ({"otp": "12345678901"}, "6 to 10 digits"),
        ({"otp": "abcdef"}, "6 to 10 digits"),
        ({"otp": 123456}, "$.otp"),
        ({}, "otp"),
        ([], "object"),
    ],
)
async def test_malformed_bodies(site: Site, route: str, body: object, says: str) -> None:
    status, answer, headers = await site.post(route, body)
    assert (status, answer["error"], headers["Content-Type"]) == (400, "malformed", PROBLEM)
    assert says in answer["message"]
    assert "123456" not in str(answer)


async def test_bodies_that_are_not_json(site: Site) -> None:
    headers = {"Content-Type": "application/json"}
    response = await site.client.post(ROUTES[0], content=b'{"otp": "123456', headers=headers)
    assert response.status_code == 400
    assert b"123456" not in response.content
    response = await site.client.post(ROUTES[0], content=b"otp=123456")
    assert (response.status_code, response.json()["error"]) == (
        415,
        "unsupported_media_type",
    )
    response = await site.client.post(ROUTES[0], content=b" " * 70_000, headers=headers)
    assert (response.status_code, response.json()["error"]) == (413, "too_large")


@pytest.mark.parametrize("opening", [b'{"a":', b"[", b'{"otp":['], ids=["object", "list", "otp"])
async def test_a_body_nested_without_end_is_malformed(site: Site, opening: bytes) -> None:
    _, token = await site.world.devices.add(None, "")
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    headers["X-Org-Key"] = site.org_key
    for route in (*ROUTES, "/device/service"):
        body = opening + 60_000 * b"["
        response = await site.client.post(route, content=body, headers=headers)
        assert (response.status_code, response.json()["error"]) == (400, "malformed")
    assert site.crashes() == 0


TARGETS = ["http://[", "http://[]/", "", "nothing", "x:443", "http:", "//[", "http://[::1]/", "/%"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("host", ["x", "[", "\xff", ""])
async def test_a_target_that_is_none_is_a_problem(site: Site, target: str, host: str) -> None:
    """Straight to the application: no HTTP client would send it."""
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": target,
        "raw_path": target.encode(),
        "query_string": b"",
        "root_path": "",
        "http_version": "1.1",
        "headers": [(b"host", host.encode("latin1"))],
        "client": ("127.0.0.1", 4711),
    }
    sent: list[Any] = []
    events = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        while not events:
            await trio.sleep_forever()
        return events.pop()

    async def send(event: Any) -> None:  # noqa: ANN401 - an ASGI event
        sent.append(event)

    await site.app(scope, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] in (400, 404)
    headers = dict(sent[0]["headers"])
    assert headers[b"content-type"] == PROBLEM.encode()
    assert headers[b"cache-control"] == b"no-store"
    assert site.crashes() == 0


async def test_what_leaves_the_application_is_a_500(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(_request: object) -> None:
        raise RuntimeError("SELECT secret FROM table")

    with monkeypatch.context() as patch:
        patch.setattr(site.app, "handle_request", crash)
        status, body, _ = await site.post("/device/service", {})
    assert (status, body["error"]) == (500, "internal")
    assert "SELECT" not in str(body)
    assert site.crashes() == 1


async def test_a_draining_server_takes_no_new_request(site: Site) -> None:
    site.draining = True
    status, body, headers = await site.post("/device/service", {})
    assert (status, body["error"], headers["Connection"]) == (503, "draining", "close")
    code = await site.code()
    status, body, headers = await site.post(ROUTES[0], {"otp": code})
    if served_over["http"] == "native":  # it is its connection's last, and came in time
        assert (status, headers["Connection"]) == (200, "close")
        return
    assert (status, body["error"], headers["Connection"]) == (503, "draining", "close")
    site.draining = False
    assert (await site.post(ROUTES[0], {"otp": code}))[0] == 200


@pytest.mark.parametrize("key", ["", "wrong", "MTp4"])
async def test_a_wrong_organisation_key(site: Site, key: str) -> None:
    code = await site.code()
    status, body, _ = await site.post(ROUTES[1], {"otp": code}, X_Org_Key=key)
    assert (status, body["error"]) == (401, "unauthorized")
    assert (await site.post(ROUTES[1], {"otp": code}))[0] == 200  # the code was not touched


async def test_a_device_of_another_organisation(site: Site) -> None:
    device, _ = await site.world.devices.add(None, "")
    await site.post(ROUTES[1], {"otp": await site.code(device.device_id)})
    _, other = await site.world.devices.add_organisation("Other")
    code = await site.code(device.device_id)
    status, body, _ = await site.post(ROUTES[1], {"otp": code}, X_Org_Key=other)
    assert (status, body["error"]) == (409, "linked_elsewhere")
    assert (await site.post(ROUTES[1], {"otp": code}))[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_neither_consume_nor_count(site: Site, method: str) -> None:
    code = await site.code()
    for route in ROUTES:
        response = await site.client.request(method, route, json={"otp": code})
        assert response.status_code == 405
        assert response.headers["Allow"] == "POST"
    assert await site.world.store.guesses_since(0) == []
    assert (await site.post(ROUTES[0], {"otp": code}))[0] == 200


async def test_unknown_paths_are_problems(site: Site) -> None:
    response = await site.client.get("/device/otp/nothing")
    assert response.status_code == 404
    assert response.headers["Content-Type"] == PROBLEM
    assert response.json()["type"] == "urn:otp-server:error:not_found"


@pytest.mark.parametrize("where", ["python", "rust"])
async def test_a_crash_is_one_500_and_says_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    async def crash(_attempts: object) -> None:
        if where == "rust":
            panic_on_purpose()
        raise RuntimeError("SELECT secret FROM table")

    with monkeypatch.context() as patch:
        patch.setattr(type(site.world.confirm), "confirm_many", crash)
        status, body, _ = await site.post(ROUTES[0], {"otp": "123456"})
    assert (status, body["error"]) == (500, "internal")
    assert "SELECT" not in str(body)
    assert (await site.post(ROUTES[0], {"otp": await site.code()}))[0] == 200


@pytest.mark.usefixtures("each_http")
async def test_throttling_says_when(tmp_path: Path) -> None:
    async with site_over(World(per_address=[(2, 60_000)])) as site:
        answers = [await site.post(ROUTES[0], {"otp": "999999"}) for _ in range(3)]
        assert [status for status, _, _ in answers] == [404, 404, 429]
        _, body, headers = answers[2]
        assert body["error"] == "rate_limited"
        assert 1 <= int(headers["Retry-After"]) <= 60


@pytest.mark.usefixtures("each_http")
async def test_a_forged_forwarded_header_hits_the_same_limit() -> None:
    """1 000 rotations of the header behind a proxy that appends the true peer (requirement 42)."""
    async with site_over(World(per_address=[(10, 60_000)])) as site:
        statuses = [
            (
                await site.post(
                    ROUTES[0], {"otp": "999999"}, X_Forwarded_For=f"10.9.{n % 250}.1, 8.8.8.8"
                )
            )[0]
            for n in range(1000)
        ]
        assert statuses.count(404) == 10
        assert statuses.count(429) == 990
        victim = await site.post(ROUTES[0], {"otp": "999999"}, X_Forwarded_For="8.8.4.4")
        assert victim[0] == 404


async def test_start_otp(site: Site) -> None:
    _, token = await site.world.devices.add(None, "")
    headers = {"Authorization": f"Bearer {token}"}
    status, body, _ = await site.post("/device/service", {"startOtp": True}, **headers)
    assert status == 200
    assert body.keys() == {"otp", "expires_at_ms"}
    assert body["expires_at_ms"] > site.world.clock.now_ms()
    assert (await site.post(ROUTES[0], {"otp": body["otp"]}))[0] == 200


async def test_start_otp_refusals(site: Site) -> None:
    device, token = await site.world.devices.add(None, "")
    right = {"Authorization": f"Bearer {token}"}
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": token}):
        status, body, answer = await site.post("/device/service", {"startOtp": True}, **headers)
        assert (status, body["error"]) == (401, "unauthorized")
        assert answer["WWW-Authenticate"].startswith("Bearer")
    for wrong in ({"startOtp": False}, {"startOtp": 1}, {}, {"startOta": True}):
        assert (await site.post("/device/service", wrong, **right))[0] == 400
    await site.world.devices.revoke(device.device_id)
    assert (await site.post("/device/service", {"startOtp": True}, **right))[0] == 401


@pytest.mark.usefixtures("each_http")
async def test_start_otp_is_limited_with_the_frames(tmp_path: Path) -> None:
    async with site_over(World(requests=[(2, 60_000)])) as site:
        device, token = await site.world.devices.add(None, "")
        assert site.world.issue.admit(device.device_id) is None  # as a frame would
        headers = {"Authorization": f"Bearer {token}"}
        statuses = [
            (await site.post("/device/service", {"startOtp": True}, **headers))[0] for _ in range(2)
        ]
        assert statuses == [200, 429]


@pytest.mark.usefixtures("each_http")
async def test_start_otp_of_a_stalled_store(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site_over(World(), answer_s=0.5) as site:
        _, token = await site.world.devices.add(None, "")

        async def stall(_batch: object) -> None:
            await trio.sleep_forever()

        monkeypatch.setattr(site.world.store, "issue_device_codes", stall)
        headers = {"Authorization": f"Bearer {token}"}
        status, body, _ = await site.post("/device/service", {"startOtp": True}, **headers)
        assert (status, body["error"]) == (504, "timeout")


@pytest.mark.usefixtures("each_http")
async def test_a_store_that_does_not_read_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site_over(World(), answer_s=0.5) as site:
        device, token = await site.world.devices.add(None, "")
        _, site.org_key = await site.world.devices.add_organisation("Acme")
        api = site.world.tokens.issue(device, TokenType.API)

        async def stall(*_args: object) -> None:
            await trio.sleep_forever()

        for read in ("authenticate_many", "organisation_of_key", "get"):
            monkeypatch.setattr(type(site.world.devices), read, stall)
        site.org_key = "1"
        with trio.fail_after(5):
            headers = {"Authorization": f"Bearer {token}"}
            status, body, _ = await site.post("/device/service", {"startOtp": True}, **headers)
            assert (status, body["error"]) == (504, "timeout")
            status, body, answer = await site.post(ROUTES[1], {"otp": "123456"})
            assert (status, body["error"], answer["Retry-After"]) == (503, "unavailable", "1")
            headers = {"Authorization": f"Bearer {api}"}
            response = await site.client.get("/device/status", headers=headers)
            assert (response.status_code, response.json()["error"]) == (503, "unavailable")


async def test_server_time(site: Site) -> None:
    response = await site.client.get("/device/server-time")
    assert response.json().keys() == {"server_time"}


async def test_status(site: Site) -> None:
    device, _ = await site.world.devices.add(None, "")
    _, api, _ = await site.post(ROUTES[0], {"otp": await site.code(device.device_id)})
    _, quick, _ = await site.post(ROUTES[2], {"otp": await site.code(device.device_id)})

    async def status(token: str, key: str | None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        if key is not None:
            headers["X-Device-Key"] = key
        response = await site.client.get("/device/status", headers=headers)
        return response.status_code, response.json()

    offline = {"device_key": device.device_key, "connected": False, "connectedAt": None}
    assert await status(quick["token"], quick["device_key"]) == (200, offline)
    assert await status(api["token"], device.device_key) == (200, offline)
    assert await status(api["token"], None) == (200, offline)  # v1 never told the key
    assert (await status(quick["token"], None))[0] == 401
    assert (await status(quick["token"], "a-b-c-d"))[0] == 401
    assert (await status("wrong", device.device_key))[0] == 401
    site.world.presence.arrived(device.device_id, 1)
    code, body = await status(api["token"], None)
    assert (code, body["connected"]) == (200, True)
    assert body["connectedAt"] == site.world.clock.now_ms() // 1000
    await site.world.devices.revoke(device.device_id)
    assert (await status(api["token"], None))[0] == 401
