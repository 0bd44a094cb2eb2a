"""One running server: the order of starting and stopping is here and nowhere else."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from otp_server.api.device.face import DeviceFace, FaceServices
from otp_server.api.lanes import Load
from otp_server.api.ops import OpsHttp
from otp_server.api.web import WebOptions, make_app
from otp_server.app.base import Base
from otp_server.app.collecting import short_collections
from otp_server.app.engine import Engine
from otp_server.app.face import device_http, face_options
from otp_server.app.http import HttpSide
from otp_server.app.listeners import Listeners, device_transport, http_limits, tls_files
from otp_server.app.operations import mount_operations
from otp_server.app.rest import RestFace
from otp_server.app.services import Services
from otp_server.app.svc import SvcFace
from otp_server.clock import SteadyClock
from otp_server.domain.address import parse_networks
from otp_server.errors import ErrorKind
from otp_server.services.upkeep import Upkeep
from otp_server.stores import open_store
from otp_server.telemetry import Metrics, get_logger
from otp_server.transport.http import HttpLimits, serve_http
from otp_server.transport.sockets import (
    OPS_CONNECTIONS,
    calm_accept_log,
    raise_descriptor_limit,
    url_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from otp_server.clock import Clock
    from otp_server.config import Config, InstallationKeys
    from otp_server.services.ports import Store
    from otp_server.transport.seam import DeviceTransport

_LAST_WORDS_S = 1.0
"""How long the end of a drain may take to write down what only memory holds."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What one server is made of."""

    base: Base
    services: Services
    engine: Engine
    rest: RestFace
    svc: SvcFace
    descriptors: int


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
            base = Base(self._keys, store, self._clock, Metrics())
            services = Services(config, base)
            engine = Engine(config, base)
            rest = RestFace(config, base, engine)
            descriptors = raise_descriptor_limit()
            svc = SvcFace(config, base, engine, descriptors)
            await engine.check()
            guesses = await services.confirm.restore(services.guesses_kept_ms)
            starts = await rest.restore() + await svc.restore()
            log.info("store open", url=config.store.url, guesses=guesses, starts=starts)
            await self._serve(
                Parts(base, services, engine, rest, svc, descriptors), listeners, announce
            )

    async def _serve(
        self, parts: Parts, listeners: Listeners, announce: Callable[[str], None]
    ) -> None:
        config, metrics, store = self._config, parts.base.metrics, parts.base.store
        services, engine, rest, svc = parts.services, parts.engine, parts.rest, parts.svc
        upkeep = Upkeep(store, services.clock, services.live, metrics, services.guesses_kept_ms)
        await upkeep.sweep()
        await upkeep.count()
        load = Load()
        face = DeviceFace(
            FaceServices(services.issue, services.devices, services.presence),
            face_options(config),
            metrics,
            load,
        )
        descriptors = parts.descriptors
        calm_accept_log()
        transport, serve_devices = device_transport(
            config, face, metrics, listeners.device, descriptors
        )
        face.attach(transport)
        web = WebOptions(config.http.max_body_bytes, parse_networks(config.http.trusted_proxies))
        http = self._http_side(parts, web, load)
        ops_app = make_app("ops", web, metrics)
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
                background.start_soon(engine.run)
                background.start_soon(rest.run)
                background.start_soon(svc.run)
                async with trio.open_nursery() as serving:
                    await serving.start(serve_devices)
                    serving.start_soon(
                        partial(
                            http.serve,
                            tls=tls_files(config.http.tls),
                            limits=http_limits(config, descriptors, web),
                            stop=self._drain.wait,
                        ),
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
                    engine.drain()
                    await _drain_devices(face, transport, drain_s)
                with trio.move_on_at(ends_at):
                    await engine.wait_delivered()
                with trio.move_on_after(_LAST_WORDS_S):
                    await engine.flush()
                background.cancel_scope.cancel()
            stop_ops.set()
            ops.cancel_scope.deadline = ends_at
        log.info("stopped")

    def _http_side(self, parts: Parts, web: WebOptions, load: Load) -> HttpSide:
        """All faces on one application."""
        metrics, rest, svc, draining = parts.base.metrics, parts.rest, parts.svc, self._drain.is_set
        app = make_app("http", web, metrics, draining=draining)
        device = device_http(self._config, parts.services, web, metrics)
        operations = mount_operations(app, device, rest, svc)
        return HttpSide(app, operations, rest.directory, metrics, draining, svc.sockets, load)


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
