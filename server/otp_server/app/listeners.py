"""The bound sockets, and how many connections they may carry."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from otp_server.domain.address import parse_networks
from otp_server.telemetry import get_logger
from otp_server.transport.guard import GuardLimits
from otp_server.transport.http import HttpLimits
from otp_server.transport.options import SEND_BUFFER_BYTES, LinkOptions
from otp_server.transport.sockets import (
    TlsFiles,
    client_sockets_possible,
    connections_possible,
    http_connections_possible,
    open_listener,
    open_reactor_listener,
)
from otp_server.transport.websocket import WebSocketTransport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from otp_server.api.device.face import DeviceFace
    from otp_server.api.web import WebOptions
    from otp_server.config import Config, Endpoint
    from otp_server.core import ReactorListener
    from otp_server.telemetry import Metrics
    from otp_server.transport.seam import DeviceTransport

_ADDRESS_CONNECTIONS_MIN = 8

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Listeners:
    """The bound sockets of the three listeners."""

    device: socket.socket | ReactorListener
    http: socket.socket | ReactorListener
    ops: socket.socket

    @classmethod
    def open(cls, config: Config) -> Listeners:
        """Bind all three, or none: ConfigError names the one that cannot be."""
        with ExitStack() as opened:
            device = _open_as(config.device.transport, config.device.listen, SEND_BUFFER_BYTES)
            opened.callback(device.close)
            http = _open_as(config.http.transport, config.http.listen)
            opened.callback(http.close)
            ops = _open(config.ops.listen)
            opened.pop_all()
        return cls(device, http, ops)


def _open_as(
    transport: str, endpoint: Endpoint, send_buffer_bytes: int | None = None
) -> socket.socket | ReactorListener:
    if transport == "native":
        return open_reactor_listener(
            endpoint.host, endpoint.port, send_buffer_bytes=send_buffer_bytes
        )
    return _open(endpoint)


def _open(endpoint: Endpoint) -> socket.socket:
    return open_listener(endpoint.host, endpoint.port)


def device_transport(
    config: Config,
    face: DeviceFace,
    metrics: Metrics,
    listener: socket.socket | ReactorListener,
    descriptors: int,
) -> tuple[DeviceTransport, Callable[..., Awaitable[None]]]:
    """The transport that fits the listener, and what serves it."""
    options = _link_options(config, descriptors)
    if isinstance(listener, socket.socket):
        reference = WebSocketTransport(face, options, metrics)
        return reference, partial(reference.serve, _trio_listeners(config, listener))
    from otp_server.transport.native import NativeTransport  # noqa: PLC0415 - Linux only

    native = NativeTransport(face, options, metrics)
    return native, partial(native.serve, listener)


def _trio_listeners(config: Config, device: socket.socket) -> Sequence[trio.abc.Listener[Any]]:
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(device))
    tls = tls_files(config.device.tls)
    if tls is None:
        return [listener]
    return [trio.SSLListener(listener, tls.context(), https_compatible=True)]


def tls_files(files: tuple[Path, Path] | None) -> TlsFiles | None:
    """The files of a listener that speaks TLS itself."""
    return None if files is None else TlsFiles(str(files[0]), str(files[1]))


def http_limits(config: Config, descriptors: int, web: WebOptions) -> HttpLimits:
    """A quarter of the connections for one address: it takes several to shut the others out.

    The native transport holds so many, and Hypercorn behind it as many again.
    """
    holders = _http_holders(config)
    connections = http_connections_possible(descriptors, holders) // holders
    per_address = max(_ADDRESS_CONNECTIONS_MIN, connections // 4)
    return HttpLimits(connections, per_address, web.trusted_proxies)


def _http_holders(config: Config) -> int:
    return 2 if config.http.transport == "native" else 1


def _link_options(config: Config, descriptors: int) -> LinkOptions:
    device = config.device
    apps = http_connections_possible(descriptors, _http_holders(config))
    web_clients = client_sockets_possible(descriptors, config.svc.sockets_max)
    possible = connections_possible(descriptors, apps + web_clients, device.max_connections)
    log.info(
        "descriptor limit",
        descriptors=descriptors,
        device_connections=possible,
        http_connections=apps,
        client_sockets=web_clients,
    )
    return LinkOptions(
        path=device.path,
        frame_bytes_max=device.max_frame_bytes,
        connections_max=possible,
        ping_interval_s=device.ping_interval_s,
        ping_misses=device.ping_misses,
        trusted=parse_networks(config.http.trusted_proxies),
        guard=GuardLimits(message_bytes_max=16 * device.max_frame_bytes),
    )
