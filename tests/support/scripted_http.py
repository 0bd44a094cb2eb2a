"""An HTTP server that misbehaves as told, byte for byte; it runs in the test's own Trio loop."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

RESET = b"reset"
"""Read the request, and reset the connection."""
STALL = b"stall"
"""Read the request, and never answer."""


@dataclass(frozen=True)
class Request:
    head: str
    body: bytes

    @property
    def line(self) -> str:
        return self.head.partition("\r\n")[0]

    def header(self, name: str) -> str:
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        raise KeyError(name)


def answer(status: int, body: bytes | str = b"", **headers: str) -> bytes:
    """The bytes of an answer; underscores in header names become dashes."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Words of the provider", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


@dataclass
class ScriptedHttp:
    """Gives ``answers`` in order, the last one again and again.

    A sequence is sent in pieces, and after its last one the client waits in vain for more.
    """

    answers: deque[bytes | Sequence[bytes]] = field(default_factory=deque)
    context: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    hold: trio.Event | None = None
    """While it is there and not set, requests are read and wait for their answer."""
    connections: int = 0
    port: int = 0

    async def start(self, nursery: trio.Nursery) -> None:
        serve = partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1")
        listeners = await nursery.start(serve)
        self.port = listeners[0].socket.getsockname()[1]

    async def _serve(self, tcp: trio.SocketStream) -> None:
        self.connections += 1
        stream: trio.abc.Stream = tcp
        if self.context is not None:
            stream = trio.SSLStream(tcp, self.context, server_side=True, https_compatible=True)
        try:
            while await self._answer(stream, tcp):
                pass
        except trio.BrokenResourceError:
            pass  # the client is gone
        finally:
            await trio.aclose_forcefully(stream)

    async def _held(self) -> None:
        if self.hold is not None:
            await self.hold.wait()

    async def _answer(self, stream: trio.abc.Stream, tcp: trio.SocketStream) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            more = await stream.receive_some(65536)
            if not more:
                return False
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        request = Request(head.decode(), b"")
        length = int(request.header("content-length"))
        while len(body) < length:
            body += await stream.receive_some(65536)
        self.requests.append(Request(head.decode(), body))
        await self._held()
        told = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        if told == RESET:
            tcp.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            return False
        if told == STALL:
            while await stream.receive_some(65536):
                pass
            return False
        if isinstance(told, bytes):
            await stream.send_all(told)
            return True
        for piece in told:
            await stream.send_all(piece)
        while await stream.receive_some(65536):
            pass
        return False
