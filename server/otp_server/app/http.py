"""The HTTP side of all faces on its listener: the hot operations on the reactor, if it is one's."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from otp_server.api.hot import HotFace
from otp_server.api.lanes import Load
from otp_server.transport.hot_seam import HotOptions
from otp_server.transport.http import HttpConnections, serve_http

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from otp_server.api.authentication import TokenChecker
    from otp_server.api.operation import Operation
    from otp_server.api.web import HttpApp
    from otp_server.core import ReactorListener
    from otp_server.telemetry import Metrics
    from otp_server.transport.client_socket import ClientSockets
    from otp_server.transport.http import HttpLimits
    from otp_server.transport.sockets import TlsFiles


@dataclass(frozen=True, slots=True)
class HttpSide:
    """``operations`` are all that ``app`` has; ``tokens`` checks those of their callers.

    ``load`` is shared with who else waits for the store.
    """

    app: HttpApp
    operations: Sequence[Operation[Any, Any]]
    tokens: TokenChecker | None
    metrics: Metrics
    draining: Callable[[], bool]
    sockets: ClientSockets | None = None
    load: Load = field(default_factory=Load)

    async def serve(
        self,
        listener: socket.socket | ReactorListener,
        *,
        tls: TlsFiles | None,
        limits: HttpLimits,
        stop: Callable[[], Awaitable[None]],
    ) -> None:
        """Serve until ``stop`` returns, then end what is idle and finish what was begun.

        A reactor's listener speaks no TLS, and holds ``limits`` of its own beside Hypercorn's. The
        listener is consumed. Cancellation ends every connection.
        """
        if isinstance(listener, socket.socket):
            await serve_http(
                self.app, listener, tls=tls, limits=limits, stop=stop, sockets=self.sockets
            )
        else:
            await self._serve_hot(listener, limits, stop)

    async def _serve_hot(
        self,
        listener: ReactorListener,
        limits: HttpLimits,
        stop: Callable[[], Awaitable[None]],
    ) -> None:
        from otp_server.transport import hot  # noqa: PLC0415 - Linux only

        web = self.app.options
        face = HotFace(
            self.operations,
            self.tokens,
            web,
            self.metrics,
            draining=self.draining,
            load=self.load,
        )
        connections = HttpConnections(self.app, limits, self.sockets)
        bounds = hot.reactor_options(HotOptions(face.routes, web.body_bytes_max), limits)
        transport = hot.HotTransport(face, connections, bounds, self.metrics)
        face.attach(transport)
        self.app.may_call = face.may_call
        async with trio.open_nursery() as calling:
            await calling.start(face.run)
            await transport.serve(listener, stop=stop)
            calling.cancel_scope.cancel()
