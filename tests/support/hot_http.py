"""An ``HttpReactor`` driven in the test's own thread, and what came of bytes sent to it.

Every request is answered at once, with what was understood of it. Bytes are sent when the ones
before were read; an exchange ends when the server hangs up or hands the connection over, and
raises ``TimeoutError`` when neither happens.
"""

from __future__ import annotations

import json
import re
import select
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from otp_server.core import HttpReactor, HttpReactorOptions, HttpRequest, ReactorListener

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DEADLINE_S = 10
POLL_US = 1_000_000
UNIX_S = 784_111_777
ROUTES: Sequence[tuple[str | None, str]] = [
    ("GET", "/nothing"),
    ("POST", "/nothing"),
    ("PUT", "/otp/{uuid}/attempt"),
    (None, "/otp/crud/attempt"),
]
BOUNDS: dict[str, Any] = {
    "routes": ROUTES,
    "connections_max": 64,
    "per_address_max": 64,
    "trusted": [],
    "head_bytes_max": 16 * 1024,
    "body_bytes_max": 64 * 1024,
    "head_ms": 8_000,
    "request_ms": 30_000,
    "idle_ms": 75_000,
    "write_ms": 10_000,
    "close_ms": 2_000,
}
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3})")


@dataclass
class Heard:
    """What came of an exchange: requests as dicts, all bytes answered, the bytes handed over."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    out: bytes = b""
    elsewhere: bytes | None = None

    @property
    def statuses(self) -> list[int]:
        """Of all answers."""
        return [int(status) for status in _STATUS.findall(self.out)]


def understood(request: HttpRequest) -> dict[str, Any]:
    """All that a request says, but for its connection."""
    return {
        "route": request.route,
        "method": request.method,
        "parameters": request.parameters,
        "query": request.query,
        "headers": request.headers,
        "body": request.body,
        "peer": request.peer,
    }


class HotServer:
    """A reactor on a free port of the loopback interface, and its clock."""

    def __init__(self, **bounds: Any) -> None:  # noqa: ANN401 - those of HttpReactorOptions
        listener = ReactorListener("127.0.0.1", 0)
        self.address = listener.getsockname()
        self.reactor = HttpReactor(listener, HttpReactorOptions(**{**BOUNDS, **bounds}))
        self.now_ms = 0
        self.waiting: list[HttpRequest] = []
        self.handovers: list[tuple[socket.socket, bytes, str]] = []
        self.refused = 0

    def connect(self) -> socket.socket:
        """A client that has been accepted."""
        client = socket.create_connection(self.address, DEADLINE_S)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wait([])
        return client

    def poll(self) -> None:
        """Once, without waiting."""
        batch = self.reactor.poll(self.now_ms, POLL_US, UNIX_S)
        self.waiting += batch.requests
        self.refused += batch.refused
        for descriptor, data, peer in self.reactor.take_handovers():
            self.handovers.append((socket.socket(fileno=descriptor), data, peer))

    def wait(self, clients: Sequence[socket.socket]) -> list[socket.socket]:
        """Poll once something has come, here or for one of the clients: for which of them."""
        timeout = 0 if self.reactor.has_more else DEADLINE_S
        ready, _, _ = select.select([self.reactor, *clients], [], [], timeout)
        if not ready and timeout:
            raise TimeoutError
        self.poll()
        return [client for client in clients if client in ready]

    def until_waiting(self, count: int) -> None:
        """Poll until so many requests wait."""
        deadline = monotonic() + DEADLINE_S
        while len(self.waiting) < count:
            self.wait([])
            assert monotonic() < deadline

    def answer(self, *headers: tuple[str, str]) -> int:
        """Answer all that wait: how many did."""
        answers = [
            (request, 413 if request.body is None else 200, "text/plain", headers, _said(request))
            for request in self.waiting
        ]
        self.waiting = []
        assert self.reactor.send_many(answers, self.now_ms, UNIX_S) == 0
        return len(answers)

    def exchange(self, pieces: Iterable[bytes], *, ends: bool = True) -> Heard:
        """Send pieces, and the end of the stream; hear all that is answered."""
        heard = Heard()
        deadline = monotonic() + DEADLINE_S
        with self.connect() as client, suppress(ConnectionResetError, BrokenPipeError):
            for piece in pieces:
                if heard.elsewhere is not None:
                    heard.elsewhere += piece
                    continue
                client.sendall(piece)
                self._hear(heard, client)
            if ends and heard.elsewhere is None:
                client.shutdown(socket.SHUT_WR)
            while heard.elsewhere is None and self._hear(heard, client):
                assert monotonic() < deadline
            if heard.elsewhere is not None:
                client.shutdown(socket.SHUT_WR)
                while more := client.recv(65_536):
                    heard.out += more
        return heard

    def _hear(self, heard: Heard, client: socket.socket) -> bool:
        """See to what has come: false when the client has heard the end."""
        ready = self.wait([client])
        while self.waiting or self.reactor.has_more:
            heard.requests += map(understood, self.waiting)
            self.answer()
            self.poll()
        if ready:
            more = client.recv(65_536)
            heard.out += more
            if not more:
                return False
        for taken, data, _ in self.handovers:
            heard.elsewhere = data
            with taken:
                taken.setblocking(False)
                with suppress(BlockingIOError):
                    heard.elsewhere += taken.recv(1 << 20)
        self.handovers = []
        return True


def _said(request: HttpRequest) -> bytes:
    said = understood(request)
    body = said.pop("body")
    return json.dumps([said, body is not None and body.decode("latin-1")]).encode()
