"""No code, token or key in the database, logs, metrics or error answers (requirements 6, 66, 86).

Codes have ten digits here, so that finding one by chance is out of the question.
"""

from __future__ import annotations

import base64
import socket
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2
import pytest
import trio
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import connect as websocket

from otp_server.core import Keyring, Passcode, encode_frame
from otp_server.domain.challenge import Route
from otp_server.domain.outcome import Issued
from otp_server.services.confirm import Attempt, ConfirmService
from otp_server.services.devices import DeviceService
from otp_server.services.issue import IssueService
from otp_server.wire import device_pb2
from tests.support import server_process
from tests.support.canaries import leaks
from tests.support.clients import ROUTES, register, register_in_trio
from tests.support.clients import connect as connect_device
from tests.support.secret_places import key_bytes, written
from tests.support.served import captured_logs, serve
from tests.support.server_process import ServerProcess
from tests.support.world import World

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

WAIT_S = 20.0
DEVICE = "code_length = 10\nrequests_per_minute = 1000\nguess_risk = 0.9"
CONFIRM = "per_address = [[1000, 60]]\nper_organisation = [[1000, 60]]\nin_all = [[1000, 60]]"
WRONG_CODES = ["4815162342", "2718281828", "3141592653"]
WRONG_TOKENS = ["device-000-1-" + "deadbeef" * 8, "stranger-2-" + "0123456789abcdef" * 4]


