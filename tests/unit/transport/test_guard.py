"""What a WebSocket peer may send, watched before the WebSocket library sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from otp_server.errors import ErrorKind
from otp_server.transport.guard import (
    HEAD_BYTES_MAX,
    FrameWatch,
    GuardedStream,
    GuardLimits,
)
from tests.support.raw_websocket import BINARY, CLOSE, PING, PONG, TEXT, encode_ws_frame

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LIMITS = GuardLimits(message_bytes_max=100, fragments_max=4, burst_bytes=1000, bytes_per_s=100)
CONTINUATION = 0


def begun(payload: bytes = b"", opcode: int = BINARY) -> bytes:
    """A fragment that is not the last."""
    return encode_ws_frame(payload, opcode, fin=False)


def header(first: int, second: int, extended: bytes = b"") -> bytes:
    return bytes([first, second]) + extended + bytes(4)


ALLOWED = {
    "nothing": b"",
    "a message": encode_ws_frame(b"abc"),
    "an empty message": encode_ws_frame(b""),
    "the longest message": encode_ws_frame(bytes(100)),
    "the longest message in the most fragments": begun(bytes(25))
    + 2 * begun(bytes(25), CONTINUATION)
    + encode_ws_frame(bytes(25), CONTINUATION),
    "controls between fragments": begun()
    + encode_ws_frame(bytes(125), PING)
    + encode_ws_frame(b"", PONG)
    + encode_ws_frame(b"", CONTINUATION),
    "counts begin anew with each message": 5
    * (begun(bytes(50)) + encode_ws_frame(bytes(50), CONTINUATION)),
    "a close": encode_ws_frame(b"\x03\xe8", CLOSE),
}
REFUSED = {
    "text": (encode_ws_frame(b"abc", TEXT), ErrorKind.TEXT_MESSAGE),
    "text begun": (begun(opcode=TEXT), ErrorKind.TEXT_MESSAGE),
    "too long": (header(0x82, 0x80 | 101), ErrorKind.FRAME_TOO_LARGE),
    "too long in 16 bits": (header(0x82, 0xFE, b"\x01\x00"), ErrorKind.FRAME_TOO_LARGE),
    "too long in 64 bits": (
        header(0x82, 0xFF, b"\x7f" + 7 * b"\xff"),
        ErrorKind.FRAME_TOO_LARGE,
    ),
    "too long in all": (
        begun(bytes(60)) + header(0x80, 0x80 | 41),
        ErrorKind.FRAME_TOO_LARGE,
    ),
    "too many fragments": (begun() + 4 * begun(opcode=CONTINUATION), ErrorKind.FLOODED),
    "no mask": (encode_ws_frame(b"abc", masked=False), ErrorKind.PROTOCOL_ERROR),
    "no mask on a ping": (encode_ws_frame(b"", PING, masked=False), ErrorKind.PROTOCOL_ERROR),
    "reserved bit": (header(0xC2, 0x80), ErrorKind.PROTOCOL_ERROR),
    "unknown opcode": (header(0x83, 0x80), ErrorKind.PROTOCOL_ERROR),
    "unknown control": (header(0x8B, 0x80), ErrorKind.PROTOCOL_ERROR),
    "fragmented control": (header(0x09, 0x80), ErrorKind.PROTOCOL_ERROR),
    "long control": (header(0x89, 0xFE, b"\x00\x7e"), ErrorKind.PROTOCOL_ERROR),
    "nothing to continue": (header(0x80, 0x80), ErrorKind.PROTOCOL_ERROR),
    "nothing to continue any more": (
        encode_ws_frame(b"abc") + header(0x80, 0x80),
        ErrorKind.PROTOCOL_ERROR,
    ),
    "a message in a message": (begun() + encode_ws_frame(b""), ErrorKind.PROTOCOL_ERROR),
    "16 bits for a short length": (header(0x82, 0xFE, b"\x00\x7d"), ErrorKind.PROTOCOL_ERROR),
    "64 bits for a short length": (
        header(0x82, 0xFF, bytes(6) + b"\x00\x7d"),
        ErrorKind.PROTOCOL_ERROR,
    ),
    "64 bits for a length of 16": (
        header(0x82, 0xFF, bytes(6) + b"\xff\xff"),
        ErrorKind.PROTOCOL_ERROR,
    ),
}
VERDICTS = [*((data, None) for data in ALLOWED.values()), *REFUSED.values()]
NAMES = [*ALLOWED, *REFUSED]


def feed(pieces: Iterator[bytes] | list[bytes]) -> ErrorKind | None:
    """The verdict on a stream that comes in these pieces."""
    watch = FrameWatch(LIMITS)
    for piece in pieces:
        fault = watch.receive_data(piece)
        if fault is not None:
            return fault
    return None


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize(("data", "verdict"), VERDICTS, ids=NAMES)
def test_verdict_on_the_whole(data: bytes, verdict: ErrorKind | None) -> None:
    assert feed([HEAD + data]) is verdict


@pytest.mark.parametrize(("data", "verdict"), VERDICTS, ids=NAMES)
def test_verdict_byte_by_byte(data: bytes, verdict: ErrorKind | None) -> None:
    assert feed(bytewise(HEAD + data)) is verdict


@given(st.sampled_from(VERDICTS), st.data())
def test_verdict_on_any_pieces(case: tuple[bytes, ErrorKind | None], data: st.DataObject) -> None:
    stream, verdict = HEAD + case[0], case[1]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    edges = zip([0, *cuts], [*cuts, len(stream)], strict=True)
    assert feed([stream[start:end] for start, end in edges]) is verdict


@given(st.binary(max_size=300), st.integers(0, 300))
def test_verdict_on_garbage_does_not_depend_on_the_pieces(garbage: bytes, cut: int) -> None:
    stream = HEAD + garbage
    whole = feed([stream])
    assert feed(bytewise(stream)) is whole
    assert feed([stream[:cut], stream[cut:]]) is whole


@pytest.mark.parametrize("data", [data for data, _ in REFUSED.values()], ids=REFUSED)
def test_verdict_is_given_before_the_payload(data: bytes) -> None:
    watch = FrameWatch(LIMITS)
    given_at = next(
        at for at, byte in enumerate(bytewise(HEAD + data)) if watch.receive_data(byte) is not None
    )
    assert given_at < len(HEAD + data)
    assert len(watch._head) <= 14


@pytest.mark.parametrize(("size", "verdict"), [(8192, None), (8193, ErrorKind.TOO_LARGE)])
def test_head_is_bounded(size: int, verdict: ErrorKind | None) -> None:
    assert HEAD_BYTES_MAX == 8192
    head = b"GET / HTTP/1.1\r\nX: " + (size - len(b"GET / HTTP/1.1\r\nX: \r\n\r\n")) * b"x"
    whole = head + b"\r\n\r\n"
    assert len(whole) == size
    assert feed([whole]) is verdict
    assert feed(bytewise(whole)) is verdict
    assert feed([whole[:4000], whole[4000:]]) is verdict
    assert feed([8193 * b"x"]) is ErrorKind.TOO_LARGE
    assert feed([whole + 4 * encode_ws_frame(bytes(100))]) is verdict  # only the head is counted


# --- the stream ---------------------------------------------------------------------------------


@dataclass
class Watched:
    """A guarded stream over memory, its peer, and what it said."""

    limits: GuardLimits = LIMITS
    faults: list[ErrorKind] = field(default_factory=list)
    ends: int = 0

    def __post_init__(self) -> None:
        self.peer, self.below = trio.testing.memory_stream_pair()
        self.stream = GuardedStream(self.below, self.limits, self.faults.append, self._end)

    def _end(self) -> None:
        self.ends += 1


async def test_what_is_allowed_passes_unchanged() -> None:
    watched = Watched()
    data = HEAD + encode_ws_frame(b"abc")
    await watched.peer.send_all(data)
    assert await watched.stream.receive_some() == data
    await watched.peer.send_eof()
    assert await watched.stream.receive_some() == b""
    assert watched.faults == []
    assert watched.ends == 1


async def test_nothing_is_heard_after_a_fault_but_the_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    watched = Watched()
    await watched.peer.send_all(HEAD)
    assert await watched.stream.receive_some() == HEAD
    await watched.peer.send_all(encode_ws_frame(b"", TEXT))
    with trio.move_on_after(1) as waiting:
        await watched.stream.receive_some()
    assert waiting.cancelled_caught
    assert watched.faults == [ErrorKind.TEXT_MESSAGE]
    await watched.peer.send_all(encode_ws_frame(b"", masked=False))
    await watched.peer.send_eof()
    assert await watched.stream.receive_some() == b""
    assert watched.faults == [ErrorKind.TEXT_MESSAGE]
    await watched.stream.send_all(b"a close frame")
    assert await watched.peer.receive_some() == b"a close frame"


async def test_bytes_are_counted_by_the_second(autojump_clock: trio.testing.MockClock) -> None:
    watched = Watched(GuardLimits(1000, 4, burst_bytes=1000, bytes_per_s=100, item_bytes=0))
    kilobyte = encode_ws_frame(bytes(992 - len(HEAD)))
    data = HEAD + kilobyte
    assert len(data) == 1000
    await watched.peer.send_all(data)
    assert await watched.stream.receive_some() == data  # all at once
    await trio.sleep(1)
    hundred = encode_ws_frame(bytes(94))
    await watched.peer.send_all(hundred)
    assert await watched.stream.receive_some() == hundred  # and a second's worth
    await trio.sleep(0.5)
    assert watched.faults == []
    await watched.peer.send_all(hundred)
    await watched.peer.send_eof()
    assert await watched.stream.receive_some() == b""
    assert watched.faults == [ErrorKind.FLOODED]


async def test_a_read_and_a_frame_cost_more_than_their_bytes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    limits = GuardLimits(burst_bytes=1000, bytes_per_s=100, item_bytes=50)
    watched = Watched(limits)
    await watched.peer.send_all(HEAD)
    assert await watched.stream.receive_some() == HEAD
    left = 1000 - len(HEAD) - 50
    message = 2 * encode_ws_frame(b"", PONG)
    cost = len(message) + 50 + 2 * 50
    for _ in range(left // cost):
        await watched.peer.send_all(message)
        assert await watched.stream.receive_some() == message
    assert watched.faults == []
    assert watched.stream.charge_frames((left % cost) // 50)
    assert not watched.stream.charge_frames(1)
    assert watched.faults == [ErrorKind.FLOODED]
    await watched.peer.send_all(message)
    await watched.peer.send_eof()
    assert await watched.stream.receive_some() == b""  # nothing is heard any more


async def test_waiting_earns_no_more_than_the_burst(autojump_clock: trio.testing.MockClock) -> None:
    watched = Watched(GuardLimits(2000, 4, burst_bytes=1000, bytes_per_s=100))
    await trio.sleep(3600)
    await watched.peer.send_all(HEAD + encode_ws_frame(bytes(1000)))
    await watched.peer.send_eof()
    assert await watched.stream.receive_some() == b""
    assert watched.faults == [ErrorKind.FLOODED]


async def test_a_large_head_is_the_end() -> None:
    watched = Watched(GuardLimits(burst_bytes=100_000))
    await watched.peer.send_all(9000 * b"x")
    await watched.peer.send_eof()
    assert await watched.stream.receive_some() == b""
    assert watched.faults == [ErrorKind.TOO_LARGE]
    assert watched.ends == 2  # at once, and with the stream


async def test_a_broken_stream_is_the_end() -> None:
    watched = Watched()
    await watched.below.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await watched.stream.receive_some()
    assert watched.ends == 1


class Stuck(trio.abc.Stream):
    """Takes nothing, closes never by itself."""

    def __init__(self) -> None:
        self.writes = 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.writes += 1
        await trio.sleep_forever()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.sleep_forever()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.sleep_forever()
        return b""

    async def aclose(self) -> None:
        await trio.sleep_forever()


def stuck(faults: list[ErrorKind]) -> tuple[Stuck, GuardedStream]:
    below = Stuck()
    return below, GuardedStream(below, GuardLimits(write_s=10), faults.append, lambda: None)


async def test_a_write_that_is_not_taken_is_a_slow_reader(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults: list[ErrorKind] = []
    _, stream = stuck(faults)
    began = trio.current_time()
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"answer")
    assert trio.current_time() - began == pytest.approx(10)
    assert faults == [ErrorKind.SLOW_READER]


async def test_nothing_follows_a_write_that_was_cut(autojump_clock: trio.testing.MockClock) -> None:
    faults: list[ErrorKind] = []
    below, stream = stuck(faults)
    with trio.move_on_after(1):
        await stream.send_all(b"half an answer")
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"another")
    assert below.writes == 1
    assert faults == []


async def test_a_ping_waits_for_the_write_before_it(autojump_clock: trio.testing.MockClock) -> None:
    watched = Watched()
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(watched.stream.send_all, b"a frame")
            nursery.start_soon(watched.stream.ping)
    assert len(await watched.peer.receive_some()) == 2 * len(b"a frame" + b"\x89\x00")


def test_pongs_are_counted_whatever_is_in_them() -> None:
    watch = FrameWatch(LIMITS)
    sent = [b"", b"x", bytes(125)]
    watch.receive_data(HEAD + b"".join(encode_ws_frame(payload, PONG) for payload in sent))
    watch.receive_data(encode_ws_frame(b"", PING) + encode_ws_frame(b"abc"))
    assert watch.pongs == len(sent)


async def test_closing_does_not_wait_for_the_peer(autojump_clock: trio.testing.MockClock) -> None:
    _, stream = stuck([])
    began = trio.current_time()
    await stream.aclose()
    assert trio.current_time() - began == pytest.approx(10)
