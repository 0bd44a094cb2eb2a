"""How clients' web sockets end, how many there may be, and whose fault costs whom."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import AsyncExitStack
from ipaddress import ip_network

import pytest
import trio
import trio.testing

from otp_server.errors import ErrorKind
from otp_server.transport.guard import GuardLimits
from otp_server.transport.http import HttpLimits
from tests.support.client_stage import (
    SERVICE,
    Face,
    echo,
    raise_bug,
    request_on,
    say,
    serving,
)
from tests.support.observe import until
from tests.support.raw_websocket import CLOSE, PING, PONG, TEXT
from tests.support.served import captured_logs


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    """As the server writes them: other than structlog's own way, without what is in variables."""
    with captured_logs():
        yield


# --- ends -----------------------------------------------------------------------------------------


async def test_a_client_that_says_goodbye() -> None:
    face = Face()
    async with serving(face) as stage, stage.connect() as client:
        await client.send(b"\x03\xe8", CLOSE)
        assert await client.read_frame() == (CLOSE, b"\x03\xe8")
        await until(lambda: (face.gone, len(stage.sockets)) == (1, 0))
        assert stage.value("otp_client_closes_total", kind="peer") == 1


@pytest.mark.parametrize("how", ["leave", "reset"])
async def test_a_client_that_just_goes(how: str) -> None:
    face = Face()
    async with serving(face) as stage, stage.connect() as client:
        await echo(client)
        await getattr(client, how)()
        await until(lambda: (face.gone, len(stage.sockets)) == (1, 0))


async def test_a_client_that_vanishes_is_found_out() -> None:
    """No FIN comes from a machine without power: its pongs stop."""
    face = Face()
    async with (
        serving(face, ping_interval_s=0.1, ping_misses=2) as stage,
        stage.connect() as client,
    ):
        assert await client.read_close() == (1011, "ping_timeout")
        await until(lambda: (face.gone, len(stage.sockets)) == (1, 0))


async def test_a_client_that_answers_pings_stays() -> None:
    face = Face()
    async with (
        serving(face, ping_interval_s=0.1, ping_misses=2) as stage,
        stage.connect() as client,
    ):
        for _ in range(6):
            opcode, payload = await client.read_frame()
            assert opcode == PING
            await client.send(payload, PONG)
        await echo(client)


async def test_a_slow_reader_is_cut() -> None:
    face = Face()
    limits = GuardLimits(text=True, message_bytes_max=4096, write_s=0.2)
    async with serving(face, guard=limits) as stage, stage.connect() as other:
        async with stage.connect():
            await until(lambda: len(face.running) == 2)
            slow = face.running[1]
            with trio.move_on_after(10):
                while face.gone == 0:
                    assert slow.link is not None
                    slow.link.send("x" * 30_000)
                    await trio.sleep(0.001)
            assert (face.gone, len(stage.sockets)) == (1, 1)
        assert stage.value("otp_client_closes_total", kind="slow_reader") == 1
        await echo(other)


async def test_a_close_is_after_what_was_sent() -> None:
    face = Face()
    async with serving(face) as stage, stage.connect() as client:
        await until(lambda: len(face.running) == 1)
        link = face.running[0].link
        assert link is not None
        link.send("last")
        link.close(ErrorKind.UNAUTHORIZED)
        link.send("too late")
        assert await client.read_frame() == (TEXT, b"last")
        assert await client.read_frame() == (CLOSE, b"\x0f\xa2unauthorized")
        await until(lambda: len(stage.sockets) == 0)  # though the client does not answer it


# --- one connection's fault is its own ------------------------------------------------------------


@pytest.mark.parametrize("where", ["on_admit", "on_run", "on_received", "on_closed"])
async def test_a_bug_in_the_face_costs_one_connection(where: str) -> None:
    face = Face()
    async with serving(face) as stage, stage.connect() as other:
        await until(lambda: len(face.running) == 1)
        setattr(face, where, lambda *_: raise_bug())
        if where == "on_admit":
            assert (await stage.refused())[0] == 500
        elif where == "on_closed":
            async with stage.connect() as client:
                await echo(client)
        else:
            async with stage.connect() as client:
                if where == "on_received":
                    await say(client, "abc")
                assert await client.read_close() == (1011, "internal")
        await until(lambda: len(stage.sockets) == 1)
        assert stage.crashes == 1
        setattr(face, where, lambda *_: None)
        await echo(other)
        async with stage.connect() as later:
            await echo(later)
        assert await stage.get() == b"200"


async def test_bugs_in_many_at_once_cost_themselves() -> None:
    face = Face(on_received=lambda text: raise_bug() if text == "bug" else None)
    async with serving(face) as stage, stage.connect() as other:
        async with trio.open_nursery() as clients:

            async def crash() -> None:
                async with stage.connect() as client:
                    await say(client, "bug")
                    assert await client.read_close() == (1011, "internal")

            for _ in range(20):
                clients.start_soon(crash)
        await echo(other)
        await until(lambda: (face.gone, len(stage.sockets)) == (20, 1))
        assert stage.crashes == 20


# --- how many -------------------------------------------------------------------------------------


async def test_a_thousand_sockets_leave_nothing() -> None:
    face = Face()
    async with serving(face) as stage:
        for _ in range(10):
            async with AsyncExitStack() as held:
                for _ in range(100):
                    client = await held.enter_async_context(stage.connect())
                    await echo(client)
                assert len(stage.sockets) == stage.value("otp_client_sockets") == 100
            await until(lambda: len(stage.sockets) == 0)
        assert (face.admitted, face.gone) == (1000, 1000)
        assert stage.value("otp_client_sockets") == 0
        assert not stage.sockets._of_address
        gc.collect()
        assert not face.alive


