"""Logs without secrets, and metrics of bounded cardinality.

Logs are JSON lines on standard error, one event each. Every line passes ``hide_secrets`` last, so
not even an exception's text can carry a code, a token or a key out (requirement 86). Metric labels
take only words of our own enums (requirement 90).
"""

from __future__ import annotations

import logging
import re
import sys
from bisect import bisect_left
from collections import Counter as Counted
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TextIO

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, MutableMapping

HIDDEN = "<hidden>"

_SECRET_NAMES = re.compile(
    r"(?i)(otp|code|passcode|token|secret|password|authori[sz]ation|cookie|org_key|jwt|body|payload)"
)
_SECRET_SHAPES = re.compile(
    r"eyJ[\w-]+\.[\w-]+\.[\w-]*"  # a JWT
    r"|[\w.:-]*-[12]-[0-9a-f]{16,}"  # a device token
    r"|\b(?:[A-Za-z0-9+/_-]{40,})={0,2}"  # any long random text: keys, organisation keys
    r"|\b(?=[A-Za-z]*\d)(?=[a-z\d]*[A-Z])(?=[A-Z\d]*[a-z])[A-Za-z0-9]{22}\b"  # a svc secret
    r"|(?i:bearer)\s+\S+"
    r"|(?<!\w)\d(?:[ \u2010-\u2015\u2212-]?\d){5,11}(?!\w)"  # a code, with or without gaps
    r"|[\w.+-]+@[\w-]+\.[\w.-]+"  # a mail address
    r"|\+\d[\d ()-]{6,}\d"  # a phone number
)
_PLACE = re.compile(r"[ |+-]*File \"")
"""A traceback's line that names a file: long paths are no keys."""
_OPEN_NAMES = frozenset({"event", "timestamp", "level", "logger"})
"""Names whose values are never secrets by name; their text is still searched for shapes."""
_IDENTIFIERS = frozenset({"timestamp", "device_id", "url", "path"})
"""Names whose values are ours and are not searched."""


def _hide(name: str, value: object) -> object:
    if name in _IDENTIFIERS:
        return value
    if name not in _OPEN_NAMES and _SECRET_NAMES.search(name):
        return HIDDEN
    return _hide_shapes(value)


def _shown(text: str) -> str:
    return "".join(
        line if _PLACE.match(line) else _SECRET_SHAPES.sub(HIDDEN, line)
        for line in text.splitlines(keepends=True)
    )


def _hide_shapes(value: object) -> object:
    match value:
        case str():
            return _shown(value)
        case bytes() | bytearray():
            return f"<{len(value)} bytes>"
        case dict():
            return {_shown(str(key)): _hide(str(key), item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_hide_shapes(item) for item in value]
        case bool() | int() | float() | None:
            return value
        case _:
            return _shown(repr(value))


def hide_secrets(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> Mapping[str, Any]:
    """The last structlog processor but one: replaces whatever has a secret's name or shape."""
    return {name: _hide(name, value) for name, value in event.items()}


def _to_json(event: object, **_: object) -> str:
    return msgspec.json.encode(event).decode()


def configure_logging(level: str, stream: TextIO | None = None) -> None:
    """Send our logs and those of the libraries to ``stream`` (standard error), as JSON lines."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            hide_secrets,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ],
    )
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty in (
        "trio-websocket",
        "hypercorn.access",
        "quart.serving",
        "httpx2",  # its lines hold a provider's address with the account in it
        "httpcore2",
    ):
        logging.getLogger(chatty).setLevel(max(root.level, logging.WARNING))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; ``name`` is the module's."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


class Durations(Collector):
    """A histogram that takes many observations at once: one of the library's costs 3 us each."""

    BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

    def __init__(self, name: str, documentation: str, *, registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._counts = [0] * (len(self.BOUNDS_S) + 1)
        self._sum_s = 0.0
        registry.register(self)

    def observe(self, seconds: float, count: int = 1) -> None:
        """Count so many alike. Not for several threads."""
        self._counts[bisect_left(self.BOUNDS_S, seconds)] += count
        self._sum_s += seconds * count

    def observe_since(self, begun: Iterable[float], now: float) -> None:
        """Count those that began at these instants and end now; many begin at the same one."""
        for instant, count in Counted(begun).items():
            self.observe(now - instant, count)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """For the registry."""
        names = [*map(floatToGoString, self.BOUNDS_S), "+Inf"]
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets, self._sum_s)


class AlikeHistogram(Histogram):
    """The library's, which counts many alike in one step too."""

    def observe_alike(self, amount: float, count: int) -> None:
        """As ``observe`` so many times."""
        self._sum.inc(amount * count)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(count)


class Metrics:
    """Everything ``/metrics`` shows. One instance a server, built by the composition root."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.connections = Gauge("otp_device_connections", "Open device connections.", registry=r)
        self.upgrades = Counter(
            "otp_device_upgrades", "Device WebSocket upgrades.", ["outcome"], registry=r
        )
        self.frames = Counter(
            "otp_device_frames", "Frames received, by kind.", ["kind"], registry=r
        )
        self.closes = Counter(
            "otp_device_closes", "Connections the server closed, by kind.", ["kind"], registry=r
        )
        self.issues = Counter(
            "otp_device_issues", "Answers to code requests.", ["outcome"], registry=r
        )
        self.issue_seconds = Durations(
            "otp_device_issue_seconds", "From an OTP_REQUEST's arrival to its answer.", registry=r
        )
        self.confirms = Counter(
            "otp_device_confirms", "Confirmations.", ["route", "outcome"], registry=r
        )
        self.live_codes = Gauge("otp_device_live_codes", "Live codes.", ["length"], registry=r)
        self.client_sockets = Gauge(
            "otp_client_sockets", "Web sockets of clients, open or on their way in.", registry=r
        )
        self.client_upgrades = Counter(
            "otp_client_upgrades", "WebSocket upgrades of clients.", ["outcome"], registry=r
        )
        self.client_closes = Counter(
            "otp_client_closes", "How web sockets of clients ended, by kind.", ["kind"], registry=r
        )
        self.http = Counter("otp_http_responses", "HTTP answers.", ["status"], registry=r)
        self.http_seconds = Durations(
            "otp_http_seconds", "From an HTTP request to its answer.", registry=r
        )
        self.http_shed = Counter(
            "otp_http_shed", "Calls refused while the store was behind.", ["priority"], registry=r
        )
        self.deliveries = Counter(
            "otp_deliveries",
            "Messages given to a provider, by what became of the try.",
            ["channel", "outcome", "problem"],
            registry=r,
        )
        self.delivery_seconds = AlikeHistogram(
            "otp_delivery_seconds",
            "How long a provider took for a message.",
            ["channel"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30),
            registry=r,
        )
        self.delivery_down = Gauge(
            "otp_delivery_provider_down",
            "Whether the breaker keeps messages from the channel's provider.",
            ["channel"],
            registry=r,
        )
        self.limit_hits = Counter(
            "otp_process_limit_hits",
            "Refusals of the rest face by limits and guards, and what guards only recorded.",
            ["policy", "outcome"],
            registry=r,
        )
        self.crashes = Counter(
            "otp_handler_crashes", "Bugs caught by a last-resort handler.", ["where"], registry=r
        )

    def render(self) -> bytes:
        """The Prometheus text exposition."""
        return generate_latest(self.registry)
