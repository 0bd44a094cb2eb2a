"""Device connections over trio-websocket: the reference transport, a task group a connection.

Each connection has three tasks: a reader (messages -> frames -> face), a writer (the outbox, then
the close), and a keep-alive. Whatever goes wrong in one connection ends that connection only
(requirement 62).
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import TYPE_CHECKING

import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    wrap_server_stream,
)
from wsproto.utilities import ProtocolError

from otp_server.core import FrameDecoder
from otp_server.errors import ErrorKind
from otp_server.telemetry import get_logger
from otp_server.transport.entrance import Entrance
from otp_server.transport.guard import GuardedStream, socket_of
from otp_server.transport.link import Link
from otp_server.transport.options import OUTBOX_BYTES_MAX, SEND_BUFFER_BYTES, LinkOptions
from otp_server.transport.seam import Upgrade

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.telemetry import Metrics
    from otp_server.transport.seam import FaceSide

__all__ = ["OUTBOX_BYTES_MAX", "LinkOptions", "WebSocketTransport", "peer_of"]

_RECEIVE_BYTES = 4096

log = get_logger(__name__)


class _Link(Link):
    """One open connection: its outbox, its end, and the three tasks."""

    def __init__(self, number: int, options: LinkOptions) -> None:
        super().__init__(options)
        self.number = number
        self._options = options

    async def read(self, ws: WebSocketConnection, stream: GuardedStream, face: FaceSide) -> None:
        """The reader: one byte stream out of the binary messages, frames to the face."""
        decoder = FrameDecoder(self._options.frame_bytes_max)
        deadline = float("inf")
        while self.closing is None:
            with trio.move_on_at(deadline) as waiting:
                try:
                    message = await ws.get_message()
                except ConnectionClosed:
                    return
            if waiting.cancelled_caught:
                self.close(ErrorKind.FRAME_STALLED)
                return
            assert isinstance(message, bytes)  # noqa: S101 - the guard lets no text pass
            frames = decoder.receive_data(message)
            if not stream.charge_frames(len(frames)):
                return
            if frames:
                face.received([(self.number, frame) for frame in frames])
            if decoder.fault is not None:
                self.close(ErrorKind[decoder.fault.kind.upper()])
                return
            if not decoder.pending_bytes:
                deadline = float("inf")
            elif frames or deadline == float("inf"):
                deadline = trio.current_time() + self._options.frame_s


class WebSocketTransport:
    """Serves a face on listeners. Implements :class:`otp_server.transport.seam.LinkSide`."""

    def __init__(self, face: FaceSide, options: LinkOptions, metrics: Metrics) -> None:
        self._face = face
        self._options = options
        self._metrics = metrics
        self._numbers = itertools.count(1)
        self._links: dict[int, _Link] = {}
        self._connections = 0
        self._entrance = Entrance(
            options.entrance_max, options.entrance_per_address, options.trusted
        )
        self._accepting = trio.CancelScope()

    def send_many(self, frames: Sequence[tuple[int, bytes]]) -> None:
        """Queue whole frames; a connection whose queue is full is closed as a slow reader."""
        for number, frame in frames:
            link = self._links.get(number)
            if link is not None:
                link.send(frame)

    def close_many(self, connections: Sequence[tuple[int, ErrorKind]]) -> None:
        """Close with the kind's close code, after what is queued."""
        for number, kind in connections:
            link = self._links.get(number)
            if link is not None:
                link.close(kind)

    async def serve(
        self,
        listeners: Sequence[trio.abc.Listener[trio.abc.Stream]],
        *,
        task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept and serve until :meth:`stop_accepting` and the last connection's end.

        Cancellation ends every connection at once, without a close frame.
        """
        async with trio.open_nursery() as connections:
            with self._accepting:
                await trio.serve_listeners(
                    self._handle,
                    list(listeners),
                    handler_nursery=connections,
                    task_status=task_status,
                )

    def stop_accepting(self) -> None:
        """Close the listeners; connections stay."""
        self._accepting.cancel()

    def close_all(self, kind: ErrorKind) -> None:
        """Close every connection."""
        for link in self._links.values():
            link.close(kind)

    async def _handle(self, stream: trio.abc.Stream) -> None:
        """The last-resort handler of one connection: nothing but cancellation leaves it."""
        self._connections += 1
        self._metrics.connections.set(self._connections)
        try:
            await self._connection(stream)
        except* (ConnectionClosed, ProtocolError):
            # The peer left while something was written; or its ping crossed our close, which the
            # library cannot answer any more. Neither is a bug of ours.
            pass
        except* Exception:
            self._note_crash()
            log.exception("device connection failed")
        finally:
            self._connections -= 1
            self._metrics.connections.set(self._connections)

    def _note_crash(self) -> None:
        self._metrics.crashes.labels(where="device_connection").inc()

    async def _connection(self, stream: trio.abc.Stream) -> None:
        link = _Link(next(self._numbers), self._options)
        upgrading = trio.CancelScope(deadline=trio.current_time() + self._options.upgrade_s)
        guarded = GuardedStream(stream, self._options.guard, link.close, upgrading.cancel)
        peer = peer_of(stream)
        _bound_send_buffer(stream)
        self._entrance.enter(link.number, peer, upgrading.cancel)
        try:
            async with trio.open_nursery() as tasks:
                ws = None
                with upgrading:
                    ws = await self._upgrade(guarded, peer, link, tasks, upgrading)
                if ws is None:
                    outcome = "dropped" if upgrading.cancelled_caught else "refused"
                    self._metrics.upgrades.labels(outcome=outcome).inc()
                    tasks.cancel_scope.cancel()
                    return
                self._metrics.upgrades.labels(outcome="accepted").inc()
                tasks.start_soon(self._write, link, ws, tasks.cancel_scope)
                tasks.start_soon(link.keep_alive, ws, guarded)
                try:
                    await link.read(ws, guarded, self._face)
                except Exception:
                    self._note_crash()
                    log.exception("device connection failed")
                    link.close(ErrorKind.INTERNAL)
                if link.closing is not None:
                    await link.gone.wait()
                tasks.cancel_scope.cancel()
        finally:
            guarded.reset_if_cut()
            self._entrance.leave(link.number)
            if self._links.pop(link.number, None) is not None:
                kind = "peer" if link.closing is None else link.closing.token
                self._metrics.closes.labels(kind=kind).inc()
                self._face.closed([link.number])

    @staticmethod
    async def _write(link: _Link, ws: WebSocketConnection, whole: trio.CancelScope) -> None:
        """The writer; a close of ours that is done, or out of time, ends the whole connection."""
        await link.write(ws)
        if link.closing is not None:
            whole.cancel()

    async def _upgrade(
        self,
        stream: GuardedStream,
        peer: str,
        link: _Link,
        tasks: trio.Nursery,
        upgrading: trio.CancelScope,
    ) -> WebSocketConnection | None:
        """Read the upgrade request and accept it, or refuse it and give None."""
        request = await wrap_server_stream(
            tasks,
            stream,
            message_queue_size=1,
            max_message_size=self._options.guard.message_bytes_max,
            receive_buffer_size=_RECEIVE_BYTES,
        )
        refusal = await self._refusal(request, peer, link)
        if refusal is None:
            return await request.accept()
        self._entrance.leave(link.number)
        self._entrance.enter(link.number, peer, upgrading.cancel)
        body = f"{refusal.token}: {refusal.text}\n".encode()
        headers = [(b"content-type", b"text/plain"), (b"cache-control", b"no-store")]
        if refusal is ErrorKind.UNAUTHORIZED:
            headers.append((b"www-authenticate", b'Bearer realm="device"'))
        await request.reject(refusal.http_status, extra_headers=headers, body=body)
        return None

    async def _refusal(self, request: WebSocketRequest, peer: str, link: _Link) -> ErrorKind | None:
        if len(self._links) >= self._options.connections_max:
            return ErrorKind.OVERLOADED
        if request.path.partition("?")[0] != self._options.path:
            return ErrorKind.NOT_FOUND
        # In the table before the face hears of it: the face may answer at once.
        self._links[link.number] = link
        self._entrance.leave(link.number)
        refusal: ErrorKind | None = ErrorKind.INTERNAL
        try:
            upgrade = Upgrade(link.number, peer, request.headers)
            [refusal] = await self._face.admit([upgrade])
        except Exception:
            self._note_crash()
            log.exception("device connection not admitted")
        finally:
            if refusal is not None:
                del self._links[link.number]
        return refusal


def _bound_send_buffer(stream: trio.abc.Stream) -> None:
    """Have the kernel keep no more than a few answers for a peer that does not read."""
    socket = socket_of(stream)
    if socket is not None:
        with suppress(OSError):  # gone already
            socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, SEND_BUFFER_BYTES)


def peer_of(stream: trio.abc.Stream) -> str:
    """The address a stream's connection came from; empty for streams without one."""
    socket = socket_of(stream)
    if socket is not None:
        with suppress(OSError):  # gone already
            return str(socket.getpeername()[0])
    return ""
