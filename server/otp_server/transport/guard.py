"""Bounds on what a WebSocket peer may send, kept before the WebSocket library sees the bytes.

trio-websocket bounds a message's bytes but not its fragments, and an empty fragment costs memory
and no bytes (requirement 56); nor does it bound what a peer sends a second. So the stream under it
is watched: frame headers are read (never payloads), and the first broken bound ends the hearing.

A message's head, RFC 6455 section 5.2::

    FIN RSV opcode | MASK length7 | length16 or length64 | masking key | payload ...
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from otp_server.errors import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD_BYTES_MAX = 8192
"""The HTTP upgrade request, all of it."""

_FIN = 0x80
_OPCODE = 0x0F
_CONTROL = 0x08
_MASKED = 0x80
_LENGTH = 0x7F
_LENGTH_16 = 126
_LENGTH_64 = 127
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """What one connection may send. Rates in bytes and bytes per second."""

    message_bytes_max: int = 16_384
    fragments_max: int = 64
    burst_bytes: int = 65_536
    bytes_per_s: int = 8_192
    write_s: float = 10.0


class FrameWatch:
    """Counts messages' bytes and fragments from raw bytes, however they were cut.

    ``receive_data`` gives the broken bound, or None. It keeps at most one header (14 bytes).
    """

    def __init__(self, limits: GuardLimits) -> None:
        self._limits = limits
        self._head = bytearray()
        self._upgraded = False
        self._head_seen = 0
        self._skip = 0
        self._message_bytes = 0
        self._fragments = 0

    def receive_data(self, data: bytes | bytearray) -> ErrorKind | None:
        """Watch the next bytes of the peer."""
        at = 0
        if not self._upgraded:
            at = self._end_of_head(data)
            if not self._upgraded:
                return ErrorKind.TOO_LARGE if self._head_seen > HEAD_BYTES_MAX else None
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            self._head.append(data[at])
            at += 1
            fault = self._header()
            if fault is not None:
                return fault
        return None

    def _end_of_head(self, data: bytes | bytearray) -> int:
        """Look for the blank line that ends the HTTP request; the index after it in ``data``."""
        before = len(self._head)
        self._head += data
        self._head_seen += len(data)
        found = self._head.find(_HEAD_END)
        if found < 0:
            del self._head[: -len(_HEAD_END) + 1]
            return len(data)
        self._upgraded = True
        self._head.clear()
        return found + len(_HEAD_END) - before

    def _header(self) -> ErrorKind | None:
        """Read the header once it is whole; otherwise wait for more."""
        head = self._head
        if len(head) < 2:  # noqa: PLR2004 - the fixed part
            return None
        length = head[1] & _LENGTH
        extended = {_LENGTH_16: 2, _LENGTH_64: 8}.get(length, 0)
        whole = 2 + extended + (4 if head[1] & _MASKED else 0)
        if len(head) < whole:
            return None
        if extended:
            length = int.from_bytes(head[2 : 2 + extended], "big")
        first = head[0]
        head.clear()
        if first & _CONTROL:
            self._skip = length  # the library refuses control frames over 125 bytes
            return None if length <= _LENGTH else ErrorKind.FRAME_TOO_LARGE
        self._message_bytes += length
        self._fragments += 1
        if self._message_bytes > self._limits.message_bytes_max:
            return ErrorKind.FRAME_TOO_LARGE
        if self._fragments > self._limits.fragments_max:
            return ErrorKind.FLOODED
        if first & _FIN:
            self._message_bytes = self._fragments = 0
        self._skip = length
        return None


class GuardedStream(trio.abc.Stream):
    """A stream that stops hearing its peer at the first broken bound, and stops waiting for it.

    ``on_fault`` is called once with the kind; from then on received bytes are dropped, so that a
    close frame can still be sent and the peer is not reset before it reads it. A write that the
    peer does not take within ``write_s`` breaks the stream and is reported as a slow reader.
    """

    def __init__(
        self, stream: trio.abc.Stream, limits: GuardLimits, on_fault: Callable[[ErrorKind], None]
    ) -> None:
        self._stream = stream
        self._limits = limits
        self._on_fault = on_fault
        self._watch = FrameWatch(limits)
        self._tokens = float(limits.burst_bytes)
        self._filled_at = trio.current_time()
        self._deaf = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """The peer's next bytes, all bounds kept; after a fault only the end of the stream."""
        while True:
            data = await self._stream.receive_some(max_bytes)
            if not data or not self._refused(data):
                return data

    def _refused(self, data: bytes | bytearray) -> bool:
        if self._deaf:
            return True
        now = trio.current_time()
        refill = (now - self._filled_at) * self._limits.bytes_per_s
        self._tokens = min(self._tokens + refill, self._limits.burst_bytes) - len(data)
        self._filled_at = now
        fault = ErrorKind.FLOODED if self._tokens < 0 else self._watch.receive_data(data)
        if fault is None:
            return False
        self._deaf = True
        self._on_fault(fault)
        return True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write, or break within ``write_s``."""
        with trio.move_on_after(self._limits.write_s) as scope:
            await self._stream.send_all(data)
        if scope.cancelled_caught:
            self._on_fault(ErrorKind.SLOW_READER)
            raise trio.BrokenResourceError("the peer does not read")

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream below."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the stream below."""
        await self._stream.aclose()
