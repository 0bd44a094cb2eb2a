"""The operator's face: liveness, readiness and metrics, on a listener of their own.

Live is not ready: ``/livez`` says that the event loop turns; ``/readyz`` asks the store to write,
and says when the server is draining.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import trio
from quart import Response

from otp_server.api.web import json_response
from otp_server.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart_trio import QuartTrio

    from otp_server.telemetry import Metrics

PROBE_S = 2.0
"""How long readiness waits for the store."""
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Probed(Protocol):
    """What readiness asks."""

    async def probe(self) -> None:
        """Raise StoreUnavailable when nothing can be written."""


@dataclass(frozen=True, slots=True)
class OpsHttp:
    """The routes and what they ask."""

    store: Probed
    draining: Callable[[], bool]
    metrics: Metrics

    def mount(self, app: QuartTrio) -> None:
        """Add the routes to an application."""
        app.add_url_rule("/livez", view_func=self.livez, methods=["GET"])
        app.add_url_rule("/readyz", view_func=self.readyz, methods=["GET"])
        app.add_url_rule("/metrics", view_func=self.render_metrics, methods=["GET"])

    async def livez(self) -> Response:
        """200 while the event loop turns."""
        return json_response({"status": "live"})

    async def readyz(self) -> Response:
        """200 when work is welcome; 503 says why not."""
        if self.draining():
            return json_response({"status": "draining"}, 503)
        try:
            with trio.fail_after(PROBE_S):
                await self.store.probe()
        except StoreUnavailable as error:
            return json_response({"status": "store unavailable", "why": str(error)}, 503)
        except trio.TooSlowError:
            why = f"no answer within {PROBE_S:g} s"
            return json_response({"status": "store unavailable", "why": why}, 503)
        return json_response({"status": "ready"})

    async def render_metrics(self) -> Response:
        """The Prometheus text exposition."""
        return Response(self.metrics.render(), content_type=_METRICS_TYPE)
