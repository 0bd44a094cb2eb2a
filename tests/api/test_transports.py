"""Both device transports, the same inputs: the same bytes and close codes out.

A native reactor and trio-websocket serve the same scripted face in one Trio run; a raw client
drives both. Pongs leave the reference from another task than answers do, so the order is compared
within answers and within pongs, and the close comes last in both.
"""

from __future__ import annotations

import random
import socket
import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from otp_server.core import encode_frame
from otp_server.errors import ErrorKind
from otp_server.telemetry import Metrics
from otp_server.transport.native import NativeTransport
from otp_server.transport.options import SEND_BUFFER_BYTES, LinkOptions
from otp_server.transport.sockets import open_listener, open_reactor_listener
from otp_server.transport.websocket import WebSocketTransport

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from otp_server.core import Frame
    from otp_server.transport.seam import LinkSide, Upgrade

PATH = "/ws/device"
DEADLINE_S = 10.0
KEY = bytes.fromhex("a1b2c3d4")
FIN, TEXT, BINARY, CLOSE, PING, PONG = 0x80, 1, 2, 8, 9, 10
HEAD = (
    f"GET {PATH} HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


@dataclass
class Face:
    """Echoes frames, and closes with the kind that a frame of type 255 names."""

    links: LinkSide | None = None

    async def admit(self, upgrades: Sequence[Upgrade]) -> list[ErrorKind | None]:
        return [self._verdict(upgrade.header(b"x-verdict")) for upgrade in upgrades]

    @staticmethod
    def _verdict(named: list[str]) -> ErrorKind | None:
        return ErrorKind[named[0]] if named else None

    def received(self, frames: Iterable[tuple[int, Frame]]) -> None:
        assert self.links is not None
        for connection, frame in frames:
            if frame.type == 255:
                self.links.close_many([(connection, ErrorKind[frame.payload.decode()])])
            else:
                self.links.send_many([(connection, encode_frame(frame.type, frame.payload))])

    def closed(self, connections: Iterable[int]) -> None:
        list(connections)


@pytest.fixture(scope="module")
def ports() -> Iterator[tuple[int, int]]:
    """The ports of the native transport and of the reference, served from a thread."""
    options = LinkOptions(PATH, 1024, 100, ping_interval_s=60, ping_misses=2, close_s=0.5)
    native_listener = open_reactor_listener("127.0.0.1", 0, send_buffer_bytes=SEND_BUFFER_BYTES)
    reference_listener = open_listener("127.0.0.1", 0)
    found = native_listener.getsockname()[1], reference_listener.getsockname()[1]
    ready = threading.Event()
    stop: list[trio.lowlevel.TrioToken] = []
    scope = trio.CancelScope()

    async def main() -> None:
        faces = Face(), Face()
        native = NativeTransport(faces[0], options, Metrics())
        reference = WebSocketTransport(faces[1], options, Metrics())
        faces[0].links, faces[1].links = native, reference
        stop.append(trio.lowlevel.current_trio_token())
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(reference_listener))
        with scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(native.serve, native_listener)
                await nursery.start(reference.serve, [listener])
                ready.set()
                await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    assert ready.wait(DEADLINE_S)
    yield found
    stop[0].run_sync_soon(scope.cancel)
    thread.join(DEADLINE_S)


