"""The HTTP listener: what is set on Hypercorn, seen from outside."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import pytest
import trio
from quart import Response, request
from quart_trio import QuartTrio

from otp_server.transport import http
from otp_server.transport.http import HEAD_BYTES_MAX, HttpLimits, serve_http
from otp_server.transport.sockets import TlsFiles, open_listener
from tests.support.certificates import make_certificate

DEADLINE_S = 20
PLENTY = HttpLimits(100, 100)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nhere"


@asynccontextmanager
async def serving(
    tls: TlsFiles | None = None, limits: HttpLimits = PLENTY
) -> AsyncIterator[tuple[int, trio.Event]]:
    """The port, and the event that stops the server; it must end by itself."""
    app = QuartTrio(__name__, static_folder=None)

    @app.get("/")
    async def index() -> Response:
        return Response("here")

    @app.post("/")
    async def echo() -> Response:
        return Response(await request.get_data(as_text=False))

    listener = open_listener("127.0.0.1", 0)
    port = listener.getsockname()[1]
    stop = trio.Event()
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                partial(serve_http, app, listener, tls=tls, limits=limits, stop=stop.wait)
            )
            yield port, stop
            stop.set()


async def answer(stream: trio.abc.Stream, until: bytes) -> bytes:
    data = b""
    while until not in data:
        more = await stream.receive_some()
        if not more:
            return data
        data += more
    return data


async def test_a_request_is_answered_and_the_server_does_not_name_itself() -> None:
    async with serving() as (port, _), await trio.open_tcp_stream("127.0.0.1", port) as client:
        for _ in range(3):  # on one connection
            await client.send_all(GET)
            head = await answer(client, b"here")
            assert head.startswith(b"HTTP/1.1 200")
            assert b"server:" not in head.lower()


async def test_a_head_that_is_too_large_is_refused() -> None:
    async with serving() as (port, _), await trio.open_tcp_stream("127.0.0.1", port) as client:
        await client.send_all(b"GET / HTTP/1.1\r\nX: " + (HEAD_BYTES_MAX + 1) * b"x")
        assert (await answer(client, b"\r\n\r\n")).split()[1] in (b"400", b"431")


async def test_stopping_ends_idle_connections_and_listens_no_more() -> None:
    async with (
        serving() as (port, stop),
        await trio.open_tcp_stream("127.0.0.1", port) as client,
    ):
        await client.send_all(GET)
        await answer(client, b"here")
        stop.set()
        assert await client.receive_some() == b""
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream("127.0.0.1", port)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_offers_http_1_1_alone(tmp_path: Path, newest: ssl.TLSVersion) -> None:
    pair = make_certificate(tmp_path)
    context = pair.client_context()
    context.maximum_version = newest
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with (
        serving(TlsFiles(str(pair.certificate), str(pair.key))) as (port, _),
        await trio.open_ssl_over_tcp_stream(
            "127.0.0.1", port, ssl_context=context, https_compatible=True
        ) as client,
    ):
        await client.send_all(GET)
        assert b"here" in await answer(client, b"here")
        assert client.selected_alpn_protocol() == "http/1.1"


async def test_a_connection_that_fails_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception ends Hypercorn's own server (0.18), not that connection."""
    receive = http._Http11.handle

    async def fail(self: http._Http11, event: object) -> None:
        if b"BAD" in getattr(event, "data", b""):
            raise RuntimeError("a bug")
        await receive(self, event)

    monkeypatch.setattr(http._Http11, "handle", fail)
    async with serving() as (port, _), await trio.open_tcp_stream("127.0.0.1", port) as other:
        for _ in range(5):
            bad = await trio.open_tcp_stream("127.0.0.1", port)
            await bad.send_all(b"BAD")
            assert await answer(bad, b"nothing: until its end") == b""
            await bad.aclose()
            await other.send_all(GET)
            assert b"here" in await answer(other, b"here")


# --- other protocols ------------------------------------------------------------------------------

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
H2C = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
)
WEBSOCKET = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n\r\n"
)


async def test_http_2_with_prior_knowledge_is_refused() -> None:
    async with serving() as (port, _), await trio.open_tcp_stream("127.0.0.1", port) as client:
        await client.send_all(PREFACE)
        assert (await answer(client, b"nothing: until its end")).startswith(b"HTTP/1.1 505")


async def test_http_2_with_prior_knowledge_is_refused_in_tls(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path)
    async with (
        serving(TlsFiles(str(pair.certificate), str(pair.key))) as (port, _),
        await trio.open_ssl_over_tcp_stream(
            "127.0.0.1", port, ssl_context=pair.client_context(), https_compatible=True
        ) as client,
    ):
        await client.send_all(PREFACE)
        assert (await answer(client, b"nothing: until its end")).startswith(b"HTTP/1.1 505")


