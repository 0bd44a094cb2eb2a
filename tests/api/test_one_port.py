"""One port: hot operations on the reactor, everything else on Hypercorn, and what goes between."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import trio
from quart import Response as QuartResponse

from otp_server.api import lanes
from otp_server.api.mount import mount
from otp_server.api.operation import Operation, Priority, Response
from otp_server.api.web import WebOptions, make_app
from otp_server.app.http import HttpSide
from otp_server.telemetry import Metrics
from otp_server.transport import hot
from otp_server.transport.client_socket import ClientSockets
from otp_server.transport.http import HttpLimits
from tests.support import client_stage
from tests.support.hot_requests import SAID, Calls
from tests.support.http_stage import PLENTY, serve_side
from tests.support.observe import until
from tests.support.raw_websocket import upgrade_request
from tests.support.transport_stage import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEADLINE_S = 60.0
COLD = b"GET /cold HTTP/1.1\r\nHost: x\r\n\r\n"
STREAM = b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"


def hot_request(body: bytes = b"1", path: str = "/judge", more: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


async def _here(batch: object) -> list[None]:
    return [None]


@dataclass
class Port:
    """The listener, and what is behind it."""

    number: int
    calls: Calls
    metrics: Metrics
    stop: trio.Event
    go_on: trio.Event
    sockets: ClientSockets

    async def dial(self, source: str = "127.0.0.1") -> Client:
        stream = await trio.open_tcp_stream("127.0.0.1", self.number, local_address=source)
        return Client(stream)

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    @property
    def crashes(self) -> float:
        return self.value("otp_handler_crashes_total", where="http")


@asynccontextmanager
async def port(limits: HttpLimits = PLENTY) -> AsyncIterator[Port]:
    """Serve; ``/stream`` says a word and then waits. At the end it drains, and must end."""
    calls, metrics = Calls(), Metrics()
    cold: Operation[None, None] = Operation(
        name="cold",
        summary="cold",
        method="GET",
        paths=("/cold",),
        decode=lambda _request: None,
        call=_here,
        render=lambda _outcome: Response(b"cold", 200, "text/plain"),
        error_style=SAID,
        priority=Priority.START,
    )
    app = make_app("test", WebOptions(65_536, []), metrics)
    operations = [*calls.operations, cold]
    mount(app, operations)
    go_on = trio.Event()

    @app.route("/stream")
    async def stream() -> QuartResponse:
        async def words() -> AsyncIterator[bytes]:
            yield b"first"
            await go_on.wait()
            yield b"second"

        return QuartResponse(words(), content_type="text/event-stream")

    sockets = ClientSockets(client_stage.Face(), client_stage.options(), metrics)
    side = HttpSide(app, operations, None, metrics, lambda: False, sockets)
    with trio.fail_after(DEADLINE_S):
        async with serve_side(side, limits, "native") as (number, stop):
            yield Port(number, calls, metrics, stop, go_on, sockets)


async def read(client: Client) -> bytes:
    """The body of the next answer, which must be a good one."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await client._take(1)
    assert head.startswith(b"HTTP/1.1 200 "), head
    [length] = [
        int(line.partition(b":")[2])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    ]
    return await client._take(length)


async def closed(client: Client) -> bool:
    """Whether a request is not even answered."""
    try:
        await client.stream.send_all(hot_request())
        return await client.stream.receive_some() == b""
    except trio.BrokenResourceError:
        return True


async def test_hot_cold_and_hot_again_on_one_connection() -> None:
    async with port() as served, await served.dial() as client:
        for body in (b"1", b"2"):
            await client.stream.send_all(hot_request(body))
            assert await read(client) == body
        assert len(served.calls.batches) == 2
        await client.stream.send_all(COLD)
        assert await read(client) == b"cold"
        await client.stream.send_all(hot_request(b"3"))  # Hypercorn's for the rest of its life
        assert await read(client) == b"3"
        await client.stream.send_all(COLD)
        assert await read(client) == b"cold"


