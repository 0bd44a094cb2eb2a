"""HTTP listeners: Hypercorn's connections under an accept loop of our own.

Hypercorn lets an exception of one connection end the whole server: a body cut short or a byte after
an upgrade request is enough, and needs no token. So its connection class is driven from here, and
what leaves a connection ends that connection only (requirement 91). Every default of Hypercorn that
matters is set on purpose.

Hypercorn cannot stop while a client does not read what it is sent: the command that started the
server ends the process after the drain time (``cli.serve``).
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from quart_trio import QuartTrio

    from otp_server.transport.sockets import TlsFiles

KEEP_ALIVE_S = 75
READ_S = 30
HEAD_BYTES_MAX = 16 * 1024

log = get_logger(__name__)


async def serve_http(
    app: QuartTrio,
    listener: socket.socket,
    *,
    tls: TlsFiles | None,
    drain_s: float,
    stop: Callable[[], Awaitable[None]],
) -> None:
    """Serve ``app`` until ``stop`` returns, then let requests in flight end within ``drain_s``.

    The listener is consumed. Hooks of the application for its start and stop are not called.
    """
    context = WorkerContext(None)
    handle = partial(_handle, ASGIWrapper(app), _config(drain_s), context)
    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(
                partial(
                    trio.serve_listeners,
                    handle,
                    [_trio_listener(listener, tls)],
                    handler_nursery=connections,
                )
            )
            await stop()
            accepting.cancel_scope.cancel()
        await context.terminated.set()
        connections.cancel_scope.deadline = trio.current_time() + drain_s


async def _handle(
    app: ASGIWrapper,
    config: Config,
    context: WorkerContext,
    stream: trio.SSLStream[trio.SocketStream],  # or a plain SocketStream: Hypercorn finds out
) -> None:
    """The last-resort handler of one connection: nothing but cancellation leaves it."""
    try:
        await TCPServer(app, config, context, ConnectionState({}), stream)
    except* Exception as group:  # noqa: BLE001 - logged, without a traceback for a peer to cause
        # The application answers its own bugs (``api.web``): these are Hypercorn's, made by what
        # the peer sent or by its leaving.
        log.warning("HTTP connection dropped", why=repr(group))


def _trio_listener(listener: socket.socket, tls: TlsFiles | None) -> trio.abc.Listener[Any]:
    plain = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    if tls is None:
        return plain
    context = tls.context()
    context.set_alpn_protocols(["http/1.1"])  # HTTP/2 would need bounds of its own
    return trio.SSLListener(plain, context, https_compatible=True)


def _config(drain_s: float) -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.graceful_timeout = drain_s
    config.h11_max_incomplete_size = HEAD_BYTES_MAX
    config.include_server_header = False
    config.keep_alive_max_requests = 1_000_000
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.read_timeout = READ_S
    config.websocket_max_message_size = HEAD_BYTES_MAX
    return config