class Scenario:
    """Everything a stranger, an app and a device may send; every secret and every error kept."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.registered = register(server.config, 2)
        [(_, self.token), (_, self.other_token)] = self.registered.devices
        self.org_key = self.registered.org_key
        self.secrets: list[str] = [
            self.token,
            self.token.rpartition("-")[2],
            self.other_token,
            self.org_key,
            base64.b64decode(self.org_key + "==").decode().partition(":")[2],
            *WRONG_CODES,
            *WRONG_TOKENS,
        ]
        self.errors = b""

    def play(self) -> None:
        with httpx2.Client(
            base_url=self.server.http_url, timeout=WAIT_S, trust_env=False
        ) as self.http:
            self.confirm_all_ways()
            self.send_garbage_over_http()
        self.send_garbage_over_websocket()
        self.send_garbage_over_tcp()

    def keep(self, answer: httpx2.Response) -> httpx2.Response:
        if answer.is_error:
            self.errors += f"{answer.status_code} {answer.headers}\n".encode() + answer.content
        return answer

    def post(self, path: str, **request: Any) -> httpx2.Response:  # noqa: ANN401 - httpx2's own
        return self.keep(self.http.post(path, **request))

    def code(self) -> str:
        """Over the WebSocket."""
        with websocket(
            self.server.device_url,
            additional_headers={"Authorization": f"Bearer {self.token}"},
            proxy=None,
        ) as connection:
            connection.send(encode_frame(19, b""))
            message = connection.recv(timeout=WAIT_S)
            assert isinstance(message, bytes)
            code = device_pb2.OTPResponse.FromString(message[3:]).otp
        self.secrets.append(code)
        return code

    def start_otp(self) -> str:
        answer = self.post(
            "/device/service",
            json={"startOtp": True},
            headers={"Authorization": f"Bearer {self.token}"},
        )
        self.secrets.append(answer.json()["otp"])
        return self.secrets[-1]

    def confirm_all_ways(self) -> None:
        for n, route in enumerate(ROUTES):
            headers = {"X-Org-Key": self.org_key} if n == 1 else {}
            code = self.code() if n % 2 else self.start_otp()
            for otp, right in ((WRONG_CODES[n], False), (code, True), (code, False)):
                answer = self.post(route, json={"otp": otp}, headers=headers)
                assert answer.is_success is right
                token = answer.json().get("token")
                if token:
                    self.secrets += [token, token.split(".")[2]]
                    self.use(token)

    def use(self, token: str) -> None:
        for headers in (
            {"Authorization": f"Bearer {token}"},
            {"Authorization": f"Bearer {token}", "X-Device-Key": "wrong-wrong-wrong-wrong"},
            {"Authorization": f"Bearer {token}x"},
            {"Authorization": f"Basic {token}"},
        ):
            self.keep(self.http.get("/device/status", headers=headers))

    def send_garbage_over_http(self) -> None:
        code = self.code()  # stays alive
        token = self.token
        jwt = next(secret for secret in self.secrets if secret.startswith("eyJ"))
        as_json = {"Content-Type": "application/json"}
        for body in (
            f'{{"otp": "{code}"',
            f'{{"otp": {code}}}',
            f'{{"otp": ["{code}"]}}',
            f'{{"otp": "{code} {code}"}}',
            f'{{"otp": "{code}x"}}',
            f'{{"otp": "{token}"}}',
            f'{{"otp": "{jwt}"}}',
            f'{{"{code}": "{token}"}}',
            f'"{code}"',
            code,
            f'{{"startOtp": "{token}"}}',
            f'{{"startOtp": true, "{code}": "{token}"}}',
            f'{{"otp": "{code}'.encode() + b"\xff" + token.encode(),
            (code + token) * 2000,
        ):
            for path in (*ROUTES, "/device/service"):
                bearer = {"Authorization": f"Bearer {token}", "X-Org-Key": self.org_key}
                self.post(path, content=body, headers={**as_json, **bearer})
                self.post(path, content=body)
        for key in (token, jwt, self.org_key + "x", code):
            self.post(ROUTES[1], json={"otp": code}, headers={"X-Org-Key": key})
        for method in ("GET", "PUT", "DELETE", "OPTIONS"):
            for path in (ROUTES[0], f"{ROUTES[0]}/{code}", f"/{token}", f"/device/{jwt}"):
                query = {"otp": code, "token": token}
                self.keep(self.http.request(method, path, params=query))
        self.post(f"/device/otp/{code}", json={"otp": code})
        for wrong in WRONG_TOKENS:
            self.post(
                "/device/service",
                json={"startOtp": True},
                headers={"Authorization": f"Bearer {wrong}"},
            )

    def send_garbage_over_websocket(self) -> None:
        code = self.code()
        url = self.server.device_url
        for place, headers in (
            (f"{url}?token={self.token}&otp={code}", {}),
            (f"{url}/{code}", {}),
            (url, {"Authorization": f"Bearer {WRONG_TOKENS[0]}"}),
            (url, {"Authorization": self.token}),
            (url, {"Origin": f"https://{self.token}"}),
        ):
            auth = device_pb2.Auth(jwt_token=WRONG_TOKENS[1]).SerializeToString()
            for message in (
                encode_frame(1, auth),
                encode_frame(1, self.token.encode()),
                encode_frame(19, code.encode()),
                encode_frame(200, self.token.encode()),
                f"text with {code} and {self.token}",
                code.encode() * 200,
            ):
                try:
                    with websocket(place, additional_headers=headers, proxy=None) as connection:
                        connection.send(message)
                        connection.send(encode_frame(19, b""))
                        while True:
                            self.errors += raw(connection.recv(timeout=WAIT_S))
                except InvalidStatus as refused:
                    self.errors += repr(refused.response).encode()
                except WebSocketException as ended:
                    self.errors += str(ended).encode()

    def send_garbage_over_tcp(self) -> None:
        """What no HTTP library would send."""
        code = self.secrets[-1].encode()
        token = self.token.encode()
        for url in (self.server.http_url, self.server.device_url, self.server.ops_url):
            for request in (
                b"GET /"
                + code
                + b" HTTP/1.1\r\nAuthorization: Bearer "
                + token
                + b"\r\n bad\r\n\r\n",
                b"POST /device/otp/confirm HTTP/1.1\r\nHost: x\r\n" + token + b"\r\n\r\n",
                b"GET /livez?" + token + b" HTTP/9.9\r\nHost: x\r\n\r\n",
                token + b"\r\n\r\n" + code,
            ):
                self.errors += exchange(url, request)


def raw(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message


def exchange(url: str, request: bytes) -> bytes:
    """Send bytes and nothing after them; what comes back until the other side has done."""
    parts = urlsplit(url)
    answer = b""
    with socket.create_connection((parts.hostname, parts.port), timeout=WAIT_S) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        try:
            while data := connection.recv(65536):
                answer += data
        except ConnectionError:
            pass
    return answer


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What servers print on standard output."""
    lines: list[str] = []
    pump: Any = server_process._pump

    def tee(stream: Any) -> Iterator[str]:  # noqa: ANN401 - a pipe
        for line in stream:
            lines.append(line)
            yield line

    monkeypatch.setattr(server_process, "_pump", lambda stream, queue: pump(tee(stream), queue))
    return lines


