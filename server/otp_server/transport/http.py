"""HTTP connections: Hypercorn's HTTP/1.1 under an accept loop and deadlines of our own.

Hypercorn lets an exception of one connection end the whole server: a body cut short is enough, and
needs no token. So its connection class is driven from here, and what leaves a connection ends that
connection only (requirement 91).

Nobody on this listener has shown a token before its request is read, so what a connection may cost
is bounded before that: how many there are, in all and of one address; how long the first byte, the
head, the whole request and each write may take. HTTP/2 would need bounds of its own: it is not
spoken, whether asked for by its preface, by an upgrade or in TLS.

Where a request ends must not be open to doubt: framing that another program might read otherwise is
refused before h11 sees it (``transport.http_framing``), and ends the connection.

An upgrade that ``transport.client_socket`` takes leaves Hypercorn here, with what came behind it;
all others are declined: they are answered as the plain requests they are too.

A write that a client does not read is shielded by Hypercorn until ``WRITE_S`` have passed: the
command that started the server ends the process after the drain time (``cli.serve``).
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import h11
import msgspec
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from otp_server.domain.address import address_key, is_trusted
from otp_server.errors import ErrorKind
from otp_server.telemetry import get_logger
from otp_server.transport.client_socket import AskedUpgrade
from otp_server.transport.http_framing import FramingGuard
from otp_server.transport.websocket import peer_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence

    from quart_trio import QuartTrio

    from otp_server.domain.address import Network
    from otp_server.transport.client_socket import ClientSockets
    from otp_server.transport.sockets import TlsFiles

    Stream = trio.SSLStream[trio.SocketStream] | trio.SocketStream

HEAD_S = 8
"""From the first byte of a request to the end of its head. A new connection has as long in all,
its TLS handshake included."""
REQUEST_S = 30
"""From the end of the head to the end of the answer."""
KEEP_ALIVE_S = 75
"""Between two requests."""
WRITE_S = 10
CLOSE_S = 2
HEAD_BYTES_MAX = 16 * 1024
"""Of a request's head, its last empty line included."""
_TELL_AGAIN_S = 10
_VERSIONS = (b"1.0", b"1.1")
_BAD_REQUEST = ErrorKind.MALFORMED.http_status

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """How many connections there may be; ``per_address`` does not bind trusted proxies."""

    connections: int
    per_address: int
    trusted_proxies: Sequence[Network] = ()


async def serve_http(
    app: QuartTrio,
    listener: socket.socket,
    *,
    tls: TlsFiles | None,
    limits: HttpLimits,
    stop: Callable[[], Awaitable[None]],
    sockets: ClientSockets | None = None,
) -> None:
    """Serve ``app`` until ``stop`` returns, then end what is idle and finish what was begun.

    ``sockets`` takes upgrades, and is drained with the rest; open ones are no HTTP connections any
    more, and have bounds of their own.

    The listener is consumed. Hooks of the application for its start and stop are not called.

    Cancellation ends every connection; it is how the caller bounds the finishing.
    """
    connections = HttpConnections(app, limits, sockets)
    async with trio.open_nursery() as handling:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(
                partial(
                    trio.serve_listeners,
                    connections.handle,
                    [_trio_listener(listener, tls)],
                    handler_nursery=handling,
                )
            )
            await stop()
            accepting.cancel_scope.cancel()
        await connections.drain()