@pytest.mark.parametrize("upgrade", [H2C, WEBSOCKET], ids=["h2c", "websocket"])
async def test_an_upgrade_is_declined(upgrade: bytes) -> None:
    async with serving() as (port, _), await trio.open_tcp_stream("127.0.0.1", port) as client:
        for _ in range(2):  # and the connection stays what it is
            await client.send_all(upgrade)
            assert (await answer(client, b"here")).startswith(b"HTTP/1.1 200")


# --- bounds ---------------------------------------------------------------------------------------


async def is_served(port: int) -> bool:
    async with await trio.open_tcp_stream("127.0.0.1", port) as client:
        try:
            await client.send_all(GET)
            return b"here" in await answer(client, b"here")
        except trio.BrokenResourceError:
            return False


@pytest.mark.parametrize("limits", [HttpLimits(3, 100), HttpLimits(100, 3)], ids=["all", "address"])
async def test_connections_are_bounded(limits: HttpLimits) -> None:
    async with serving(limits=limits) as (port, _):
        async with AsyncExitStack() as held:
            for _ in range(3):
                client = await held.enter_async_context(
                    await trio.open_tcp_stream("127.0.0.1", port)
                )
                await client.send_all(GET)
                assert b"here" in await answer(client, b"here")
            assert not await is_served(port)
        while not await is_served(port):  # noqa: ASYNC110 - the server notices by itself
            await trio.sleep(0.01)


async def test_trusted_proxies_are_bounded_in_all_only() -> None:
    limits = HttpLimits(3, 1, [ip_network("127.0.0.0/8")])
    async with serving(limits=limits) as (port, _), AsyncExitStack() as held:
        for _ in range(3):
            client = await held.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port))
            await client.send_all(GET)
            assert b"here" in await answer(client, b"here")
        assert not await is_served(port)


@pytest.mark.parametrize(
    ("deadline", "said"),
    [
        ("HEAD_S", b""),
        ("HEAD_S", b"GET / HTTP/1.1\r\nHos"),
        ("REQUEST_S", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123"),
        ("KEEP_ALIVE_S", GET),
        ("HEAD_S", GET + GET[:-2]),
    ],
    ids=["silence", "half a head", "half a body", "idle", "half a second head"],
)
async def test_who_falls_silent_is_dropped(
    monkeypatch: pytest.MonkeyPatch, deadline: str, said: bytes
) -> None:
    monkeypatch.setattr(http, deadline, 0.3)
    async with serving() as (port, _), await trio.open_tcp_stream("127.0.0.1", port) as client:
        if said:
            await client.send_all(said)
        begun = trio.current_time()
        await answer(client, b"nothing: until its end")
        assert 0.2 < trio.current_time() - begun < 5


async def test_a_handshake_that_does_not_end_is_dropped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(http, "HEAD_S", 0.3)
    pair = make_certificate(tmp_path)
    async with (
        serving(TlsFiles(str(pair.certificate), str(pair.key))) as (port, _),
        await trio.open_tcp_stream("127.0.0.1", port) as client,
    ):
        begun = trio.current_time()
        assert await client.receive_some() == b""
        assert trio.current_time() - begun < 5


async def test_who_does_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "WRITE_S", 0.3)
    body = bytes(12_000_000)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with serving() as (port, _), await trio.open_tcp_stream("127.0.0.1", port) as client:
        await client.send_all(head + body)
        await trio.lowlevel.wait_readable(client.socket)  # it is being answered
        await trio.sleep(1.5)
        received = 0
        with contextlib.suppress(trio.BrokenResourceError):  # reset, or cut short
            while more := await client.receive_some():
                received += len(more)
        assert received < len(body)


# --- stopping -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "requests", [b"", GET, POST, GET + GET], ids=["none", "get", "post", "two"]
)
async def test_idle_connections_do_not_hold_a_stop(requests: bytes) -> None:
    async with serving() as (port, stop), await trio.open_tcp_stream("127.0.0.1", port) as client:
        if requests:
            await client.send_all(requests)
            await answer(client, b"here")
        await trio.sleep(0.1)
        begun = trio.current_time()
        stop.set()
        await answer(client, b"nothing: until its end")
        assert trio.current_time() - begun < http.HEAD_S / 2


async def test_a_request_begun_is_answered_at_a_stop() -> None:
    async with serving() as (port, stop), await trio.open_tcp_stream("127.0.0.1", port) as client:
        await client.send_all(POST[:-2])
        await trio.sleep(0.1)
        stop.set()
        await trio.sleep(0.1)
        await client.send_all(POST[-2:])
        assert (await answer(client, b"nothing: until its end")).endswith(b"here")