def test_nothing_secret_is_written_anywhere(tmp_path: Path, said: list[str]) -> None:
    server = ServerProcess(tmp_path / "server", device=DEVICE, confirm=CONFIRM)
    scenario = Scenario(server)
    server.start()
    try:
        scenario.play()
        metrics = httpx2.get(f"{server.ops_url}/metrics", trust_env=False).content
        secrets: list[str | bytes] = [*scenario.secrets, *key_bytes(server)]
        running = written(server)
        assert {"otp.db", "otp.db-wal", "otp.db-shm", "log.jsonl"} <= running.keys()
        assert len(running["otp.db-wal"]) > 4096
        server.kill()
        killed = written(server)
        server.start()
        assert server.stop() == 0
        stopped = written(server)
    finally:
        server.kill()
    assert b"otp_device_confirms_total" in metrics
    assert b'"error"' in scenario.errors
    printed = {"stdout": "".join(said).encode()}
    assert b"ready" in printed["stdout"]
    answered = {"error answers": scenario.errors, "metrics": metrics}
    for places in (running, killed, stopped, printed, answered):
        assert leaks(secrets, places) == []


class BugError(Exception):
    """A bug that says more than it should."""


async def test_a_crash_tells_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each handler, with a code and a token in the text of what it raises."""
    server = ServerProcess(tmp_path / "server", device=DEVICE, confirm=CONFIRM)
    registered = await register_in_trio(server.config, 1)
    [(_, token)] = registered.devices
    code = WRONG_CODES[0]

    async def crash(*_: object) -> None:
        bug = BugError(f"with {code}, {token} and {registered.org_key}")
        raise RuntimeError(code) from bug

    with captured_logs() as logs, trio.fail_after(WAIT_S):
        async with serve(server.config) as served:
            bearer = {"Authorization": f"Bearer {token}", "X-Org-Key": registered.org_key}
            async with (
                httpx2.AsyncClient(base_url=served.http_url, trust_env=False) as http,
                connect_device(served.device_url, token) as device,
            ):
                monkeypatch.setattr(ConfirmService, "confirm_many", crash)
                monkeypatch.setattr(IssueService, "issue_many", crash)
                answers = [
                    await http.post(route, json={"otp": code}, headers=bearer)
                    for route in (*ROUTES, f"{ROUTES[0]}?otp={code}")
                ]
                answers.append(
                    await http.post("/device/service", json={"startOtp": True}, headers=bearer)
                )
                await device.ask()
                assert (await device.answer()).error == "internal"
                monkeypatch.setattr(DeviceService, "authenticate_many", crash)
                answers.append(
                    await http.post("/device/service", json={"startOtp": True}, headers=bearer)
                )
                assert [answer.status_code for answer in answers] == [500] * len(answers)
                assert {answer.json()["error"] for answer in answers} == {"internal"}
            async with httpx2.AsyncClient(base_url=served.ops_url, trust_env=False) as ops:
                metrics = (await ops.get("/metrics")).content
    assert logs.getvalue().count("BugError") >= len(answers)
    places = {
        "log": logs.getvalue().encode(),
        "metrics": metrics,
        "answers": b"".join(answer.content for answer in answers),
    }
    assert leaks([code, token, registered.org_key, *key_bytes(server)], places) == []


class BrokenStore:
    """Fails in everything that is asked of it."""

    def __getattr__(self, name: str) -> object:
        raise BugError(name)


def told_with_locals(error: BaseException) -> bytes:
    """A traceback as the nosiest tool prints it: every local of every frame."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(told.format()).encode()


async def test_a_traceback_with_locals_shows_no_code_and_no_key() -> None:
    world = World()
    device, _ = await world.devices.add(None, "")
    [issued] = await world.issue.issue_many([device.device_id])
    assert isinstance(issued, Issued)
    key = bytes(range(32))
    code = WRONG_CODES[1]
    passcode = Passcode.from_text(code, "numeric")
    broken = World(store=BrokenStore(), keys=[("k1", key)])  # type: ignore[arg-type]
    drawn = broken.keyring.draw("device", "", "numeric", 10, 4)
    told = b""
    for call in (
        broken.confirm.confirm_many([Attempt(passcode, Route.V1, "192.0.2.1")]),
        broken.issue.issue_many([device.device_id]),
        meet([issued, passcode, drawn, broken.keyring]),
    ):
        told += told_with_locals(await error_of(call))
    assert b"passcode" in told
    assert b"drawn" in told
    seen = [code, issued.passcode.reveal().ljust(10, "x"), *(p.reveal() for p, _ in drawn)]
    assert leaks([*seen, key], {"traceback": told}) == []
    assert issued.passcode.reveal().encode() not in told.replace(b"0x", b"")


async def error_of(call: Coroutine[Any, Any, object]) -> Exception:
    try:
        await call
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("nothing was raised")


async def meet(secrets: list[object]) -> Keyring:
    raise ValueError(f"unknown: {secrets} {secrets[0]!r} {secrets[1]!s}")