def ws_frame(first: int, payload: bytes) -> bytes:
    """A masked frame."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else bytes([0xFE]) + size.to_bytes(2, "big")
    masked = bytes(byte ^ KEY[n % 4] for n, byte in enumerate(payload))
    return bytes([first]) + length + KEY + masked


@dataclass
class Heard:
    """What came back after the upgrade."""

    answers: list[bytes] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    close: bytes | None = None

    def note(self, first: int, payload: bytes) -> None:
        match first:
            case 0x82:
                self.answers.append(payload)
            case 0x8A:
                self.pongs.append(payload)
            case 0x88:
                assert self.close is None
                self.close = payload
            case _:
                raise AssertionError(hex(first))


class Client:
    """One connection whose bytes the test decides."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def response(self) -> bytes:
        """The HTTP answer, with its body."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.file.readline()
            assert line
            head += line
        sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
        return head + self.file.read(int(sizes[0].partition(b":")[2]) if sizes else 0)

    def frame(self) -> tuple[int, bytes] | None:
        start = self.file.read(2)
        if len(start) < 2:
            return None
        size = start[1]
        if size == 126:
            size = int.from_bytes(self.file.read(2), "big")
        return start[0], self.file.read(size)

    def send(self, stream: bytes, cuts: Sequence[int]) -> None:
        """Send in pieces."""
        places = sorted({cut % (len(stream) + 1) for cut in cuts})
        for start, end in zip([0, *places], [*places, len(stream)], strict=True):
            self.socket.sendall(stream[start:end])


def converse(
    port: int, stream: bytes, expected: tuple[int, int], last: bytes, cuts: Sequence[int]
) -> tuple[bytes, Heard]:
    """Upgrade, send, hear so many answers and pongs, send the last, hear the end."""
    client = Client(port)
    heard = Heard()
    try:
        client.socket.sendall(HEAD.encode() + b"\r\n")
        response = client.response()
        client.send(stream, cuts)
        while (len(heard.answers), len(heard.pongs)) != expected:
            frame = client.frame()
            assert frame is not None, heard
            heard.note(*frame)
        client.send(last, cuts)
        while heard.close is None and (frame := client.frame()) is not None:
            heard.note(*frame)
    finally:
        client.close()
    return response, heard


CLEAN = [ws_frame(FIN | CLOSE, b""), ws_frame(FIN | CLOSE, b"\x03\xe8bye")]
BAD = {
    "text": ws_frame(FIN | TEXT, b"hello"),
    "text in fragments": ws_frame(TEXT, b"h"),
    "length 0": ws_frame(FIN | BINARY, b"\x01\x00\x00"),
    "length 2": ws_frame(FIN | BINARY, b"\x01\x02\x00"),
    "length 1025": ws_frame(FIN | BINARY, b"\x01\x01\x04"),
    "message of 16385 bytes": b"\x82\xfe\x40\x01" + KEY,
    "message of 16385 bytes in two": ws_frame(BINARY, bytes([7, 0, 4]) + bytes(1021))
    + b"\x80\xfe\x3c\x01"
    + KEY,
    "message of 2 GiB": b"\x82\xff\x00\x00\x00\x00\x80\x00\x00\x00" + KEY,
    "message of all lengths": b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff" + KEY,
    "65 fragments": ws_frame(BINARY, b"") + 64 * ws_frame(0, b""),
    "no mask": b"\x82\x03\x13\x03\x00",
    "reserved bit": ws_frame(0xC2, b"\x13\x03\x00"),
    "reserved opcode": ws_frame(FIN | 3, b""),
    "reserved control opcode": ws_frame(FIN | 11, b""),
    "continues nothing": ws_frame(FIN, b""),
    "a message inside a message": ws_frame(BINARY, b"") + ws_frame(FIN | BINARY, b""),
    "a ping in fragments": ws_frame(PING, b""),
    "a long length for little": b"\x82\xfe\x00\x03" + KEY + b"abc",
    **{
        f"closed by the face: {kind.token}": ws_frame(
            FIN | BINARY, encode_frame(255, kind.name.encode())
        )
        for kind in (ErrorKind.REPLACED, ErrorKind.UNAUTHORIZED, ErrorKind.UNAVAILABLE)
    },
}
FRAMES = st.lists(st.tuples(st.integers(0, 254), st.binary(max_size=200)), max_size=6)


def as_messages(stream: bytes, seed: int) -> tuple[bytes, int]:
    """The stream in messages and fragments of random size, with pings between; how many pings."""
    draw = random.Random(seed)  # noqa: S311 - shapes of a test
    out, pings, begun, at = b"", 0, False, 0
    while at < len(stream) or begun:
        size = draw.choice([0, 1, 2, 3, 7, 50, 125, 126, 400])
        piece, at = stream[at : at + size], min(at + size, len(stream))
        fin = at == len(stream) or draw.random() < 0.4
        out += ws_frame((FIN if fin else 0) | (0 if begun else BINARY), piece)
        begun = not fin
        if draw.random() < 0.3:
            pings += 1
            out += ws_frame(FIN | PING, bytes([pings]) * draw.randrange(4))
    return out, pings


@settings(max_examples=60, deadline=None)
@given(
    frames=FRAMES,
    seed=st.integers(0, 1 << 32),
    cuts=st.lists(st.integers(0, 5000), max_size=8),
    last=st.sampled_from([*CLEAN, *BAD.values()]),
)
def test_both_answer_alike(
    ports: tuple[int, int],
    frames: list[tuple[int, bytes]],
    seed: int,
    cuts: list[int],
    last: bytes,
) -> None:
    encoded = [encode_frame(kind, payload) for kind, payload in frames]
    stream, pings = as_messages(b"".join(encoded), seed)
    native, reference = (converse(port, stream, (len(frames), pings), last, cuts) for port in ports)
    assert native == reference
    assert native[1].answers == encoded
    assert native[1].close is not None


@pytest.mark.parametrize("name", BAD)
def test_both_refuse_alike(ports: tuple[int, int], name: str) -> None:
    """Whole, and byte by byte."""
    heard = [
        converse(port, b"", (0, 0), BAD[name], cuts)[1].close
        for port in ports
        for cuts in ([], range(len(BAD[name])))
    ]
    assert heard[0] is not None
    assert heard == heard[:1] * 4


@pytest.mark.parametrize(
    "payload", [b"\x03", b"\x03\xed", b"\x03\xe7", b"\x0b\xb7", b"\x13\x88", b"\x03\xe8\xff"]
)
def test_a_bad_close_ends_the_connection(ports: tuple[int, int], payload: bytes) -> None:
    """The reference's library hangs up without a close frame; the native one tells why."""
    last = ws_frame(FIN | CLOSE, payload)
    native, reference = (converse(port, b"", (0, 0), last, [])[1].close for port in ports)
    assert reference is None
    assert native is not None
    assert native[:2] in {b"\x03\xea", b"\x03\xef"}
    assert native[2:] == b"protocol_error"


