"""Bounds on what a WebSocket peer may send, kept before the WebSocket library sees the bytes.

trio-websocket bounds a message's bytes but not its fragments, and an empty fragment costs memory
and no bytes (requirement 56); it does not bound what a peer sends a second; and at a breach of the
protocol it hangs up without the close frame that tells 1002 (requirement 58). So the stream under
it is watched: frame headers are read (never payloads), and the first broken rule ends the hearing.

A message's head, RFC 6455 section 5.2::

    FIN RSV opcode | MASK length7 | length16 or length64 | masking key | payload ...
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from otp_server.errors import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD_BYTES_MAX = 8192
"""The HTTP upgrade request, all of it."""

_FIN = 0x80
_RESERVED = 0x70
_OPCODE = 0x0F
_CONTINUATION, _TEXT, _BINARY = 0x0, 0x1, 0x2
_PONG = 0xA
_CONTROL = (0x8, 0x9, _PONG)
_PING_FRAME = b"\x89\x00"
_CONTROL_BYTES_MAX = 125
_MASK_BYTES = 4
_MASKED = 0x80
_LENGTH = 0x7F
_LENGTH_16 = 126
_LENGTH_64 = 127
_HEAD_END = b"\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)  # linger, for no time


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """What one connection may send. Rates in bytes and bytes per second.

    Messages are ``text`` or else binary: those of the other kind are refused as TEXT_MESSAGE.
    """

    message_bytes_max: int = 16_384
    fragments_max: int = 64
    burst_bytes: int = 65_536
    bytes_per_s: int = 8_192
    item_bytes: int = 32
    """What each read, WebSocket frame and frame counts beside its bytes: the work of a small one is
    not in its size."""
    write_s: float = 10.0
    text: bool = False


class FrameWatch:
    """Checks every frame header of a peer, and counts its messages' bytes and fragments.

    ``receive_data`` gives the first broken rule, or None, however the bytes were cut. It keeps at
    most one header (14 bytes); what follows a broken rule is not to be given to it. ``frames``
    and ``pongs`` say how many have begun. With ``upgraded`` the first byte is that of a frame.
    """

    def __init__(self, limits: GuardLimits, *, upgraded: bool = False) -> None:
        self.frames = 0
        self.pongs = 0
        self._limits = limits
        self._message, self._other = (_TEXT, _BINARY) if limits.text else (_BINARY, _TEXT)
        self._head = bytearray()
        self._upgraded = upgraded
        self._head_seen = 0
        self._skip = 0
        self._message_bytes = 0
        self._fragments = 0

    def receive_data(self, data: bytes | bytearray) -> ErrorKind | None:
        """Watch the peer's next bytes. TOO_LARGE is said of the upgrade request alone."""
        at = 0
        if not self._upgraded:
            at = self._end_of_head(data)
            if self._head_seen > HEAD_BYTES_MAX:
                return ErrorKind.TOO_LARGE
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
        found = self._head.find(_HEAD_END)
        end = len(data) if found < 0 else found + len(_HEAD_END) - before
        self._head_seen += end
        if found < 0:
            del self._head[: -len(_HEAD_END) + 1]
        else:
            self._upgraded = True
            self._head.clear()
        return end

    def _header(self) -> ErrorKind | None:
        """Judge the header once it is whole; a breach of the protocol with the byte that shows it.

        The library would show it then too, and hang up.
        """
        head = self._head
        if len(head) < 2:  # noqa: PLR2004 - the fixed part
            return None
        length = head[1] & _LENGTH
        if head[0] & _RESERVED or not head[1] & _MASKED or not _may_begin(head[0], length):
            return ErrorKind.PROTOCOL_ERROR
        extended = {_LENGTH_16: 2, _LENGTH_64: 8}.get(length, 0)
        if len(head) < 2 + extended:
            return None
        if extended:
            length = int.from_bytes(head[2 : 2 + extended], "big")
        if extended != _length_bytes(length):
            return ErrorKind.PROTOCOL_ERROR
        if len(head) < 2 + extended + _MASK_BYTES:
            return None
        first = head[0]
        head.clear()
        self._skip = length
        return self._frame(first, length)

    def _frame(self, first: int, length: int) -> ErrorKind | None:
        """Judge a frame by its first byte and its length."""
        last, opcode = bool(first & _FIN), first & _OPCODE
        self.frames += 1
        if opcode == self._other:
            return ErrorKind.TEXT_MESSAGE
        if opcode in _CONTROL:
            self.pongs += opcode == _PONG
            return None
        if opcode != (_CONTINUATION if self._fragments else self._message):
            return ErrorKind.PROTOCOL_ERROR
        return self._fragment(length, last=last)

    def _fragment(self, length: int, *, last: bool) -> ErrorKind | None:
        self._message_bytes += length
        self._fragments += 1
        if self._message_bytes > self._limits.message_bytes_max:
            return ErrorKind.FRAME_TOO_LARGE
        if self._fragments > self._limits.fragments_max:
            return ErrorKind.FLOODED
        if last:
            self._message_bytes = self._fragments = 0
        return None


