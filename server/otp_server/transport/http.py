"""HTTP listeners: Hypercorn on Trio, every default that matters set on purpose.

Hypercorn cannot stop while a client does not read what it is sent: the command that started the
server ends the process after the drain time (``cli.serve``).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import hypercorn.trio
from hypercorn.config import Config

from otp_server.transport.sockets import BACKLOG

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from quart_trio import QuartTrio

    from otp_server.transport.sockets import TlsFiles

KEEP_ALIVE_S = 75
READ_S = 30
HEAD_BYTES_MAX = 16 * 1024


async def serve_http(
    app: QuartTrio,
    listener: socket.socket,
    *,
    tls: TlsFiles | None,
    drain_s: float,
    stop: Callable[[], Awaitable[None]],
) -> None:
    """Serve ``app`` until ``stop`` returns, then let requests in flight end within ``drain_s``.

    The listener is consumed.
    """
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.backlog = BACKLOG  # it listens again, with its own
    config.graceful_timeout = drain_s
    config.h11_max_incomplete_size = HEAD_BYTES_MAX
    config.include_server_header = False
    config.keep_alive_max_requests = 1_000_000
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.read_timeout = READ_S
    config.websocket_max_message_size = HEAD_BYTES_MAX
    if tls is not None:
        config.certfile = tls.certificate
        config.keyfile = tls.key
    await hypercorn.trio.serve(app, config, shutdown_trigger=stop, mode="asgi")
