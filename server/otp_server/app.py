"""The composition root: builds everything once, serves it, drains it.

Everything gets its collaborators by constructor; nothing is reached through a global. The order of
starting and stopping is here and nowhere else:

    start   store -> guess journal -> listeners -> face -> transports -> "ready"
    drain   readiness says no -> no new connections -> answers owed -> sockets closed 1001
            -> HTTP requests in flight -> the face's tasks -> store
"""

from __future__ import annotations

import gc
import socket
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from otp_server.api.device.face import DeviceFace, FaceOptions, FaceServices
from otp_server.api.device.http import DeviceHttp, DeviceHttpOptions
from otp_server.api.ops import OpsHttp
from otp_server.api.web import WebOptions, make_app
from otp_server.clock import SteadyClock
from otp_server.config import code_policy, windows_ms
from otp_server.core import Keyring, SlidingWindows
from otp_server.domain.address import parse_networks
from otp_server.errors import ErrorKind
from otp_server.registry import device_service
from otp_server.services.confirm import ConfirmService, GuessLimits
from otp_server.services.issue import IssueService
from otp_server.services.live_codes import LiveCodes
from otp_server.services.presence import PresenceService
from otp_server.services.tokens import TokenService
from otp_server.services.upkeep import Upkeep
from otp_server.stores import open_store
from otp_server.telemetry import Metrics, get_logger
from otp_server.transport.guard import GuardLimits
from otp_server.transport.http import HttpLimits, serve_http
from otp_server.transport.options import LinkOptions
from otp_server.transport.sockets import (
    OPS_CONNECTIONS,
    TlsFiles,
    calm_accept_log,
    connections_possible,
    http_connections_possible,
    open_listener,
    open_reactor_listener,
    raise_descriptor_limit,
    url_of,
)
from otp_server.transport.websocket import WebSocketTransport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from otp_server.clock import Clock
    from otp_server.config import Config, Endpoint, InstallationKeys
    from otp_server.core import ReactorListener
    from otp_server.services.ports import Store
    from otp_server.transport.seam import DeviceTransport

_MINUTE_MS = 60_000
_DEVICE_KEYS_MAX = 2_000_000
_GUESS_KEYS_MAX = 100_000
_ADDRESS_CONNECTIONS_MIN = 8
_COLLECT_AFTER = 5000
"""New objects that start a collection: more than a full batch of answers has at once."""
_ANSWER_MARGIN_S = 0.5
"""How long before the promised deadline an answer is given up, so that it still arrives in time."""

log = get_logger(__name__)


class Services:
    """The use cases over one store. Cheap to make; holds no task."""

    def __init__(self, config: Config, keys: InstallationKeys, store: Store, clock: Clock) -> None:
        device, confirm = config.device, config.confirm
        self.clock = clock
        self.live = LiveCodes()
        self.policy = code_policy(config)
        keyring = Keyring(keys.code)
        self.issue = IssueService(
            store,
            keyring=keyring,
            clock=clock,
            policy=self.policy,
            limiter=SlidingWindows([(device.requests_per_minute, _MINUTE_MS)], _DEVICE_KEYS_MAX),
            live=self.live,
        )
        per_address = windows_ms(confirm.per_address)
        per_org = windows_ms(confirm.per_organisation)
        in_all = windows_ms(confirm.in_all)
        self.guesses_kept_ms = max(period for _, period in per_address + per_org + in_all)
        limits = GuessLimits(
            per_address=SlidingWindows(per_address, _GUESS_KEYS_MAX),
            per_organisation=SlidingWindows(per_org, _GUESS_KEYS_MAX),
            in_all=SlidingWindows(in_all, 1),
        )
        self.confirm = ConfirmService(store, keyring=keyring, clock=clock, limits=limits)
        self.devices = device_service(keys, store, clock)
        self.presence = PresenceService(store, clock=clock)
        self.tokens = TokenService(keys.token, clock=clock, quick_session_s=confirm.quick_session_s)


