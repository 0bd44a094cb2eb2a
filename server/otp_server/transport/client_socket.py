"""WebSockets of web clients, on connections that began as HTTP: trio-websocket, bounded.

An upgrade leaves Hypercorn with its request read (``transport.http``). What it asks is judged here
and by the face; trio-websocket is then given a request of our own making, so it sees no cookie, no
token and no extension, and after it whatever the client sent behind its own.

Each connection has four tasks: a reader (messages -> session), a writer (the outbox, then the
close), pings, and what the session runs. What goes wrong in one ends that connection only
(requirement 62).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio
from trio_websocket import ConnectionClosed, wrap_server_stream
from wsproto.utilities import ProtocolError

from otp_server.domain.address import address_key, client_address, is_trusted
from otp_server.errors import ErrorKind
from otp_server.telemetry import get_logger
from otp_server.transport.client_handshake import (
    UpgradedStream,
    fault_of,
    is_upgrade,
    plain_request,
    refusal_of,
)
from otp_server.transport.client_seam import Admission, ClientUpgrade
from otp_server.transport.guard import GuardedStream, GuardLimits
from otp_server.transport.link import Link

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import h11
    from trio_websocket import WebSocketConnection

    from otp_server.domain.address import Network
    from otp_server.telemetry import Metrics
    from otp_server.transport.client_seam import ClientSession, ClientSocketFace

PATHS = (b"/-/websocket/", b"/-/websocket")

_RECEIVE_BYTES = 4096
_MESSAGE_CHARACTERS_MAX = 1 << 20
"""Never met: the guard bounds the bytes of a message, and the library would hang up at its own."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ClientSocketOptions:
    """How many sockets there may be, and how they are kept. Times in seconds.

    ``per_address`` does not bind addresses in ``trusted``, which are proxies. A client may send
    ``messages_burst`` messages at once and ``messages_per_s`` in the long run.
    """

    sockets_max: int
    per_address: int
    trusted: Sequence[Network] = ()
    upgrade_s: float = 5.0
    ping_interval_s: float = 10.0
    ping_misses: int = 2
    close_s: float = 2.0
    ended_close_s: float = 0.5
    messages_burst: int = 20
    messages_per_s: float = 2.0
    guard: GuardLimits = field(
        default_factory=lambda: GuardLimits(
            message_bytes_max=4096,
            fragments_max=16,
            burst_bytes=65_536,
            bytes_per_s=4096,
            text=True,
        )
    )

    def close_within_s(self, kind: ErrorKind) -> float:
        """From a close of ours to the end of the connection, what is queued included."""
        return self.ended_close_s if kind is ErrorKind.UNAUTHORIZED else self.close_s


@dataclass(frozen=True, slots=True)
class AskedUpgrade:
    """An upgrade request that was read from a stream, and the bytes that came behind it."""

    request: h11.Request = field(repr=False)
    behind: bytes = field(repr=False)
    peer: str


class _ClientLink(Link):
    """One open connection's way out, and how often its client may speak."""

    def __init__(self, options: ClientSocketOptions) -> None:
        super().__init__(options)
        self._burst = options.messages_burst
        self._per_s = options.messages_per_s
        self._left = float(options.messages_burst)
        self._filled_at = trio.current_time()

    def may_speak(self) -> bool:
        """Whether one more message is in the bounds; it counts."""
        now = trio.current_time()
        refilled = self._left + (now - self._filled_at) * self._per_s
        self._left = min(refilled, self._burst) - 1
        self._filled_at = now
        return self._left >= 0

    def close_reason(self, kind: ErrorKind) -> str:
        """The word of the close frame: text is what devices may not send, and clients must."""
        return "binary_message" if kind is ErrorKind.TEXT_MESSAGE else kind.token


