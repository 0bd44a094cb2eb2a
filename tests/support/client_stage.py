"""An HTTP listener that takes clients' web sockets, on loopback, with any face."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import trio
from quart import Response
from quart_trio import QuartTrio

from otp_server.errors import ErrorKind
from otp_server.telemetry import Metrics
from otp_server.transport.client_seam import (
    Admission,
    ClientLink,
    ClientSocketFace,
    ClientUpgrade,
)
from otp_server.transport.client_socket import ClientSocketOptions, ClientSockets
from otp_server.transport.http import HttpLimits, serve_http
from otp_server.transport.sockets import TlsFiles, open_listener
from tests.support.raw_websocket import TEXT, encode_ws_frame, upgrade_request
from tests.support.transport_stage import Client

PATH = "/-/websocket/"
DEADLINE_S = 60
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
SERVICE = {"Sec-WebSocket-Protocol": "service"}


class Bug(Exception):
    """What a face should never raise."""


async def never() -> None:
    await trio.sleep_forever()


def raise_bug() -> None:
    raise Bug


@dataclass(eq=False)
class Session:
    """Echoes; does what it is told on the way."""

    face: Face
    link: ClientLink | None = None

    async def run(self, link: ClientLink) -> None:
        self.link = link
        self.face.running.append(self)
        self.face.on_run()
        await trio.sleep_forever()

    async def received(self, text: str) -> None:
        assert self.link is not None
        self.face.heard.append(text)
        self.face.on_received(text)
        self.link.send(text)

    def closed(self) -> None:
        self.face.gone += 1
        if self in self.face.running:
            self.face.running.remove(self)
        self.face.on_closed()


@dataclass
class Face:
    """Lets in whoever comes; raises, waits and refuses where it is told to."""

    verdict: ErrorKind | None = None
    asked: list[ClientUpgrade] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    running: list[Session] = field(default_factory=list)
    alive: weakref.WeakSet[Session] = field(default_factory=weakref.WeakSet)
    gone: int = 0
    admitted: int = 0
    on_admit: Callable[[], object] = lambda: None
    wait: Callable[[], Awaitable[object]] | None = None
    on_run: Callable[[], object] = lambda: None
    on_received: Callable[[str], object] = lambda _: None
    on_closed: Callable[[], object] = lambda: None

    async def admit(self, upgrade: ClientUpgrade) -> Admission | ErrorKind:
        self.asked.append(upgrade)
        self.on_admit()
        if self.wait is not None:
            await self.wait()
        if self.verdict is not None:
            return self.verdict
        offered = upgrade.listed(b"sec-websocket-protocol")
        session = Session(self)
        self.alive.add(session)
        self.admitted += 1
        return Admission(session, offered[0] if offered else None)


def options(**changes: object) -> ClientSocketOptions:
    values: dict[str, object] = {
        "sockets_max": 2000,
        "per_address": 2000,
        "close_s": 0.5,
    }
    return ClientSocketOptions(**{**values, **changes})  # type: ignore[arg-type]


@dataclass
class Stage:
    """A listener that serves."""

    port: int
    sockets: ClientSockets
    metrics: Metrics
    stop: trio.Event
    ended: trio.Event

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    @property
    def crashes(self) -> float:
        return self.value("otp_handler_crashes_total", where="client_socket")

    def url(self, target: str = PATH) -> str:
        return f"ws://127.0.0.1:{self.port}{target}"

    def request(self, target: str = PATH, headers: dict[str, str] | None = None) -> bytes:
        """What asks for the upgrade."""
        return upgrade_request(self.url(target), SERVICE if headers is None else headers)

    async def dial(self, source: str = "127.0.0.1") -> Client:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port, local_address=source)
        return Client(stream)

    @asynccontextmanager
    async def connect(
        self, target: str = PATH, headers: dict[str, str] | None = None, behind: bytes = b""
    ) -> AsyncIterator[Client]:
        """A client that is let in."""
        async with await self.dial() as client:
            await client.stream.send_all(self.request(target, headers) + behind)
            status, _ = await client.read_response()
            assert status == 101, status
            yield client

    async def refused(
        self, target: str = PATH, headers: dict[str, str] | None = None, source: str = "127.0.0.1"
    ) -> tuple[int, dict[str, str]]:
        """The answer to an upgrade; the connection must end behind it, unless it is let in."""
        async with await self.dial(source) as client:
            await client.stream.send_all(self.request(target, headers))
            answer = await client.read_response()
            if answer[0] != 101:
                assert await client.stream.receive_some() == b""
            return answer

    async def get(self) -> bytes:
        """The answer of the application to a plain request, to the connection's end."""
        async with await self.dial() as client:
            return await request_on(client)


async def request_on(client: Client, request: bytes = GET) -> bytes:
    """What is answered to a plain request on an open connection."""
    await client.stream.send_all(request)
    status, _ = await client.read_response()
    return b"%d" % status


async def say(client: Client, text: str) -> None:
    await client.send(text.encode(), TEXT)


async def echo(client: Client, text: str = "abc") -> None:
    """The connection lives: what it sends comes back."""
    await say(client, text)
    assert await client.read_frame() == (TEXT, text.encode())


def masked(text: str) -> bytes:
    """A text message as a client sends it."""
    return encode_ws_frame(text.encode(), TEXT)


def as_client(stream: trio.abc.Stream) -> Client:
    """A client over TLS."""
    return Client(cast("trio.SocketStream", stream))


@asynccontextmanager
async def serving(
    face: ClientSocketFace,
    *,
    tls: TlsFiles | None = None,
    limits: HttpLimits | None = None,
    **changes: object,
) -> AsyncIterator[Stage]:
    """Serve until the end of the block, and then drain; it must end by itself."""
    app = QuartTrio(__name__, static_folder=None)

    @app.route("/", methods=["GET", "POST"])
    @app.route("/-/websocket/", methods=["GET", "POST"])
    async def index() -> Response:
        return Response("here")

    metrics = Metrics()
    sockets = ClientSockets(face, options(**changes), metrics)
    listener = open_listener("127.0.0.1", 0)
    stop, ended = trio.Event(), trio.Event()
    stage = Stage(listener.getsockname()[1], sockets, metrics, stop, ended)
    serve = partial(
        serve_http,
        app,
        listener,
        tls=tls,
        limits=limits or HttpLimits(3000, 3000),
        stop=stop.wait,
        sockets=sockets,
    )

    async def serve_and_tell() -> None:
        await serve()
        ended.set()

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_and_tell)
            yield stage
            stop.set()