class HttpConnections:
    """All connections of one listener that Hypercorn has."""

    def __init__(self, app: QuartTrio, limits: HttpLimits, sockets: ClientSockets | None) -> None:
        self._app = ASGIWrapper(app)
        self._limits = limits
        self._sockets = sockets
        self._config = _config()
        self._context = WorkerContext(None)
        self._open: set[_Connection] = set()
        self._of_address: Counter[str] = Counter()
        self._refused = 0
        self._told_at = float("-inf")

    async def adopt(self, socket: socket.socket, begun: bytes) -> None:
        """Handle a connection that began elsewhere, of whose first request ``begun`` was read.

        The socket is consumed. Nothing but cancellation leaves this.
        """
        with socket:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(socket))
            try:
                await self.handle(stream, begun)
            finally:
                await trio.aclose_forcefully(stream)

    async def handle(self, stream: Stream, begun: bytes = b"") -> None:
        """The last-resort handler of one connection: nothing but cancellation leaves it.

        ``begun`` was read of it already.
        """
        peer = peer_of(stream)
        if not peer:  # gone already
            return
        key = address_key(peer)
        if self._is_full(peer, key):
            self.note_refusals(1)
            return
        takes = None if self._sockets is None else self._sockets.takes
        connection = _Connection(self._app, self._config, self._context, stream, takes)
        connection.begun = begun
        self._open.add(connection)
        self._of_address[key] += 1
        try:
            try:
                upgrade = await connection.serve_requests()
                if self._sockets is not None and upgrade is not None:
                    del connection.protocol  # an open socket needs no buffers of HTTP
                    asked = AskedUpgrade(*upgrade, peer)
                    await self._sockets.serve(stream, asked, partial(self._leave, connection, key))
            finally:
                await connection.end()
        except* Exception as group:  # noqa: BLE001 - logged, without a traceback for a peer to cause
            # The application answers its own bugs (``api.web``): these are Hypercorn's, made by
            # what the peer sent or by its leaving.
            log.warning("HTTP connection dropped", why=repr(group))
        finally:
            self._leave(connection, key)

    def _leave(self, connection: _Connection, key: str) -> None:
        """It is no HTTP connection any more. Idempotent."""
        if connection in self._open:
            self._open.discard(connection)
            self._of_address[key] -= 1
            self._of_address += Counter()  # forgets addresses without connections

    async def drain(self) -> None:
        """Let every connection end: the idle ones now, the others after their answer."""
        await self._context.terminated.set()
        for connection in self._open:
            connection.drain()
        if self._sockets is not None:
            self._sockets.drain()

    def _is_full(self, peer: str, key: str) -> bool:
        limits = self._limits
        if len(self._open) >= limits.connections:
            return True
        if self._of_address[key] < limits.per_address:
            return False
        return not is_trusted(peer, limits.trusted_proxies)

    def note_refusals(self, count: int) -> None:
        """Closed without an answer, which would cost a handshake and a wait; told now and then."""
        self._refused += count
        if trio.current_time() >= self._told_at + _TELL_AGAIN_S:
            self._told_at = trio.current_time()
            log.warning("too many HTTP connections", refused=self._refused, open=len(self._open))
            self._refused = 0


class _NotSpokenError(Exception):
    """The peer was told that its version of HTTP is not spoken here."""


class _UpgradeTaken(Exception):
    """The connection leaves HTTP: ``asked`` is the request and the bytes that came behind it."""

    def __init__(self, request: h11.Request, behind: bytes) -> None:
        super().__init__()
        self.asked = request, behind


