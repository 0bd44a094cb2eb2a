"""The device transport with a scripted face, over real loopback sockets.

Whatever goes wrong in one connection ends that connection only (requirement 62).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from otp_server.errors import ErrorKind
from tests.support.observe import until
from tests.support.raw_websocket import (
    encode_frame,
)
from tests.support.transport_stage import (
    CRASH,
    ECHO,
    Bug,
    Client,
    Face,
    serving,
)

pytestmark = pytest.mark.usefixtures("each_transport")

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