@contextmanager
def short_collections() -> Iterator[None]:
    """Inside, the collector passes over what is there already, and comes less often.

    A full collection goes through every object of every import, for tens of milliseconds; a batch
    of answers would start a small one several times, and find nothing.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@dataclass(frozen=True, slots=True)
class Listeners:
    """The bound sockets of the three listeners."""

    device: socket.socket | ReactorListener
    http: socket.socket
    ops: socket.socket

    @classmethod
    def open(cls, config: Config) -> Listeners:
        """Bind all three, or none: ConfigError names the one that cannot be."""
        with ExitStack() as opened:
            device = _open_device(config)
            opened.callback(device.close)
            http = _open(config.http.listen)
            opened.callback(http.close)
            ops = _open(config.ops.listen)
            opened.pop_all()
        return cls(device, http, ops)


def _open_device(config: Config) -> socket.socket | ReactorListener:
    endpoint = config.device.listen
    if config.device.transport == "native":
        return open_reactor_listener(endpoint.host, endpoint.port)
    return _open(endpoint)


def _open(endpoint: Endpoint) -> socket.socket:
    return open_listener(endpoint.host, endpoint.port)


class Server:
    """One running server. ``run`` once."""

    def __init__(
        self, config: Config, keys: InstallationKeys, *, clock: Clock | None = None
    ) -> None:
        self._config = config
        self._keys = keys
        self._clock = SteadyClock() if clock is None else clock
        self._drain = trio.Event()

    def drain(self) -> None:
        """Begin a graceful stop. Idempotent; to be called from the Trio thread."""
        self._drain.set()

    async def run(self, announce: Callable[[str], None]) -> None:
        """Serve until :meth:`drain`, then stop within ``server.drain_s`` and return.

        ``announce`` gets one line a listener, then ``ready``. Hypercorn may outstay the drain
        where a client does not read: the caller ends the process then.

        Cancellation: ends everything at once; what was acknowledged is durable.
        """
        config = self._config
        async with AsyncExitStack() as resources:
            listeners = Listeners.open(config)
            for listener in (listeners.device, listeners.http, listeners.ops):
                resources.callback(listener.close)
            store = await open_store(config.store.url, config.server.data_dir)
            resources.push_async_callback(_close_store, store)
            services = Services(config, self._keys, store, self._clock)
            restored = await services.confirm.restore(services.guesses_kept_ms)
            log.info("store open", url=config.store.url, guesses=restored)
            await self._serve(services, store, listeners, announce)

    async def _serve(
        self,
        services: Services,
        store: Store,
        listeners: Listeners,
        announce: Callable[[str], None],
    ) -> None:
        config, metrics = self._config, Metrics()
        upkeep = Upkeep(store, services.clock, services.live, metrics, services.guesses_kept_ms)
        await upkeep.sweep()
        await upkeep.count()
        face = DeviceFace(
            FaceServices(services.issue, services.devices, services.presence),
            _face_options(config),
            metrics,
        )
        descriptors = raise_descriptor_limit()
        calm_accept_log()
        transport, serve_devices = _device_transport(
            config, face, metrics, listeners.device, descriptors
        )
        face.attach(transport)
        web = WebOptions(config.http.max_body_bytes, parse_networks(config.http.trusted_proxies))
        http_app = make_app("http", web, metrics, draining=self._drain.is_set)
        ops_app = make_app("ops", web, metrics)
        _device_http(config, services, web, metrics).mount(http_app)
        OpsHttp(store, self._drain.is_set, metrics).mount(ops_app)

        stop_ops = trio.Event()
        drain_s, ends_at = config.server.drain_s, float("inf")
        device_url = url_of(
            listeners.device, "wss" if config.device.tls else "ws", config.device.path
        )
        http_url = url_of(listeners.http, "https" if config.http.tls else "http")
        ops_url = url_of(listeners.ops, "http")
        async with trio.open_nursery() as ops:
            ops.start_soon(
                partial(
                    serve_http,
                    tls=None,
                    limits=HttpLimits(OPS_CONNECTIONS, OPS_CONNECTIONS),
                    stop=stop_ops.wait,
                ),
                ops_app,
                listeners.ops,
            )
            async with trio.open_nursery() as background:
                await background.start(face.run)
                background.start_soon(upkeep.run)
                async with trio.open_nursery() as serving:
                    await serving.start(serve_devices)
                    serving.start_soon(
                        partial(
                            serve_http,
                            tls=_tls(config.http.tls),
                            limits=_http_limits(descriptors, web),
                            stop=self._drain.wait,
                        ),
                        http_app,
                        listeners.http,
                    )
                    announce(f"listening face=device url={device_url}")
                    announce(f"listening face=http url={http_url}")
                    announce(f"listening face=ops url={ops_url}")
                    announce("ready")
                    with short_collections():
                        await self._drain.wait()
                    log.info("draining", within_s=drain_s)
                    ends_at = trio.current_time() + drain_s
                    serving.cancel_scope.deadline = ends_at
                    await _drain_devices(face, transport, drain_s)
                background.cancel_scope.cancel()
            stop_ops.set()
            ops.cancel_scope.deadline = ends_at
        log.info("stopped")


def _device_transport(
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


async def _drain_devices(face: DeviceFace, transport: DeviceTransport, drain_s: float) -> None:
    """Let nobody in, give the answers owed (half the time at most), close every socket 1001."""
    face.drain()
    transport.stop_accepting()
    with trio.move_on_after(drain_s / 2):
        await face.wait_answered()
    transport.close_all(ErrorKind.DRAINING)


async def _close_store(store: Store) -> None:
    with trio.CancelScope(shield=True):
        await store.aclose()


def _trio_listeners(config: Config, device: socket.socket) -> Sequence[trio.abc.Listener[Any]]:
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(device))
    tls = _tls(config.device.tls)
    if tls is None:
        return [listener]
    return [trio.SSLListener(listener, tls.context(), https_compatible=True)]


def _tls(files: tuple[Path, Path] | None) -> TlsFiles | None:
    return None if files is None else TlsFiles(str(files[0]), str(files[1]))


def _answer_s(config: Config) -> float:
    deadline_s = config.device.deadline_s
    return deadline_s - min(_ANSWER_MARGIN_S, deadline_s / 4)


def _face_options(config: Config) -> FaceOptions:
    device = config.device
    return FaceOptions(
        answer_s=_answer_s(config),
        connections_per_address=device.max_connections_per_address,
        connections_per_device=device.max_connections_per_device,
        void_on_disconnect=device.void_on_disconnect,
        allowed_origins=frozenset(device.allowed_origins),
        trusted_proxies=parse_networks(config.http.trusted_proxies),
    )


def _http_limits(descriptors: int, web: WebOptions) -> HttpLimits:
    """A quarter of the connections for one address: it takes several to shut the others out."""
    connections = http_connections_possible(descriptors)
    per_address = max(_ADDRESS_CONNECTIONS_MIN, connections // 4)
    return HttpLimits(connections, per_address, web.trusted_proxies)


def _link_options(config: Config, descriptors: int) -> LinkOptions:
    device = config.device
    possible = connections_possible(descriptors, device.max_connections)
    log.info(
        "descriptor limit",
        descriptors=descriptors,
        device_connections=possible,
        http_connections=http_connections_possible(descriptors),
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


def _device_http(
    config: Config, services: Services, web: WebOptions, metrics: Metrics
) -> DeviceHttp:
    return DeviceHttp(
        options=DeviceHttpOptions(
            web=web,
            code_length_min=config.device.code_length,
            code_length_max=config.device.code_length_max,
            answer_s=_answer_s(config),
        ),
        issue=services.issue,
        confirm=services.confirm,
        devices=services.devices,
        presence=services.presence,
        tokens=services.tokens,
        clock=services.clock,
        metrics=metrics,
    )