def ask(port: int, request: str) -> bytes:
    client = Client(port)
    try:
        client.socket.sendall(request.encode())
        return client.response()
    finally:
        client.close()


@pytest.mark.parametrize(
    "request_",
    [
        HEAD.replace(PATH, "/elsewhere"),
        HEAD.replace(PATH, "/ws/device/"),
        *(
            f"{HEAD}X-Verdict: {kind.name}\r\n"
            for kind in (
                ErrorKind.UNAUTHORIZED,
                ErrorKind.FORBIDDEN_ORIGIN,
                ErrorKind.OVERLOADED,
                ErrorKind.DRAINING,
                ErrorKind.UNAVAILABLE,
                ErrorKind.INTERNAL,
            )
        ),
        HEAD.replace(PATH, f"{PATH}?token=x"),
        HEAD + "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n",
    ],
)
def test_upgrades_are_answered_with_the_same_bytes(ports: tuple[int, int], request_: str) -> None:
    native, reference = map(partial(ask, request=request_ + "\r\n"), ports)
    assert native == reference


@pytest.mark.parametrize(
    "request_",
    [
        HEAD.replace("GET", "POST"),
        HEAD.replace("Upgrade: websocket\r\n", ""),
        HEAD.replace("Connection: Upgrade\r\n", ""),
        HEAD.replace("Host: here\r\n", ""),
        HEAD.replace("Version: 13", "Version: 8"),
        "rubbish\r\n",
    ],
)
def test_what_is_no_upgrade_gets_the_same_status(ports: tuple[int, int], request_: str) -> None:
    native, reference = (ask(port, request_ + "\r\n") for port in ports)
    assert native.split()[1] == reference.split()[1]
