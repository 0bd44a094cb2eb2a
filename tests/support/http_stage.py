"""An application on a real port, over either HTTP transport."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import httpx2
import trio

from otp_server.transport.http import HttpLimits
from otp_server.transport.sockets import open_listener, open_reactor_listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from otp_server.app.http import HttpSide
    from otp_server.core import ReactorListener

WAIT_S = 30.0
PLENTY = HttpLimits(1000, 1000)
served_over = {"http": "native"}


def open_http(transport: str) -> socket.socket | ReactorListener:
    """A listener on a free port of the loopback interface."""
    if transport == "native":
        return open_reactor_listener("127.0.0.1", 0)
    return open_listener("127.0.0.1", 0)


@asynccontextmanager
async def serve_side(
    side: HttpSide, limits: HttpLimits = PLENTY, transport: str | None = None
) -> AsyncIterator[tuple[int, trio.Event]]:
    """The port, and the event that begins the end; it must end by itself."""
    listener = open_http(transport or served_over["http"])
    port = listener.getsockname()[1]
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(side.serve, listener, tls=None, limits=limits, stop=stop.wait))
        yield port, stop
        stop.set()


@asynccontextmanager
async def client_of(side: HttpSide) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve, and a client for it."""
    async with serve_side(side) as (port, _):
        url = f"http://127.0.0.1:{port}"
        async with httpx2.AsyncClient(base_url=url, timeout=WAIT_S, trust_env=False) as http:
            yield http