@pytest.mark.parametrize("step", [1, 7, 1000])
async def test_hot_and_cold_pipelined_are_answered_in_order(step: int) -> None:
    data = hot_request(b"1") + hot_request(b"2") + COLD + hot_request(b"3") + COLD
    async with port() as served, await served.dial() as client:
        for start in range(0, len(data), step):
            await client.stream.send_all(data[start : start + step])
        said = [await read(client) for _ in range(5)]
        assert said == [b"1", b"2", b"cold", b"3", b"cold"]


async def test_a_web_socket_after_a_hot_request() -> None:
    async with port() as served, await served.dial() as client:
        url = f"ws://127.0.0.1:{served.number}{client_stage.PATH}"
        upgrade = upgrade_request(url, client_stage.SERVICE)
        await client.stream.send_all(hot_request() + upgrade + client_stage.masked("early"))
        assert await read(client) == b"1"
        status, _ = await client.read_response()
        assert status == 101
        assert await client.read_frame() == (client_stage.TEXT, b"early")
        await client_stage.echo(client)
        assert len(served.sockets) == 1


async def test_a_slow_body_behind_a_hot_request_is_streamed() -> None:
    async with port() as served, await served.dial() as client:
        await client.stream.send_all(hot_request() + STREAM)
        assert await read(client) == b"1"
        heard = b""
        while b"first" not in heard:
            heard += await client._take(1)
        async with await served.dial() as other:
            await other.stream.send_all(hot_request(b"2"))
            assert await read(other) == b"2"
        served.go_on.set()
        while b"second" not in heard:
            heard += await client._take(1)


async def test_http_2_is_refused_by_who_refuses_it() -> None:
    async with port() as served, await served.dial() as client:
        await client.stream.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert b" 505 " in await client.stream.receive_some()


async def test_connections_of_both_kinds_are_bounded() -> None:
    """Hypercorn has as many as the reactor, and what is too much is closed unanswered."""
    async with port(HttpLimits(2, 2)) as served:
        async with await served.dial() as one, await served.dial() as two:
            for client in (one, two):
                await client.stream.send_all(COLD)
                assert await read(client) == b"cold"
            async with await served.dial() as three, await served.dial() as four:
                await three.stream.send_all(hot_request())
                assert await read(three) == b"1"
                await four.stream.send_all(COLD)  # there is no place for it at Hypercorn
                assert await four.stream.receive_some() == b""
                async with await served.dial() as five:
                    await five.stream.send_all(hot_request())
                    assert await read(five) == b"1"
                    async with await served.dial() as six:
                        assert await closed(six)
        async with await served.dial() as late:  # the places are free again
            await late.stream.send_all(hot_request())
            assert await read(late) == b"1"


async def test_a_bug_in_one_operation_costs_its_batch_only() -> None:
    async with port() as served, await served.dial() as bad, await served.dial() as good:
        await bad.stream.send_all(hot_request(b"call-crash"))
        await good.stream.send_all(hot_request(b"1", "/start"))
        assert (await bad.read_response())[0] == 500
        assert await read(good) == b"1"
        assert served.crashes == 1
        await bad.stream.send_all(hot_request(b"2"))
        assert await read(bad) == b"2"


async def test_while_codes_wait_to_be_judged_other_calls_are_refused_on_both_paths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "BEHIND_S", 0)
    async with AsyncExitStack() as opened:
        served = await opened.enter_async_context(port())
        *judged, hot_client, cold_client = [
            await opened.enter_async_context(await served.dial()) for _ in range(5)
        ]
        go_on = trio.Event()

        async def wait(name: str) -> None:
            if name == "judge":
                await go_on.wait()

        served.calls.before = wait
        await cold_client.stream.send_all(COLD)
        assert await read(cold_client) == b"cold"
        for count, client in enumerate(judged, 1):
            await client.stream.send_all(hot_request())
            called = min(count, lanes.CALLS_MAX)
            await until(lambda called=called: len(served.calls.batches) == called)
        await hot_client.stream.send_all(hot_request(b"2"))  # behind those three
        for request in (COLD, hot_request(path="/start")):
            await cold_client.stream.send_all(request)
            status, headers = await cold_client.read_response()
            assert (status, headers["retry-after"]) == (503, "1")
        assert served.value("otp_http_shed_total", priority="start") == 2
        go_on.set()
        for client in (*judged, hot_client):
            assert await read(client)
        await cold_client.stream.send_all(COLD)
        assert await read(cold_client) == b"cold"


