"""The opening handshake of a client's web socket (RFC 6455, section 4.2), judged and passed on."""

from __future__ import annotations

import binascii
from http import HTTPStatus
from typing import TYPE_CHECKING

import trio

from otp_server.errors import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import h11

_VERSION = b"13"
_UPGRADE_REQUIRED = 426
_KEY_BYTES = 16
_FRAMING = (b"content-length", b"transfer-encoding")


def is_upgrade(request: h11.Request, paths: Collection[bytes]) -> bool:
    """Whether a request asks one of these paths for a web socket, and is nothing else besides."""
    return (
        request.method == b"GET"
        and request.http_version == b"1.1"
        and request.target.partition(b"?")[0] in paths
        and b"websocket" in _listed(request, b"upgrade")
        and b"upgrade" in _listed(request, b"connection")
        and not any(name in _FRAMING for name, _ in request.headers)
    )


def fault_of(request: h11.Request) -> bytes | None:
    """The answer to an upgrade whose handshake is not as it must be; None: it is."""
    versions = [value for name, value in request.headers if name == b"sec-websocket-version"]
    if versions != [_VERSION]:
        spoken = ((b"sec-websocket-version", _VERSION),)
        return refusal_of(ErrorKind.MALFORMED, _UPGRADE_REQUIRED, spoken)
    return refusal_of(ErrorKind.MALFORMED) if _key_of(request) is None else None


def refusal_of(
    kind: ErrorKind, status: int | None = None, headers: Sequence[tuple[bytes, bytes]] = ()
) -> bytes:
    """The HTTP answer that refuses an upgrade and ends its connection."""
    status = kind.http_status if status is None else status
    body = f"{kind.token}: {kind.text}\n".encode()
    fields = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"connection", b"close"),
        *headers,
    ]
    if status == HTTPStatus.UNAUTHORIZED:
        fields.append((b"www-authenticate", b'Session realm="otp-server"'))
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
    lines += [name + b": " + value for name, value in fields]
    return b"\r\n".join([*lines, b"", body])


def plain_request(request: h11.Request, subprotocol: str | None) -> bytes:
    """What the library is to see of an upgrade request: no path, no cookies, no extensions."""
    key = _key_of(request) or b""
    offer = f"Sec-WebSocket-Protocol: {subprotocol}\r\n".encode() if subprotocol else b""
    return (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n" + offer + b"\r\n"
    )


def _key_of(request: h11.Request) -> bytes | None:
    """The one Sec-WebSocket-Key, if it is 16 bytes in base64 (RFC 6455, section 4.2.1)."""
    keys = [value.strip() for name, value in request.headers if name == b"sec-websocket-key"]
    try:
        good = len(keys) == 1 and len(binascii.a2b_base64(keys[0], strict_mode=True)) == _KEY_BYTES
    except binascii.Error:
        return None
    return keys[0] if good else None


def _listed(request: h11.Request, wanted: bytes) -> set[bytes]:
    """The items of a header that is a list, in lower case."""
    values = (value for name, value in request.headers if name == wanted)
    return {item.strip().lower() for value in values for item in value.split(b",")}


class UpgradedStream(trio.abc.Stream):
    """Gives a request, and what the stream below has once that request is accepted.

    The library would lose what it read before.
    """

    def __init__(self, request: bytes, stream: trio.abc.Stream) -> None:
        self.accepted = trio.Event()
        self._request = request
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """The request first; nothing more before it is ``accepted``."""
        request, self._request = self._request, b""
        if request:
            return request
        await self.accepted.wait()
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As the stream below."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream below."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """As the stream below."""
        await self._stream.aclose()
