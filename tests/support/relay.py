"""A relay before a server: it passes bytes on, and counts who came."""

from __future__ import annotations

import contextlib
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAIT_S = 30
CHUNK_BYTES = 65_536


class Relay:
    """Listens at ``url`` for the server at ``target``. ``connections``: so many have come."""

    def __init__(self, target: str) -> None:
        place = urlsplit(target)
        assert place.hostname is not None
        assert place.port is not None
        self._target = (place.hostname, place.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self.connections = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._begin(self._accept)

    def _begin(self, work: Callable[..., None], *words: object) -> None:
        thread = threading.Thread(target=work, args=words, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                near, _ = self._listener.accept()
                self.connections += 1
                far = socket.create_connection(self._target, WAIT_S)
                far.settimeout(None)
                self._open += [near, far]
                self._begin(_pass_on, near, far)
                self._begin(_pass_on, far, near)

    def close(self) -> None:
        """End every connection, and the threads."""
        for each in self._open:
            with contextlib.suppress(OSError):  # it ended by itself
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(WAIT_S)
        for each in self._open:
            each.close()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):  # one of them is gone: so the other soon is
        while data := source.recv(CHUNK_BYTES):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def relay(target: str) -> Iterator[Relay]:
    """A relay before the server at this URL."""
    opened = Relay(target)
    try:
        yield opened
    finally:
        opened.close()
