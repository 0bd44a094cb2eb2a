"""What a connection is owed before it ends, and how soon it ends (requirements 61, 63)."""

from __future__ import annotations

import fcntl
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from otp_server.errors import ErrorKind
from otp_server.transport.guard import GuardLimits
from otp_server.transport.options import OUTBOX_BYTES_MAX
from tests.support.observe import until
from tests.support.raw_websocket import (
    CLOSE,
    PING,
    PONG,
    encode_frame,
)
from tests.support.transport_stage import (
    ECHO,
    Client,
    Face,
    Served,
    served_by,
    serving,
)

pytestmark = pytest.mark.usefixtures("each_transport")

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


def arrived(client: Client) -> int:
    """Bytes that a client could read."""
    count = bytearray(4)
    fcntl.ioctl(client.stream.socket.fileno(), termios.FIONREAD, count)
    return int.from_bytes(count, sys.byteorder)


@asynccontextmanager
async def deaf(served: Served) -> AsyncIterator[tuple[Client, int]]:
    """A connection that reads nothing and has more queued than the kernel takes; its number."""
    if served_by["transport"] == "native":
        pytest.skip("the kernel takes any amount: tested in otp_core_rs/src/reactor/tests.rs")
    message, sent = encode_frame(ECHO, bytes(1021)), 0
    async with served.connect() as client:
        number = served.face.admitted[-1]
        client.stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
        while sent - arrived(client) < OUTBOX_BYTES_MAX:  # of it the kernel takes some 40 kB
            served.transport.send_many([(number, message)] * 4)
            sent += 4 * len(message)
            await trio.testing.wait_all_tasks_blocked()
        assert number not in served.face.gone
        yield client, number


@pytest.mark.parametrize(
    ("kind", "close_s"),
    [(ErrorKind.UNAUTHORIZED, 60), (ErrorKind.REPLACED, 1), (ErrorKind.DRAINING, 1)],
)
async def test_closing_one_that_does_not_read(kind: ErrorKind, close_s: float) -> None:
    """A revocation does not wait for ``close_s``."""
    face = Face()
    async with serving(face, close_s=close_s) as served, deaf(served) as (client, number):
        if kind is ErrorKind.DRAINING:
            served.transport.close_all(kind)
        else:
            served.transport.close_many([(number, kind)])
        await until(lambda: number in face.gone)
        assert served.value("otp_device_closes_total", kind=kind.token) == 1
        with pytest.raises(trio.BrokenResourceError):  # reset: nothing whole could follow
            await client.read_close()
        await served.settle()
        assert served.crashes == 0


async def test_a_revocation_hastens_a_close_that_is_under_way() -> None:
    face = Face()
    async with serving(face, close_s=60) as served, deaf(served) as (_, number):
        served.transport.close_many([(number, ErrorKind.REPLACED)])
        served.transport.close_many([(number, ErrorKind.UNAUTHORIZED)])
        await until(lambda: number in face.gone)
        assert served.value("otp_device_closes_total", kind="replaced") == 1


async def test_a_peer_that_answers_our_close_and_does_not_read_gains_no_time() -> None:
    face = Face()
    async with serving(face, close_s=3) as served, deaf(served) as (client, number):
        began = trio.current_time()
        served.transport.close_many([(number, ErrorKind.REPLACED)])
        await trio.sleep(2)
        await client.send(b"\x03\xf0", CLOSE)
        await until(lambda: number in face.gone)
        await until(lambda: not served.connections)
        assert trio.current_time() - began < 4.5  # and not 2 + 3


@pytest.mark.parametrize("payload", [b"", b"any pong answers"])
async def test_any_pong_answers(payload: bytes) -> None:
    face = Face()
    async with serving(face, ping_interval_s=0.1) as served, served.connect() as ws:
        for _ in range(6):
            opcode, _ = await ws.read_frame()
            assert opcode == PING
            await ws.send(payload, PONG)
        await ws.echo()


async def test_pings_that_are_not_answered_close() -> None:
    face = Face()
    async with serving(face, ping_interval_s=0.1) as served, served.connect() as ws:
        assert (await ws.read_frame())[0] == PING
        await ws.send(b"", PONG)
        began = trio.current_time()
        assert await ws.read_close() == (1011, "ping_timeout")
        assert 0.2 < trio.current_time() - began < 0.5


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
