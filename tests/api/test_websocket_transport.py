"""The device transport with a scripted face, over real loopback sockets.

Whatever goes wrong in one connection ends that connection only (requirement 62).
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Self

import pytest
import trio

from otp_server.core import Frame
from otp_server.errors import ErrorKind
from otp_server.telemetry import Metrics
from otp_server.transport.guard import GuardLimits
from otp_server.transport.native import NativeTransport
from otp_server.transport.options import OUTBOX_BYTES_MAX, LinkOptions
from otp_server.transport.seam import DeviceTransport, Upgrade
from otp_server.transport.sockets import open_reactor_listener
from otp_server.transport.websocket import WebSocketTransport
from tests.support.observe import until
from tests.support.raw_websocket import (
    BINARY,
    CLOSE,
    PING,
    encode_frame,
    encode_ws_frame,
    upgrade_request,
)

PATH = "/ws/device"
DEADLINE_S = 10
ECHO, CRASH = 1, 2


served_by = {"transport": "native"}


@pytest.fixture(autouse=True, params=["native", "trio-websocket"])
def _each_transport(request: pytest.FixtureRequest) -> None:
    """Every test of this module runs over both."""
    served_by["transport"] = request.param


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
    def crashes(self) -> float:
        return self.value("otp_handler_crashes_total", where="device_connection")

    async def dial(self) -> Client:
        """A TCP connection."""
        return Client(await trio.open_tcp_stream("127.0.0.1", self.port))

    async def ask(self) -> Client:
        """One that has asked for the upgrade."""
        client = await self.dial()
        await client.stream.send_all(upgrade_request(f"ws://127.0.0.1:{self.port}{PATH}"))
        return client

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Client]:
        """One that is let in."""
        async with await self.ask() as client:
            status, _ = await client.read_response()
            assert status == 101
            yield client

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
        reactor_listener = open_reactor_listener("127.0.0.1", 0)
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


# --- one connection's fault is its own ------------------------------------------------------------


async def test_a_bug_in_received_costs_that_connection_only() -> None:
    face = Face()
    async with serving(face) as served, served.connect() as other, served.connect() as ws:
        await ws.send(encode_frame(CRASH, b""))
        assert await ws.read_close() == (1011, "internal")
        await other.echo()
        async with served.connect() as later:
            await later.echo()
        assert served.crashes == 1


async def test_bugs_in_many_connections_at_once() -> None:
    face = Face()
    async with serving(face) as served, served.connect() as other:
        async with trio.open_nursery() as clients:

            async def crash() -> None:
                async with served.connect() as ws:
                    await ws.send(encode_frame(CRASH, b""))
                    assert await ws.read_close() == (1011, "internal")

            for _ in range(20):
                clients.start_soon(crash)
        await other.echo()
        assert served.crashes == 20
    assert sorted(face.gone) == sorted(face.admitted)


def raise_bug() -> list[ErrorKind | None]:
    raise Bug


@pytest.mark.parametrize("verdict", [raise_bug, list, lambda: [None, None]])
async def test_a_bug_in_admit_refuses_that_connection_only(
    verdict: Callable[[], list[ErrorKind | None]],
) -> None:
    face = Face()
    async with serving(face) as served, served.connect() as other:
        face.verdict = verdict
        status, _ = await served.refused()
        assert status == 500
        face.verdict = lambda: [None]
        await other.echo()
        assert face.gone == []
        async with served.connect() as later:
            await later.echo()
        assert served.crashes == 1


async def test_a_bug_in_closed_costs_nobody_else() -> None:
    face = Face(on_closed=raise_bug)
    async with serving(face) as served, served.connect() as other:
        async with served.connect() as ws:
            await ws.echo()
        await until(lambda: bool(face.gone))
        await other.echo()
        assert served.crashes == 1
        face.on_closed = lambda: None


async def test_a_bug_while_everything_is_cancelled() -> None:
    face = Face(on_closed=raise_bug)
    async with serving(face) as served, served.connect() as first, served.connect() as second:
        await first.echo()
        await second.echo()
    assert sorted(face.gone) == sorted(face.admitted)
    assert served.connections == 0


# --- coming and going -----------------------------------------------------------------------------


async def test_reset_before_the_upgrade() -> None:
    face = Face()
    async with serving(face) as served, served.connect() as other:
        for sent in (b"", b"GET ", b"GET / HTTP/1.1\r\nHost: x\r\n"):
            client = await served.dial()
            await client.stream.send_all(sent)
            await client.reset()
        await until(lambda: served.connections == 1, within_s=3)  # an upgrade may take 5 s
        await other.echo()
        assert served.crashes == 0
        assert len(face.admitted) == 1


@pytest.mark.parametrize("leave", [Client.reset, Client.leave])
async def test_gone_while_the_face_decides(leave: Callable[[Client], Awaitable[None]]) -> None:
    face = Face()
    async with serving(face) as served, served.connect() as other:
        face.asked, face.go_on = trio.Event(), trio.Event()
        client = await served.ask()
        await face.asked.wait()
        await leave(client)
        await until(lambda: served.connections == 1)
        face.go_on.set()
        await other.echo()
        assert served.crashes == 0
    assert sorted(face.gone) == sorted(face.admitted)


async def test_reset_right_after_the_request() -> None:
    face = Face()
    async with serving(face) as served, served.connect() as other:
        for _ in range(50):
            await (await served.ask()).reset()
        await until(lambda: served.connections == 1)
        await other.echo()
        assert served.crashes == 0
    assert sorted(face.gone) == sorted(face.admitted)


async def test_reset_while_open() -> None:
    face = Face()
    async with serving(face) as served, served.connect() as other:
        for _ in range(20):
            async with served.connect() as client:
                await client.send(300 * encode_frame(ECHO, b""))
                await client.reset()
        await until(lambda: served.connections == 1)
        await other.echo()
        assert served.crashes == 0
        assert len(face.gone) == 20
    assert sorted(face.gone) == sorted(face.admitted)


async def test_closed_is_said_once_and_the_count_returns_to_0() -> None:
    face = Face()
    async with serving(face) as served:
        async with served.connect() as first, served.connect() as second:
            assert served.connections == 2
            served.transport.close_many([(face.admitted[0], ErrorKind.REPLACED)])
            assert await first.read_close() == (1008, "replaced")
            await second.echo()
        await served.settle()
        assert sorted(face.gone) == sorted(face.admitted)
        assert served.value("otp_device_closes_total", kind="replaced") == 1
        assert served.value("otp_device_closes_total", kind="peer") == 1


@pytest.mark.parametrize("kind", [ErrorKind.UNAUTHORIZED, ErrorKind.OVERLOADED, ErrorKind.DRAINING])
async def test_a_refusal_is_an_http_answer(kind: ErrorKind) -> None:
    face = Face(verdict=lambda: [kind])
    async with serving(face) as served:
        status, headers = await served.refused()
        assert status == kind.http_status
        assert headers["cache-control"] == "no-store"
        assert ("www-authenticate" in headers) == (kind is ErrorKind.UNAUTHORIZED)
        await served.settle()
        assert face.gone == []


async def test_connections_above_the_limit_are_refused() -> None:
    face = Face()
    async with serving(face, connections_max=1) as served:
        async with served.connect():
            status, _ = await served.refused()
            assert status == 503
        await served.settle()
        async with served.connect() as ws:
            await ws.echo()


async def test_an_upgrade_that_does_not_come_is_dropped() -> None:
    face = Face()
    async with serving(face, upgrade_s=0.05) as served:
        async with await served.dial() as client:
            assert await client.stream.receive_some() == b""
        assert served.value("otp_device_upgrades_total", outcome="dropped") == 1


# --- out ------------------------------------------------------------------------------------------


async def test_sending_to_the_gone_is_silent() -> None:
    face = Face()
    async with serving(face) as served:
        async with served.connect() as ws:
            await ws.echo()
        await served.settle()
        served.transport.send_many([(face.admitted[0], b"x"), (12345, b"x")])
        served.transport.close_many([(face.admitted[0], ErrorKind.INTERNAL)])
        assert served.crashes == 0


async def test_what_is_queued_leaves_before_the_close() -> None:
    face = Face()
    async with serving(face) as served, served.connect() as ws:
        frames = [encode_frame(ECHO, bytes([n])) for n in range(100)]
        [number] = face.admitted
        served.transport.send_many([(number, frame) for frame in frames])
        served.transport.close_many([(number, ErrorKind.UNAUTHORIZED)])
        served.transport.close_many([(number, ErrorKind.INTERNAL)])  # the first reason stands
        served.transport.send_many([(number, b"too late")])
        assert [(await ws.read_frame())[1] for _ in frames] == frames
        assert await ws.read_close() == (4002, "unauthorized")


async def test_the_outbox_is_bounded() -> None:
    if served_by["transport"] == "native":
        pytest.skip("sends at once: its outbox is tested in otp_core_rs/src/reactor/tests.rs")
    face = Face()
    async with serving(face) as served, served.connect() as ws:
        [number] = face.admitted
        frame = encode_frame(ECHO, bytes(1021))
        most = OUTBOX_BYTES_MAX // len(frame)
        served.transport.send_many([(number, frame)] * most)
        assert [(await ws.read_frame())[1] for _ in range(most)] == [frame] * most
        served.transport.send_many([(number, frame)] * (most + 1))
        assert await ws.read_close() == (1013, "slow_reader")


async def test_a_reader_that_stops_is_closed_in_time() -> None:
    face = Face()
    limits = GuardLimits(write_s=0.2)
    async with serving(face, guard=limits) as served, served.connect() as other, served.connect():
        number = face.admitted[-1]
        frame = encode_frame(ECHO, bytes(1021))

        def closed_meanwhile() -> bool:
            served.transport.send_many([(number, frame)] * 10)
            return number in face.gone

        await until(closed_meanwhile)
        assert served.value("otp_device_closes_total", kind="slow_reader") == 1
        await other.echo()
        assert served.crashes == 0


async def test_a_ping_that_crosses_our_close_is_no_bug() -> None:
    face = Face()
    async with serving(face) as served, served.connect() as ws:
        served.transport.close_many([(face.admitted[0], ErrorKind.REPLACED)])
        opcode, close = await ws.read_frame()
        assert opcode == CLOSE
        await ws.send(b"are you there", PING)
        await served.settle()
        assert close == b"\x03\xf0replaced"
        assert served.crashes == 0
        assert face.gone == face.admitted


async def test_draining_closes_everybody_and_ends() -> None:
    face = Face()
    async with serving(face) as served, served.connect() as first, served.connect() as second:
        served.transport.stop_accepting()
        served.transport.close_all(ErrorKind.DRAINING)
        assert await first.read_close() == (1001, "draining")
        assert await second.read_close() == (1001, "draining")
        await first.send((1001).to_bytes(2, "big"), CLOSE)
        await second.leave()
        await served.ended.wait()
        with pytest.raises(OSError, match="all attempts to connect"):
            await served.dial()
    assert sorted(face.gone) == sorted(face.admitted)


async def test_draining_does_not_wait_for_those_who_do_not_answer() -> None:
    face = Face()
    async with serving(face, close_s=0.05) as served, served.connect():
        served.transport.stop_accepting()
        served.transport.close_all(ErrorKind.DRAINING)
        await served.ended.wait()
        assert face.gone == face.admitted
