"""An open WebSocket's way out: a bounded outbox, a close with a deadline, pings.

Both transports over trio-websocket, of devices and of web clients, keep their connections with it.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import trio
from trio_websocket import ConnectionClosed

from otp_server.errors import ErrorKind
from otp_server.transport.options import OUTBOX_BYTES_MAX

if TYPE_CHECKING:
    from trio_websocket import WebSocketConnection

    from otp_server.transport.guard import GuardedStream


class Keeping(Protocol):
    """How a connection is kept. Times in seconds."""

    @property
    def ping_interval_s(self) -> float:
        """Between two pings."""

    @property
    def ping_misses(self) -> int:
        """So many pings in a row without a pong in time end the connection."""

    def close_within_s(self, kind: ErrorKind) -> float:
        """From a close of ours to the end of the connection, what is queued included."""


class Link:
    """One connection's outbox and its end; ``write`` and ``keep_alive`` are tasks of it."""

    def __init__(self, options: Keeping) -> None:
        self.closing: ErrorKind | None = None
        self.gone = trio.Event()
        self._keeping = options
        self._outbox: deque[tuple[str | bytes, int]] = deque()
        self._outbox_bytes = 0
        self._wake = trio.Event()
        self._writing = trio.CancelScope()

    def send(self, message: str | bytes) -> None:
        """Queue a message, text or binary; a full outbox closes the connection."""
        if self.closing is not None:
            return
        size = len(message.encode() if isinstance(message, str) else message)
        if self._outbox_bytes + size > OUTBOX_BYTES_MAX:
            self._outbox.clear()
            self._outbox_bytes = 0
            self.close(ErrorKind.SLOW_READER)
            return
        self._outbox.append((message, size))
        self._outbox_bytes += size
        self._wake.set()

    def close(self, kind: ErrorKind) -> None:
        """Close after what is queued. The first reason stands; a later one can only hasten it."""
        deadline = trio.current_time() + self._keeping.close_within_s(kind)
        self._writing.deadline = min(self._writing.deadline, deadline)
        if self.closing is None:
            self.closing = kind
            self._wake.set()

    def close_reason(self, kind: ErrorKind) -> str:
        """The word of the close frame."""
        return kind.token

    async def write(self, ws: WebSocketConnection) -> None:
        """The writer: send what is queued until the connection ends, then close it."""
        try:
            with self._writing, suppress(ConnectionClosed):
                while True:
                    await self._wake.wait()
                    self._wake = trio.Event()
                    while self._outbox:
                        message, size = self._outbox.popleft()
                        self._outbox_bytes -= size
                        await ws.send_message(message)
                    if self.closing is not None:
                        await ws.aclose(self.closing.close_code, self.close_reason(self.closing))
                        return
        finally:
            self.gone.set()

    async def keep_alive(self, ws: WebSocketConnection, stream: GuardedStream) -> None:
        """Ping; close when ``ping_misses`` pings in a row brought no pong in time."""
        interval = self._keeping.ping_interval_s
        misses = 0
        await trio.sleep(interval)
        while misses < self._keeping.ping_misses:
            if ws.closed is not None:
                return
            started, pongs = trio.current_time(), stream.pongs
            try:
                await stream.ping()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            await trio.sleep_until(started + interval)
            misses = 0 if stream.pongs != pongs else misses + 1
        self.close(ErrorKind.PING_TIMEOUT)