async def test_open_sockets_take_no_place_of_requests() -> None:
    async with serving(Face(), limits=HttpLimits(3, 3)) as stage, AsyncExitStack() as held:
        clients = [await held.enter_async_context(stage.connect()) for _ in range(10)]
        assert await stage.get() == b"200"
        for client in clients:
            await echo(client)


async def test_sockets_that_are_not_let_in_yet_take_places_of_requests() -> None:
    face, go_on = Face(), trio.Event()
    face.wait = go_on.wait
    async with serving(face, limits=HttpLimits(3, 3)) as stage, AsyncExitStack() as held:
        for _ in range(3):
            client = await held.enter_async_context(await stage.dial())
            await client.stream.send_all(stage.request())
        await until(lambda: len(face.asked) == 3)
        async with await stage.dial() as late:
            with pytest.raises((EOFError, trio.BrokenResourceError)):
                await request_on(late)
        go_on.set()


@pytest.mark.parametrize("bound", ["sockets_max", "per_address"])
async def test_sockets_are_bounded(bound: str) -> None:
    face = Face()
    async with serving(face, **{bound: 3}) as stage:
        async with AsyncExitStack() as held:
            for _ in range(3):
                await held.enter_async_context(stage.connect())
            for _ in range(2):  # a refusal takes no place
                assert (await stage.refused())[0] == 503
            assert (await stage.refused(source="127.0.0.2"))[0] == (
                503 if bound == "sockets_max" else 101
            )
            assert len(face.asked) == (3 if bound == "sockets_max" else 4)  # no token was used up
        await until(lambda: len(stage.sockets) == 0)
        async with stage.connect() as later:
            await echo(later)


async def test_those_being_admitted_count() -> None:
    face, go_on = Face(), trio.Event()
    face.wait = go_on.wait
    async with serving(face, sockets_max=2) as stage, AsyncExitStack() as held:
        for _ in range(2):
            client = await held.enter_async_context(await stage.dial())
            await client.stream.send_all(stage.request())
        await until(lambda: len(face.asked) == 2)
        assert (await stage.refused())[0] == 503
        go_on.set()


async def test_a_proxy_is_believed_when_it_is_trusted() -> None:
    face = Face()
    trusted = [ip_network("127.0.0.0/8")]
    async with serving(face, per_address=1, trusted=trusted) as stage, AsyncExitStack() as held:

        async def come(forwarded: str) -> int:
            status, _ = await stage.refused(headers={**SERVICE, "X-Forwarded-For": forwarded})
            return status

        first = {**SERVICE, "X-Forwarded-For": "192.0.2.1"}
        await held.enter_async_context(stage.connect(headers=first))
        assert await come("192.0.2.1") == 503
        assert await come("198.51.100.7, 192.0.2.1") == 503  # the leftmost is the client's word
        assert await come("192.0.2.2") == 101
        ipv6 = {**SERVICE, "X-Forwarded-For": "2001:db8::1"}
        await held.enter_async_context(stage.connect(headers=ipv6))
        assert await come("2001:db8::ffff") == 503
        for _ in range(3):  # the proxy itself
            await held.enter_async_context(stage.connect())
        assert face.asked[0].address == "192.0.2.1"


async def test_a_proxy_is_not_believed_otherwise() -> None:
    face = Face()
    async with (
        serving(face, per_address=1) as stage,
        stage.connect(headers={**SERVICE, "X-Forwarded-For": "192.0.2.1"}),
    ):
        other = {**SERVICE, "X-Forwarded-For": "192.0.2.2"}
        assert (await stage.refused(headers=other))[0] == 503
        assert face.asked[0].address == "127.0.0.1"


# --- draining -------------------------------------------------------------------------------------


async def test_a_drain_closes_open_sockets() -> None:
    face = Face()
    async with serving(face) as stage, AsyncExitStack() as held:
        clients = [await held.enter_async_context(stage.connect()) for _ in range(5)]
        await until(lambda: len(face.running) == 5)
        stage.stop.set()
        for client in clients:
            assert await client.read_close() == (1001, "draining")
        await stage.ended.wait()
        assert face.gone == 5


async def test_a_drain_does_not_wait_for_who_does_not_answer() -> None:
    async with serving(Face()) as stage, stage.connect():
        stage.stop.set()
        with trio.fail_after(3):
            await stage.ended.wait()


async def test_who_is_being_admitted_at_a_drain_is_sent_away() -> None:
    face, go_on = Face(), trio.Event()
    face.wait = go_on.wait
    async with serving(face) as stage, await stage.dial() as client:
        await client.stream.send_all(stage.request())
        await until(lambda: len(face.asked) == 1)
        stage.stop.set()
        await trio.testing.wait_all_tasks_blocked(0.05)
        go_on.set()
        assert (await client.read_response())[0] == 101
        assert await client.read_close() == (1001, "draining")
        await stage.ended.wait()
        assert face.gone == 1


async def test_an_upgrade_that_comes_at_a_drain_is_refused() -> None:
    face = Face()
    async with serving(face) as stage, await stage.dial() as client:
        await client.stream.send_all(stage.request()[:-2])
        await trio.testing.wait_all_tasks_blocked(0.05)
        stage.stop.set()
        await trio.testing.wait_all_tasks_blocked(0.05)
        await client.stream.send_all(b"\r\n")
        assert (await client.read_response())[0] == 503
        assert not face.asked
