"""What a device may cost with little: small frames, and answers that it does not read."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio
import trio.testing

from otp_server.transport.guard import GuardLimits
from otp_server.transport.options import OUTBOX_BYTES_MAX, SEND_BUFFER_BYTES
from tests.support.raw_websocket import (
    BINARY,
    PONG,
    encode_frame,
    encode_ws_frame,
    upgrade_request,
)
from tests.support.transport_stage import ECHO, PATH, Client, Face, serving

pytestmark = pytest.mark.usefixtures("each_transport")

ITEM_BYTES = 32
SMALL = encode_frame(ECHO, b"")
NO_REFILL = GuardLimits(burst_bytes=65_536, bytes_per_s=1)
SMALL_BUFFER = 4096
"""A peer's SO_RCVBUF: the kernel keeps a few kilobytes for it on its side."""


async def test_a_real_device_never_notices() -> None:
    """Requests all over a day, pongs, and as many requests at once as may wait."""
    async with serving(Face()) as served, served.connect() as ws:
        for _ in range(3):
            await ws.send(64 * SMALL)
            await ws.stream.send_all(encode_ws_frame(b"", PONG))
        for _ in range(3 * 64):
            assert await ws.read_frame() == (BINARY, SMALL)
        await ws.echo()


@pytest.mark.parametrize("frames", [1, 40])
async def test_small_frames_meet_the_limit_of_bytes(frames: int) -> None:
    """With a fraction of the bytes: each frame is charged for its work too."""
    message = encode_ws_frame(frames * SMALL)
    cost = len(message) + (frames + 1) * ITEM_BYTES  # and a read, where it is one by itself
    async with serving(Face(), guard=NO_REFILL) as served, served.connect() as ws:
        left = 65_536 - len(upgrade_request(f"ws://127.0.0.1:{served.port}{PATH}")) - ITEM_BYTES
        heard = 0
        for _ in range(left // (cost + ITEM_BYTES)):
            await ws.stream.send_all(message)
            for _ in range(frames):
                assert await ws.read_frame() == (BINARY, SMALL)
                heard += 1
        assert heard
        for _ in range(2):
            await ws.stream.send_all(message)
        assert await ws.read_close() == (1008, "flooded")


@pytest.mark.parametrize("first", [0x02, 0x8A])
async def test_empty_frames_meet_it_too(first: int) -> None:
    """Fragments without bytes, pongs."""
    limits = GuardLimits(fragments_max=1 << 16, burst_bytes=65_536, bytes_per_s=1)
    fragment = bytes([first, 0x80]) + bytes(4)
    rest = bytes([0x00 if first == 0x02 else first, 0x80]) + bytes(4)
    async with serving(Face(), guard=limits) as served, served.connect() as ws:
        await ws.stream.send_all(fragment + 1800 * rest)  # 10.8 kB, which were no flood
        assert await ws.read_close() == (1008, "flooded")


async def test_the_kernel_keeps_little_for_who_does_not_read() -> None:
    """Most of what waits is ours, where it is counted and bounded."""
    answer = encode_frame(ECHO, bytes(1000))
    face = Face()
    async with serving(face) as served:
        dialled = trio.socket.socket()
        dialled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        await dialled.connect(("127.0.0.1", served.port))
        async with Client(trio.SocketStream(dialled)) as ws:
            await ws.stream.send_all(served.request)
            await ws.read_response()
            answers = OUTBOX_BYTES_MAX // (len(answer) + 14)
            served.transport.send_many(answers * [(face.admitted[0], answer)])
            await trio.testing.wait_all_tasks_blocked(0.05)
            kept = kernel_keeps(served.port, dialled.getsockname()[1])
            assert 0 < kept <= 2 * SEND_BUFFER_BYTES
            assert kept < len(answer) * answers * 2 / 3
            for _ in range(answers):
                assert await ws.read_frame() == (BINARY, answer)


def kernel_keeps(port: int, peer_port: int) -> int:
    """The bytes that the server's end of the connection has not got rid of."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ends = f":{port:04X}", f":{peer_port:04X}"
    [row] = [line.split() for line in lines if (line.split()[1][8:], line.split()[2][8:]) == ends]
    return int(row[4].partition(":")[0], 16)
