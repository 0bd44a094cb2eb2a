"""A WebSocket client that can be as wrong as a test wants: bytes out, frames in, deadlines.

It shares nothing with the server's libraries. It answers nothing by itself, neither pings nor
closes, and each call has an absolute deadline.
"""

from __future__ import annotations

import base64
import os
import select
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from otp_server.wire import device_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEADLINE_S = 20.0
OTP_REQUEST = bytes.fromhex("130300")
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
SEGMENT_BYTES = 536
"""With a small segment and receive buffer the kernel keeps little: an unread peer blocks soon."""


class Gone(Exception):
    """The server ended the connection where more was expected: ``how``, ``eof`` or ``reset``."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


@dataclass(frozen=True, slots=True)
class Response:
    """The head and body of an HTTP answer. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """How a connection ended: the close frame's code and reason, or 1006 and ``eof``/``reset``."""

    code: int
    reason: str


def encode_ws_frame(
    payload: bytes, opcode: int = BINARY, *, fin: bool = True, masked: bool = True
) -> bytes:
    """One WebSocket frame, RFC 6455 section 5.2."""
    mask_bit = 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | opcode])
    if len(payload) < 126:
        head += bytes([mask_bit | len(payload)])
    elif len(payload) < 1 << 16:
        head += struct.pack("!BH", mask_bit | 126, len(payload))
    else:
        head += struct.pack("!BQ", mask_bit | 127, len(payload))
    if not masked:
        return head + payload
    key = os.urandom(4)
    stream = key * (len(payload) // 4 + 1)
    return head + key + bytes(a ^ b for a, b in zip(payload, stream, strict=False))


def encode_frame(kind: int, payload: bytes) -> bytes:
    """One frame of ours: type, length, message."""
    return struct.pack("<BH", kind, 3 + len(payload)) + payload


def encode_auth(token: str, kind: int = device_pb2.FrameType.SUBSCRIPTION) -> bytes:
    """A SUBSCRIPTION or PUBLICATION frame with a token."""
    return encode_frame(kind, device_pb2.Auth(jwt_token=token).SerializeToString())


def decode_answer(frame: bytes) -> device_pb2.OTPResponse:
    """The message of one OTP_RESPONSE frame."""
    kind, length = struct.unpack_from("<BH", frame)
    assert (kind, length) == (device_pb2.FrameType.OTP_RESPONSE, len(frame))
    return device_pb2.OTPResponse.FromString(frame[3:])


def open_socket(url: str, *, narrow: bool = False) -> socket.socket:
    """A TCP connection to a URL's host; ``narrow`` keeps what the kernel holds small."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    family = socket.AF_INET6 if ":" in parts.hostname else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        if narrow:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        opened.settimeout(DEADLINE_S)
        opened.connect((parts.hostname, parts.port))
    except OSError:
        opened.close()
        raise
    return opened


def reset(opened: socket.socket) -> None:
    """Close with RST instead of FIN."""
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    opened.close()


def upgrade_request(url: str, headers: Mapping[str, str] | None = None) -> bytes:
    """The whole HTTP request of an upgrade."""
    parts = urlsplit(url)
    target = parts.path + ("?" + parts.query if parts.query else "")
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


@dataclass
class RawWebSocket:
    """An open connection. Use as a context manager."""

    sock: socket.socket
    buffer: bytearray = field(default_factory=bytearray)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    # --- out ------------------------------------------------------------------------------

    def send_raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self.sock.sendall(data)

    def send(self, payload: bytes, opcode: int = BINARY, *, fin: bool = True) -> None:
        """One masked WebSocket frame."""
        self.send_raw(encode_ws_frame(payload, opcode, fin=fin))

    def send_until_refused(self, data: bytes, times: int) -> None:
        """Send ``data`` over and over; stops when the server has hung up."""
        try:
            for _ in range(times):
                self.send_raw(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    # --- in -------------------------------------------------------------------------------

    def _more(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        readable, _, _ = select.select([self.sock], [], [], max(0.0, left))
        if not readable:
            raise TimeoutError("nothing came from the server in time")
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            raise Gone("reset") from None
        if not data:
            raise Gone("eof")
        self.buffer += data

    def _take(self, count: int, deadline: float) -> bytes:
        while len(self.buffer) < count:
            self._more(deadline)
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    def read_response(self, within_s: float = DEADLINE_S) -> Response:
        """The HTTP answer. Raises Gone when the connection ends first."""
        deadline = time.monotonic() + within_s
        while b"\r\n\r\n" not in self.buffer:
            self._more(deadline)
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        self.buffer = bytearray(rest)
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        body = self._take(int(headers.get("content-length", "0")), deadline)
        return Response(int(first.split()[1]), headers, body)

    def read_frame(self, within_s: float = DEADLINE_S) -> tuple[int, bytes]:
        """The opcode and payload of the server's next WebSocket frame, which must be whole."""
        deadline = time.monotonic() + within_s
        first, second = self._take(2, deadline)
        assert first & 0xF0 == 0x80, "the server sends whole messages without extensions"
        assert second < 0x80, "a server never masks"
        length = second
        if length == 126:
            (length,) = struct.unpack("!H", self._take(2, deadline))
        return first & 0x0F, self._take(length, deadline)

    def read_until(
        self, wanted: Callable[[int, bytes], bool], within_s: float = DEADLINE_S
    ) -> tuple[int, bytes]:
        """The first frame that is wanted; others are dropped."""
        deadline = time.monotonic() + within_s
        while True:
            opcode, payload = self.read_frame(deadline - time.monotonic())
            if wanted(opcode, payload):
                return opcode, payload

    def read_answer(self, within_s: float = DEADLINE_S) -> device_pb2.OTPResponse:
        """The next frame, which must be one OTP_RESPONSE in a binary message."""
        opcode, payload = self.read_frame(within_s)
        assert opcode == BINARY, (opcode, payload)
        return decode_answer(payload)

    def read_close(self, within_s: float = DEADLINE_S) -> Closed:
        """How the server ends this connection; other frames are passed over."""
        try:
            _, payload = self.read_until(lambda opcode, _: opcode == CLOSE, within_s)
        except Gone as gone:
            return Closed(1006, gone.how)
        return Closed(int.from_bytes(payload[:2], "big"), payload[2:].decode())

    def wait_gone(self, within_s: float = DEADLINE_S) -> str:
        """Wait for the end of the TCP connection: ``eof`` or ``reset``."""
        deadline = time.monotonic() + within_s
        try:
            while True:
                self._more(deadline)
        except Gone as gone:
            return gone.how

    # --- both -----------------------------------------------------------------------------

    def ask(self) -> device_pb2.OTPResponse:
        """Send an OTP_REQUEST and read its answer."""
        self.send(OTP_REQUEST)
        return self.read_answer()

    def get_code(self) -> str:
        """Ask for a code, which must come."""
        answer = self.ask()
        assert not answer.error
        return answer.otp


def start_upgrade(
    url: str,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    narrow: bool = False,
) -> RawWebSocket:
    """Connect and send an upgrade; the answer is still to be read."""
    all_headers = dict(headers or {})
    if token is not None:
        all_headers["Authorization"] = f"Bearer {token}"
    raw = RawWebSocket(open_socket(url, narrow=narrow))
    raw.send_raw(upgrade_request(url, all_headers))
    return raw


def connect(
    url: str,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    narrow: bool = False,
) -> RawWebSocket:
    """An open WebSocket: the server said 101."""
    raw = start_upgrade(url, token, headers, narrow=narrow)
    response = raw.read_response()
    assert response.status == 101, response
    return raw


def refused_upgrade(
    url: str, token: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The HTTP answer of an upgrade that must be refused."""
    with start_upgrade(url, token, headers) as raw:
        response = raw.read_response()
    assert response.status != 101, response
    return response
