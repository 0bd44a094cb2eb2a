"""A web client of the svc face: it speaks HTTP and WebSocket, keeps its cookie, and knows no more.

The cookie is kept by hand, since plain HTTP libraries do not give a ``Secure`` one back over HTTP.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any

import httpx2
import trio
from trio_websocket import wrap_client_stream
from wsproto.utilities import LocalProtocolError

from tests.support.server_process import COMMAND

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from trio_websocket import WebSocketConnection

WAIT_S = 30.0
COOKIE = "regsid"


def add_user(config: Path, email: str, password: str | None = None, *more: str) -> str:
    """Register an account as an operator does; its uid."""
    words = [*COMMAND, "user", "add", "--email", email, "--json", "--config", str(config), *more]
    if password is not None:
        words.append("--password-stdin")
    said = subprocess.run(words, input=password, capture_output=True, text=True, timeout=60)  # noqa: PLW1510 - told below
    assert said.returncode == 0, said.stderr
    uid: str = json.loads(said.stdout)["uid"]
    return uid


@dataclass
class WebClient:
    """One client. Raises httpx2.HTTPError for a broken connection."""

    http: httpx2.AsyncClient
    cookie: str = ""
    socket_id: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    async def call(
        self, service: str, parameters: Mapping[str, Any] | None = None, *, method: str = "POST"
    ) -> httpx2.Response:
        """One call of a service, JSON in the body; the cookie follows what the answer sets."""
        headers = dict(self.headers)
        if self.cookie:
            headers["Cookie"] = f"{COOKIE}={self.cookie}"
        path = f"/-/svc/{service}"
        if method == "GET":
            answer = await self.http.get(path, headers=headers, params=dict(parameters or {}))
        else:
            answer = await self.http.post(path, headers=headers, json=dict(parameters or {}))
        for line in answer.headers.get_list("set-cookie"):
            morsel = SimpleCookie(line).get(COOKIE)
            if morsel is not None:
                self.cookie = morsel.value
        return answer

    async def data(self, service: str, parameters: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        """The ``data`` of an answer with status 200."""
        answer = await self.call(service, parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    @asynccontextmanager
    async def socket(self, token: str | None = None) -> AsyncIterator[WebSocketConnection]:
        """Open the client WebSocket, by a fresh one-time token unless one is given."""
        if token is None:
            token = (await self.data("bootstrap.authn"))["token"]
        url = self.http.base_url
        stream = await trio.open_tcp_stream(url.host, url.port or 80)
        async with stream:
            try:
                async with trio.open_nursery() as nursery:
                    connection = await wrap_client_stream(
                        nursery,
                        stream,
                        f"{url.host}:{url.port}",
                        f"/-/websocket/?otak={token}",
                        subprotocols=["service"],
                        message_queue_size=1000,  # a full one would leave pings unanswered
                    )
                    with trio.fail_after(WAIT_S):
                        hello = json.loads(await connection.get_message())
                    assert hello["service"] == "sys.hello", hello
                    self.socket_id = hello["data"]["socket_id"]
                    yield connection
                    await connection.aclose()
            except* LocalProtocolError:
                pass  # the library answers a ping that comes while it closes, and may not

    async def send(self, email: str, **more: Any) -> Any:  # noqa: ANN401 - JSON
        """otp.send."""
        return await self.data("otp.send", {"email": email, "socket_id": self.socket_id, **more})

    async def verify(self, email: str, code: str, secret: str) -> Any:  # noqa: ANN401 - JSON
        """otp.verify."""
        asked = {"email": email, "code": code, "secret": secret, "socket_id": self.socket_id}
        return await self.data("otp.verify", asked)

    async def set_password(self, uid: str, code: str, secret: str, password: str) -> Any:  # noqa: ANN401 - JSON
        """otp.set_password."""
        asked = {"uid": uid, "code": code, "secret": secret, "password": password}
        return await self.data("otp.set_password", {**asked, "socket_id": self.socket_id})

    async def signs_in(self, email: str, password: str) -> bool:
        """Whether this password is let in; in a session of its own."""
        stranger = WebClient(self.http)
        asked = {"email": email, "password": password}
        answer = await stranger.call("session.sign_in", asked)
        assert answer.status_code in (200, 401), answer.text
        return answer.status_code == 200

    async def is_online(self) -> bool:
        """Whether its session is signed in."""
        status: str = (await self.call("bootstrap.authn")).json()["__status__"]
        return status == "online"


async def try_upgrade(
    http_url: str, query: str = "", headers: Sequence[tuple[bytes, bytes]] = ()
) -> int:
    """The status that the upgrade of a client WebSocket is answered with; 101: it was opened."""
    host, _, port = http_url.removeprefix("http://").partition(":")
    lines = [
        f"GET /-/websocket/{query} HTTP/1.1".encode(),
        f"Host: {host}:{port}".encode(),
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Protocol: service",
        *(name + b": " + value for name, value in headers),
    ]
    with trio.fail_after(WAIT_S):
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(b"\r\n".join(lines) + b"\r\n\r\n")
            answer = b""
            while b"\r\n" not in answer:
                answer += await stream.receive_some()
    return int(answer.split()[1])


@asynccontextmanager
async def open_web_client(http_url: str) -> AsyncIterator[WebClient]:
    """A client without a session yet."""
    async with httpx2.AsyncClient(base_url=http_url, timeout=WAIT_S, trust_env=False) as http:
        yield WebClient(http)