def _length_bytes(length: int) -> int | None:
    """How many bytes a length takes beside the first seven bits; None for one that is not."""
    if length < _LENGTH_16:
        return 0
    if length < 1 << 16:
        return 2
    return 8 if length < 1 << 63 else None


def _may_begin(first: int, length: int) -> bool:
    """Whether a frame may begin so: a known opcode, a control frame whole and short."""
    opcode = first & _OPCODE
    if opcode in _CONTROL:
        return bool(first & _FIN) and length <= _CONTROL_BYTES_MAX
    return opcode in {_CONTINUATION, _TEXT, _BINARY}


def socket_of(stream: trio.abc.Stream) -> trio.socket.SocketType | None:
    """The socket below a stream, if there is one."""
    if isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    return stream.socket if isinstance(stream, trio.SocketStream) else None


class GuardedStream(trio.abc.Stream):
    """A stream that stops hearing its peer at the first broken bound, and stops waiting for it.

    ``on_fault`` is called with the kind; from then on received bytes are dropped, so that a close
    frame can still be sent and the peer is not reset before it reads it. A write that the peer does
    not take within ``write_s`` is reported as a slow reader. ``on_end`` is called when nothing more
    can come: the peer is gone, the library hung up, or the upgrade request was too large.

    ``upgraded`` is what came behind an upgrade request that was read before: it is heard first.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        limits: GuardLimits,
        on_fault: Callable[[ErrorKind], None],
        on_end: Callable[[], None],
        *,
        upgraded: bytes | None = None,
    ) -> None:
        self._stream = stream
        self._first = upgraded or b""
        self._limits = limits
        self._on_fault = on_fault
        self._on_end = on_end
        self._watch = FrameWatch(limits, upgraded=upgraded is not None)
        self._tokens = float(limits.burst_bytes)
        self._filled_at = trio.current_time()
        self._deaf = False
        self._cut = False
        self._writing = trio.Lock()

    @property
    def pongs(self) -> int:
        """How many pongs the peer has sent, whatever is in them."""
        return self._watch.pongs

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """The peer's next bytes, all bounds kept; after a fault only the end of the stream."""
        while True:
            try:
                data = await self._next(max_bytes)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._on_end()
                raise
            if not data:
                self._on_end()
                return data
            if not self._refused(data):
                return data

    async def _next(self, max_bytes: int | None) -> bytes | bytearray:
        first, self._first = self._first, b""
        return first or await self._stream.receive_some(max_bytes)

    def _refused(self, data: bytes | bytearray) -> bool:
        if self._deaf:
            return True
        fault = self._fault(data)
        if fault is None:
            return False
        self._deaf = True
        self._on_fault(fault)
        if fault is ErrorKind.TOO_LARGE:
            self._on_end()
        return True

    def _fault(self, data: bytes | bytearray) -> ErrorKind | None:
        if not self._charge(len(data) + self._limits.item_bytes):
            return ErrorKind.FLOODED
        before = self._watch.frames
        fault = self._watch.receive_data(data)
        begun = self._watch.frames - before
        if fault is None and not self._charge(begun * self._limits.item_bytes):
            return ErrorKind.FLOODED
        return fault

    def _charge(self, cost: int) -> bool:
        now = trio.current_time()
        refill = (now - self._filled_at) * self._limits.bytes_per_s
        self._tokens = min(self._tokens + refill, self._limits.burst_bytes) - cost
        self._filled_at = now
        return self._tokens >= 0

    def charge_frames(self, count: int) -> bool:
        """Charge the frames that were in the bytes; False for too many, which is a fault."""
        if self._charge(count * self._limits.item_bytes):
            return True
        self._deaf = True
        self._on_fault(ErrorKind.FLOODED)
        return False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write, or break within ``write_s``.

        Cancellation: part of the data may be out, so nothing can follow it: later writes break.
        """
        async with self._writing:
            if self._cut:
                raise trio.BrokenResourceError("a write before this one was cut off")
            self._cut = True
            with trio.move_on_after(self._limits.write_s) as scope:
                await self._stream.send_all(data)
                self._cut = False
        if scope.cancelled_caught:
            self._on_fault(ErrorKind.SLOW_READER)
            raise trio.BrokenResourceError("the peer does not read")

    async def ping(self) -> None:
        """Write a ping, between the library's frames.

        The library's own waits for the pong of the same payload, and is kept until that comes.
        """
        await self.send_all(_PING_FRAME)

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream below."""
        await self._stream.wait_send_all_might_not_block()

    def reset_if_cut(self) -> None:
        """Where a write was cut off, have the close reset the peer: nothing whole can follow.

        Not even the kernel is to go on offering what the peer does not take.
        """
        socket = socket_of(self._stream)
        if self._cut and socket is not None:
            with suppress(OSError):  # closed already
                socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, _RESET)

    async def aclose(self) -> None:
        """Close the stream below, by force where its goodbye is not taken within ``write_s``."""
        self._on_end()
        self.reset_if_cut()
        with trio.move_on_after(self._limits.write_s):
            await self._stream.aclose()