@pytest.mark.parametrize("header", [b"bad-header", b"worse-header"])
async def test_an_answer_that_is_no_http_costs_that_answer_only(header: bytes) -> None:
    async with AsyncExitStack() as opened:
        served = await opened.enter_async_context(port())
        bad, good, *others = [
            await opened.enter_async_context(await served.dial()) for _ in range(4)
        ]
        go_on = trio.Event()

        async def wait(_name: str) -> None:
            await go_on.wait()

        served.calls.before = wait
        for count, client in enumerate(others, 1):  # as many calls as may be: the rest gathers
            await client.stream.send_all(hot_request())
            await until(lambda count=count: len(served.calls.batches) == count)
        await bad.stream.send_all(hot_request(header))
        await good.stream.send_all(hot_request(b"1"))
        await trio.testing.wait_all_tasks_blocked(0.05)
        go_on.set()
        assert (await bad.read_response())[0] == 500
        assert await read(good) == b"1"
        assert served.crashes == 1


async def test_a_bug_in_taking_requests_costs_no_more_than_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hot, "REQUEST_S", 1)
    async with port() as served, await served.dial() as bad, await served.dial() as good:
        with monkeypatch.context() as patch:
            patch.setattr("otp_server.api.hot.HotFace._read", lambda *_: 1 / 0)
            patch.setattr("otp_server.api.hot.HotFace._refuse", lambda *_: 1 / 0)
            await bad.stream.send_all(hot_request())
            await until(lambda: served.crashes == 1)
        await good.stream.send_all(hot_request())
        assert await read(good) == b"1"
        assert await bad.stream.receive_some() == b""  # its deadline ends it


async def test_a_peer_that_does_not_read_is_cut_while_others_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hot, "WRITE_S", 1)
    async with port() as served, await served.dial() as slow, await served.dial() as good:
        slow.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
        answered = 0

        async def ask_and_ask() -> None:
            nonlocal answered
            while True:
                await slow.stream.send_all(hot_request(60_000 * b"x"))
                await good.stream.send_all(hot_request(b"1"))
                assert await read(good) == b"1"
                answered += 1

        with pytest.raises((trio.BrokenResourceError, OSError)):
            await ask_and_ask()
        assert answered


async def test_a_drain_answers_what_is_in_flight_and_ends_the_rest() -> None:
    async with port() as served:
        go_on = trio.Event()

        async def wait(_name: str) -> None:
            await go_on.wait()

        served.calls.before = wait
        async with (
            await served.dial() as idle,
            await served.dial() as silent,
            await served.dial() as asking,
            await served.dial() as begun,
            await served.dial() as cold,
        ):
            await cold.stream.send_all(COLD)
            assert await read(cold) == b"cold"
            await begun.stream.send_all(hot_request(b"2")[:-1])
            await asking.stream.send_all(hot_request())
            await until(lambda: len(served.calls.batches) == 1)
            served.stop.set()
            for client in (idle, silent, cold):
                assert await client.stream.receive_some() == b""
            with pytest.raises(OSError, match=r"all attempts to connect|refused"):
                await served.dial()
            go_on.set()
            await begun.stream.send_all(b"2")
            for client in (asking, begun):
                status, headers = await client.read_response()
                assert (status, headers["connection"]) == (200, "close")
                assert await client.stream.receive_some() == b""


async def test_a_drain_ends_a_connection_that_goes_over_meanwhile() -> None:
    async with port() as served, await served.dial() as client:
        await client.stream.send_all(COLD[:-2])
        async with await served.dial() as other:  # by then the server has read the beginning
            await other.stream.send_all(hot_request())
            assert await read(other) == b"1"
        served.stop.set()
        await trio.testing.wait_all_tasks_blocked(0.02)
        await client.stream.send_all(COLD[-2:])
        assert await read(client) == b"cold"
        assert await client.stream.receive_some() == b""
