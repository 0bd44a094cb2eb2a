"""A scripted face, a raw client, and a device transport that serves on loopback."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Self

import trio
import trio.testing

from otp_server.core import Frame
from otp_server.errors import ErrorKind
from otp_server.telemetry import Metrics
from otp_server.transport.native import NativeTransport
from otp_server.transport.options import SEND_BUFFER_BYTES, LinkOptions
from otp_server.transport.seam import DeviceTransport, Upgrade
from otp_server.transport.sockets import open_reactor_listener
from otp_server.transport.websocket import WebSocketTransport
from tests.support.observe import until
from tests.support.raw_websocket import (
    BINARY,
    CLOSE,
    encode_frame,
    encode_ws_frame,
    upgrade_request,
)

PATH = "/ws/device"
DEADLINE_S = 10
HERE, THERE = "127.0.0.1", "127.0.0.2"
ECHO, CRASH = 1, 2


served_by = {"transport": "native"}


class Bug(Exception):
    """What a face should never raise."""


@dataclass
class Face:
    """Echoes frames; raises and refuses where it is told to."""

    links: DeviceTransport | None = None
    admitted: list[int] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    asked: trio.Event = field(default_factory=trio.Event)
    go_on: trio.Event | None = None
    verdict: Callable[[], list[ErrorKind | None]] = lambda: [None]
    on_closed: Callable[[], object] = lambda: None

    async def admit(self, upgrades: Sequence[Upgrade]) -> list[ErrorKind | None]:
        self.asked.set()
        if self.go_on is not None:
            await self.go_on.wait()
        verdict = [one for _ in upgrades for one in self.verdict()]
        if set(verdict) == {None} and len(verdict) == len(upgrades):
            self.admitted += [upgrade.connection for upgrade in upgrades]
        return verdict

    def received(self, frames: Sequence[tuple[int, Frame]]) -> None:
        assert self.links is not None
        for connection, frame in frames:
            if frame.type == CRASH:
                raise Bug
            self.links.send_many([(connection, encode_frame(frame.type, frame.payload))])

    def closed(self, connections: Sequence[int]) -> None:
        self.gone += connections
        self.on_closed()


@dataclass
class Client:
    """A connection whose every byte the test decides. Use as an async context manager."""

    stream: trio.SocketStream
    buffer: bytearray = field(default_factory=bytearray)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await trio.aclose_forcefully(self.stream)

    async def _take(self, count: int) -> bytes:
        while len(self.buffer) < count:
            data = await self.stream.receive_some()
            if not data:
                raise EOFError
            self.buffer += data
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    async def read_response(self) -> tuple[int, dict[str, str]]:
        """The status and headers of the answer; its body is passed over."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await self._take(1)
        first, *lines = head.decode().split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        await self._take(int(headers.get("content-length", "0")))
        return int(first.split()[1]), headers

    async def read_frame(self) -> tuple[int, bytes]:
        first, length = await self._take(2)
        if length == 126:
            length = int.from_bytes(await self._take(2), "big")
        return first & 0x0F, await self._take(length)

    async def send(self, payload: bytes, opcode: int = BINARY) -> None:
        await self.stream.send_all(encode_ws_frame(payload, opcode))

    async def read_close(self) -> tuple[int, str]:
        """The close code and reason; messages before the end are passed over."""
        while True:
            opcode, payload = await self.read_frame()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big"), payload[2:].decode()

    async def echo(self) -> None:
        """The connection lives: what it sends comes back."""
        frame = encode_frame(ECHO, b"abc")
        await self.send(frame)
        assert await self.read_frame() == (BINARY, frame)

    async def reset(self) -> None:
        """Close with RST instead of FIN."""
        linger = struct.pack("ii", 1, 0)
        self.stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)
        await trio.aclose_forcefully(self.stream)

    async def leave(self) -> None:
        """Close with FIN."""
        await trio.aclose_forcefully(self.stream)


@dataclass
class Served:
    """A transport that serves."""

    face: Face
    transport: DeviceTransport
    metrics: Metrics
    port: int
    ended: trio.Event

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    @property
    def connections(self) -> float:
        return self.value("otp_device_connections")

    @property
    def dropped(self) -> float:
        return self.value("otp_device_upgrades_total", outcome="dropped")

    @property
    def crashes(self) -> float:
        return self.value("otp_handler_crashes_total", where="device_connection")

    @property
    def request(self) -> bytes:
        """What asks for the upgrade."""
        return upgrade_request(f"ws://127.0.0.1:{self.port}{PATH}")

    async def dial(self, source: str = HERE) -> Client:
        """A TCP connection."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port, local_address=source)
        return Client(stream)

    async def ask(self, source: str = HERE) -> Client:
        """One that has asked for the upgrade."""
        client = await self.dial(source)
        await client.stream.send_all(self.request)
        return client

    @asynccontextmanager
    async def connect(self, source: str = HERE) -> AsyncIterator[Client]:
        """One that is let in."""
        async with await self.ask(source) as client:
            status, _ = await client.read_response()
            assert status == 101
            yield client

    @asynccontextmanager
    async def silent(self, count: int, source: str = HERE) -> AsyncIterator[list[Client]]:
        """So many that never ask; the server has seen them all."""
        async with AsyncExitStack() as opened:
            yield [await opened.enter_async_context(await self.dial(source)) for _ in range(count)]

    async def refused(self) -> tuple[int, dict[str, str]]:
        """The answer to an upgrade."""
        async with await self.ask() as client:
            return await client.read_response()

    async def settle(self) -> None:
        """Wait until no connection is left."""
        await until(lambda: not self.connections)


def options(**changes: object) -> LinkOptions:
    values: dict[str, object] = {
        "path": PATH,
        "frame_bytes_max": 1024,
        "connections_max": 100,
        "ping_interval_s": 20,
        "ping_misses": 2,
        "close_s": 0.5,
    }
    return LinkOptions(**{**values, **changes})  # type: ignore[arg-type]


@asynccontextmanager
async def serving(face: Face, **changes: object) -> AsyncIterator[Served]:
    metrics = Metrics()
    transport: DeviceTransport
    if served_by["transport"] == "native":
        native = NativeTransport(face, options(**changes), metrics)
        reactor_listener = open_reactor_listener(
            "127.0.0.1", 0, send_buffer_bytes=SEND_BUFFER_BYTES
        )
        port = reactor_listener.getsockname()[1]
        transport, serve_it = native, partial(native.serve, reactor_listener)
    else:
        reference = WebSocketTransport(face, options(**changes), metrics)
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        transport, serve_it = reference, partial(reference.serve, listeners)
    face.links = transport
    ended = trio.Event()

    async def serve(*, task_status: trio.TaskStatus[object]) -> None:
        await serve_it(task_status=task_status)
        ended.set()

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve)
            yield Served(face, transport, metrics, port, ended)
            nursery.cancel_scope.cancel()