class _Http11(H11Protocol):
    """HTTP/1.1, strictly framed, and nothing it could be upgraded to but what ``takes`` takes."""

    takes: Callable[[h11.Request], bool] | None = None

    def __init__(self, *args: Any) -> None:  # noqa: ANN401 - Hypercorn's, passed on
        super().__init__(*args)
        self._framing = FramingGuard(HEAD_BYTES_MAX)
        self._newest = b""
        self._newest_passed = 0

    async def handle(self, event: Event) -> None:
        """h11 reads what is strictly framed. It answers requests in turn: the refusal too."""
        if isinstance(event, RawData) and event.data:  # and not the end of the stream
            self._newest, event = event.data, RawData(self._framing.pass_on(event.data))
            self._newest_passed = len(event.data)
        await super().handle(event)

    async def _check_protocol(self, event: h11.Request) -> None:
        if event.http_version not in _VERSIONS:
            await self._send_error_response(505)
            raise _NotSpokenError

    async def _create_stream(self, request: h11.Request) -> None:
        if self.takes is not None and self.takes(request):
            raise _UpgradeTaken(request, self._behind())
        # An upgrade is an offer, here declined: the request is answered as the HTTP/1.1 it is.
        headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
        if len(headers) < len(request.headers):
            request = h11.Request(
                method=request.method,
                headers=headers,
                target=request.target,
                http_version=request.http_version,
            )
        await super()._create_stream(request)

    def _behind(self) -> bytes:
        """What came behind a head that ended in the newest bytes: no HTTP, whatever it looked like.

        The framing guard read on, so h11 may have it changed from its first offence on.
        """
        unread, _ = self.connection.trailing_data
        return self._newest[self._newest_passed - len(unread) :]

    async def _send_error_response(self, status_code: int) -> None:
        """What cannot be read never reaches the application."""
        message = ""
        if status_code == _BAD_REQUEST and (offence := self._framing.offence):
            status_code, message = offence.status, offence.text
        body = problem(message) if status_code == _BAD_REQUEST else b""
        headers = [
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        if body:
            headers.append((b"content-type", b"application/problem+json"))
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


class _Connection(TCPServer):
    """One connection. It is over when its reading is: one deadline, moved on, ends all of it."""

    protocol: _Http11  # type: ignore[assignment] # not the wrapper that may choose HTTP/2

    def __init__(
        self,
        app: ASGIWrapper,
        config: Config,
        context: WorkerContext,
        stream: Stream,
        takes: Callable[[h11.Request], bool] | None,
    ) -> None:
        super().__init__(
            app,
            config,
            context,
            ConnectionState({}),
            stream,  # type: ignore[arg-type] # Hypercorn takes both and names one
        )
        self._reading = trio.CancelScope()
        self._takes = takes
        self._silent = True  # between requests, and no byte of the next one has come
        self.begun = b""
        """Read already, before it came here."""

    async def serve_requests(self) -> tuple[h11.Request, bytes] | None:
        """Serve HTTP to its end; ``end`` is owed then.

        An upgrade ends it too: its request is given, and the bytes that came behind it.
        """
        upgrade = None
        self._end_in(HEAD_S)
        secure = isinstance(self.stream, trio.SSLStream)
        socket = self.stream.transport_stream.socket if secure else self.stream.socket
        try:
            with trio.CancelScope() as whole:
                async with TaskGroup() as tasks:
                    self.protocol = _Http11(
                        self.app,
                        self.config,
                        self.context,
                        tasks,
                        ConnectionState(self.state),
                        secure,
                        parse_socket_addr(socket.family, socket.getpeername()),
                        parse_socket_addr(socket.family, socket.getsockname()),
                        self.protocol_send,
                    )
                    self.protocol.takes = self._takes
                    with self._reading:
                        upgrade = await self._read_requests()
                    await self.protocol.handle(Closed())
                    whole.cancel()
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError, _NotSpokenError):
            pass
        return upgrade

    async def end(self) -> None:
        """Close it."""
        with trio.move_on_after(CLOSE_S):
            await self._close()

    def drain(self) -> None:
        """End now if nothing of a request has come; Hypercorn ends it after an answer."""
        if self._silent:
            self._end_in(0)

    async def protocol_send(self, event: Event) -> None:
        """What the protocol has for the peer, and for us."""
        if isinstance(event, RawData):
            await self._write(event.data)
        elif isinstance(event, Closed):
            self._end_in(0)
        elif isinstance(event, Updated) and event.idle:
            more, _ = self.protocol.connection.trailing_data
            self._silent = not more
            self._end_in(KEEP_ALIVE_S if self._silent else HEAD_S)
        elif isinstance(event, Updated):
            self._silent = False
            self._end_in(REQUEST_S)

    def _end_in(self, seconds: float) -> None:
        self._reading.deadline = trio.current_time() + seconds

    async def _read_requests(self) -> tuple[h11.Request, bytes] | None:
        if isinstance(self.stream, trio.SSLStream):
            await self.stream.do_handshake()
        while True:
            data, self.begun = self.begun, b""
            data = data or bytes(await self.stream.receive_some(MAX_RECV))
            if data and self._silent:
                self._silent = False
                self._reading.deadline = min(self._reading.deadline, trio.current_time() + HEAD_S)
            try:
                await self.protocol.handle(RawData(data))
            except _UpgradeTaken as taken:
                return taken.asked
            if not data:
                return None

    async def _write(self, data: bytes) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + WRITE_S) as writing:
            async with self.send_lock:
                try:
                    await self.stream.send_all(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    self._end_in(0)
        if writing.cancelled_caught:
            await trio.aclose_forcefully(self.stream)
            self._end_in(0)


def problem(message: str) -> bytes:
    """What ``api.problem`` says of a malformed request, for one that never comes so far."""
    kind = ErrorKind.MALFORMED
    said = {
        "type": f"urn:otp-server:error:{kind.token}",
        "title": kind.text,
        "status": kind.http_status,
        "error": kind.token,
        "message": message or kind.text,
    }
    return msgspec.json.encode(said)


def _trio_listener(listener: socket.socket, tls: TlsFiles | None) -> trio.abc.Listener[Any]:
    plain = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    if tls is None:
        return plain
    context = tls.context()
    context.set_alpn_protocols(["http/1.1"])
    return trio.SSLListener(plain, context, https_compatible=True)


def _config() -> Config:
    """Every default of Hypercorn's HTTP/1.1 that matters, set on purpose."""
    config = Config()
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.h11_max_incomplete_size = HEAD_BYTES_MAX
    config.include_server_header = False
    config.keep_alive_max_requests = 1_000_000
    return config