class ClientSockets:
    """All web sockets of clients."""

    def __init__(
        self, face: ClientSocketFace, options: ClientSocketOptions, metrics: Metrics
    ) -> None:
        self._face = face
        self._options = options
        self._metrics = metrics
        self._links: set[_ClientLink] = set()
        self._of_address: Counter[str] = Counter()
        self._draining = False

    def __len__(self) -> int:
        """Open sockets, and those on their way in."""
        return len(self._links)

    def takes(self, request: h11.Request) -> bool:
        """Whether a request is an upgrade to be served here; all others stay what they are."""
        return is_upgrade(request, PATHS)

    def drain(self) -> None:
        """Let nobody in any more, and close every socket as going away."""
        self._draining = True
        for link in self._links:
            link.close(ErrorKind.DRAINING)

    async def serve(
        self, stream: trio.abc.Stream, asked: AskedUpgrade, let_in: Callable[[], object]
    ) -> None:
        """Serve an upgraded connection to its end; nothing but cancellation leaves this.

        ``let_in`` is called when the face has admitted it. The stream may be left open.
        """
        upgrade = self._upgrade_of(asked)
        key = address_key(upgrade.address)
        refusal = self._refusal(asked.request, upgrade.address, key)
        link = _ClientLink(self._options)
        try:
            if refusal is not None:
                await self._refuse(stream, refusal)
                return
            self._links.add(link)
            self._of_address[key] += 1
            self._metrics.client_sockets.set(len(self._links))
            try:
                await self._connection(stream, asked, upgrade, link, let_in)
            finally:
                self._links.discard(link)
                self._of_address[key] -= 1
                if not self._of_address[key]:
                    del self._of_address[key]
                self._metrics.client_sockets.set(len(self._links))
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer is gone
        except* (ConnectionClosed, ProtocolError):
            pass  # it left while something was written, or its ping crossed our close
        except* Exception:
            self._note_crash()
            log.exception("client socket failed")

    # --- coming in ------------------------------------------------------------------------

    def _upgrade_of(self, asked: AskedUpgrade) -> ClientUpgrade:
        headers = [(name.lower(), value) for name, value in asked.request.headers]
        path, _, query = asked.request.target.decode("latin-1").partition("?")
        forwarded = [v.decode("latin-1") for name, v in headers if name == b"x-forwarded-for"]
        address = client_address(asked.peer, forwarded, self._options.trusted)
        return ClientUpgrade(path, query, headers, address)

    def _refusal(self, request: h11.Request, address: str, key: str) -> bytes | None:
        """What can be decided before the face is asked."""
        if self._draining:
            return refusal_of(ErrorKind.DRAINING)
        if (fault := fault_of(request)) is not None:
            return fault
        if len(self._links) >= self._options.sockets_max or (
            self._of_address[key] >= self._options.per_address
            and not is_trusted(address, self._options.trusted)
        ):
            return refusal_of(ErrorKind.OVERLOADED)
        return None

    async def _refuse(self, stream: trio.abc.Stream, answer: bytes) -> None:
        self._metrics.client_upgrades.labels(outcome="refused").inc()
        with trio.move_on_after(self._options.close_s):
            await stream.send_all(answer)

    async def _connection(
        self,
        stream: trio.abc.Stream,
        asked: AskedUpgrade,
        upgrade: ClientUpgrade,
        link: _ClientLink,
        let_in: Callable[[], object],
    ) -> None:
        upgrading = trio.CancelScope(deadline=trio.current_time() + self._options.upgrade_s)
        admission = await self._admit(upgrade, upgrading.deadline)
        if isinstance(admission, ErrorKind):
            await self._refuse(stream, refusal_of(admission))
            return
        guarded = GuardedStream(
            stream, self._options.guard, link.close, upgrading.cancel, upgraded=asked.behind
        )
        try:
            let_in()
            async with trio.open_nursery() as tasks:
                ws = None
                with upgrading:
                    ws = await self._accept(tasks, guarded, asked, admission.subprotocol)
                outcome = "dropped" if ws is None else "accepted"
                self._metrics.client_upgrades.labels(outcome=outcome).inc()
                if ws is not None:
                    tasks.start_soon(self._write, link, ws, tasks.cancel_scope)
                    tasks.start_soon(link.keep_alive, ws, guarded)
                    tasks.start_soon(self._run, admission.session, link)
                    await self._read(admission.session, link, ws)
                    if link.closing is not None:
                        await link.gone.wait()
                tasks.cancel_scope.cancel()
        finally:
            guarded.reset_if_cut()
            kind = "peer" if link.closing is None else link.closing.token
            self._metrics.client_closes.labels(kind=kind).inc()
            admission.session.closed()

    async def _admit(self, upgrade: ClientUpgrade, deadline: float) -> Admission | ErrorKind:
        """What the face says, in time."""
        with trio.move_on_at(deadline):
            try:
                return await self._face.admit(upgrade)
            except Exception:
                self._note_crash()
                log.exception("client socket not admitted")
                return ErrorKind.INTERNAL
        return ErrorKind.UNAVAILABLE

    @staticmethod
    async def _accept(
        tasks: trio.Nursery, stream: GuardedStream, asked: AskedUpgrade, subprotocol: str | None
    ) -> WebSocketConnection:
        """Have the library answer the upgrade; its tasks run in ``tasks``."""
        upgraded = UpgradedStream(plain_request(asked.request, subprotocol), stream)
        request = await wrap_server_stream(
            tasks,
            upgraded,
            message_queue_size=1,
            max_message_size=_MESSAGE_CHARACTERS_MAX,
            receive_buffer_size=_RECEIVE_BYTES,
        )
        ws = await request.accept(subprotocol=subprotocol)
        upgraded.accepted.set()
        return ws

    # --- open -----------------------------------------------------------------------------

    async def _read(
        self, session: ClientSession, link: _ClientLink, ws: WebSocketConnection
    ) -> None:
        """The reader: each message to the session, until the connection ends or closes."""
        while link.closing is None:
            try:
                message = await ws.get_message()
            except ConnectionClosed:
                return
            if not link.may_speak():
                link.close(ErrorKind.FLOODED)
                return
            assert isinstance(message, str)  # noqa: S101 - the guard lets no binary pass
            try:
                await session.received(message)
            except Exception:
                self._note_crash()
                log.exception("client message failed")
                link.close(ErrorKind.INTERNAL)

    async def _run(self, session: ClientSession, link: _ClientLink) -> None:
        try:
            await session.run(link)
        except Exception:
            self._note_crash()
            log.exception("client session failed")
            link.close(ErrorKind.INTERNAL)

    @staticmethod
    async def _write(link: _ClientLink, ws: WebSocketConnection, whole: trio.CancelScope) -> None:
        """The writer; a close of ours that is done, or out of time, ends the whole connection."""
        await link.write(ws)
        if link.closing is not None:
            whole.cancel()

    def _note_crash(self) -> None:
        self._metrics.crashes.labels(where="client_socket").inc()
