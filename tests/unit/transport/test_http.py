"""The HTTP listener: what is set on Hypercorn, seen from outside."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from quart import Response
from quart_trio import QuartTrio

from otp_server.transport.http import HEAD_BYTES_MAX, serve_http
from otp_server.transport.sockets import TlsFiles, open_listener
from tests.support.certificates import make_certificate

DEADLINE_S = 20
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def serving(tls: TlsFiles | None = None) -> AsyncIterator[tuple[int, trio.Event]]:
    """The port, and the event that stops the server; it must end by itself."""
    app = QuartTrio(__name__, static_folder=None)

    @app.get("/")
    async def index() -> Response:
        return Response("here")

    listener = open_listener("127.0.0.1", 0)
    port = listener.getsockname()[1]
    stop = trio.Event()
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                partial(serve_http, app, listener, tls=tls, drain_s=5, stop=stop.wait)
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


async def test_a_connection_that_fails_fails_alone() -> None:
    """A byte after an upgrade request ends Hypercorn's own server (0.18), not that connection."""
    upgrade = (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n\r\n"
    )
    async with serving() as (port, _), await trio.open_tcp_stream("127.0.0.1", port) as other:
        for _ in range(5):
            bad = await trio.open_tcp_stream("127.0.0.1", port)
            await bad.send_all(upgrade + b"x")
            await answer(bad, b"nothing: until its end")
            await bad.aclose()
            await other.send_all(GET)
            assert b"here" in await answer(other, b"here")
