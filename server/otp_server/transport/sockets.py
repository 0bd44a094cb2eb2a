"""Listening sockets, TLS contexts and the descriptor limit."""

from __future__ import annotations

import logging
import os
import resource
import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otp_server.errors import ConfigError
from otp_server.transport.options import entrance_size

if TYPE_CHECKING:
    from otp_server.core import ReactorListener

BACKLOG = 4096
OPS_CONNECTIONS = 16
"""Connections of operators, who must get in whatever the others do."""
_DESCRIPTORS_KEPT = 48 + OPS_CONNECTIONS
"""Descriptors left for the store, the logs, the listeners and the operators."""
_HTTP_CONNECTIONS = (8, 4096)
"""The fewest and the most connections of apps; between them, a quarter of what is not kept."""
_TELL_AGAIN_S = 10


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of a certificate chain and its key, PEM."""

    certificate: str
    key: str

    def context(self) -> ssl.SSLContext:
        """A server context, TLS 1.2 or newer; ConfigError names the file that cannot be used."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"TLS files {self.certificate!r} and {self.key!r} cannot be used: {error}"
            ) from error
        return context


def open_listener(host: str, port: int) -> socket.socket:
    """A bound, listening, non-blocking TCP socket; ConfigError says why there is none.

    Port 0 picks a free one.
    """
    family, address = _resolve(host, port)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def open_reactor_listener(
    host: str, port: int, *, reuse_port: bool = False, send_buffer_bytes: int | None = None
) -> ReactorListener:
    """The same for the core's reactor. ``reuse_port`` lets other processes listen there too.

    ``send_buffer_bytes`` bounds what the kernel keeps for each connection; None leaves it alone.
    """
    from otp_server.core import ReactorListener  # noqa: PLC0415 - Linux only

    _, address = _resolve(host, port)
    try:
        return ReactorListener(
            address[0],
            port,
            backlog=BACKLOG,
            reuse_port=reuse_port,
            send_buffer_bytes=send_buffer_bytes,
        )
    except (OSError, ValueError) as error:
        number = error.errno if isinstance(error, OSError) else None
        why = error if number is None else os.strerror(number)
        raise ConfigError(f"cannot listen on {host}:{port}: {why}") from error


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """The first address of a name."""
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ConfigError(f"{host}:{port} is no address to listen on: {error}") from error
    return family, (str(address[0]), port)


def url_of(listener: socket.socket | ReactorListener, scheme: str, path: str = "") -> str:
    """Where a listener can be reached, as a URL."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}{path}" if ":" in host else f"{scheme}://{host}:{port}{path}"


def raise_descriptor_limit() -> int:
    """Raise this process's soft descriptor limit to the hard one; what it is now."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def http_connections_possible(descriptors: int, holders: int = 1) -> int:
    """How many connections of apps fit, where so many ``holders`` have as many each."""
    fewest, most = _HTTP_CONNECTIONS
    each = (descriptors - _DESCRIPTORS_KEPT) // 4 // holders
    return holders * max(fewest, min(each, most))


def client_sockets_possible(descriptors: int, wanted: int) -> int:
    """How many web sockets of clients fit: the configured number, or a sixteenth of descriptors."""
    return max(1, min(wanted, (descriptors - _DESCRIPTORS_KEPT) // 16))


def connections_possible(descriptors: int, others: int, wanted: int) -> int:
    """How many devices fit beside so many ``others`` and the connections that are not let in yet.

    The configured number, or what descriptors allow.
    """
    left = descriptors - _DESCRIPTORS_KEPT - others
    return max(1, min(wanted, left - entrance_size(left)))


class _NowAndThen(logging.Filter):
    """Lets a record pass every few seconds, without its traceback."""

    def __init__(self) -> None:
        super().__init__()
        self._told_at = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info = None
        now = time.monotonic()
        if now < self._told_at + _TELL_AGAIN_S:
            return False
        self._told_at = now
        return True


_now_and_then = _NowAndThen()


def calm_accept_log() -> None:
    """Without descriptors Trio's accept loop logs a traceback ten times a second and listener."""
    logging.getLogger("trio.serve_listeners").addFilter(_now_and_then)
