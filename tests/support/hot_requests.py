"""Requests as the reactor gives them, and operations that do what a test wants; no sockets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from otp_server.api.hot import HotFace
from otp_server.api.operation import ErrorStyle, Operation, Priority, Request, Response
from otp_server.api.problem import error_headers
from otp_server.api.web import WebOptions
from otp_server.telemetry import Metrics

if TYPE_CHECKING:
    from otp_server.api.lanes import Load
    from otp_server.core import HttpRequest
    from otp_server.transport.hot_seam import Answer

BODY_BYTES_MAX = 64
ALONE_MAX = 50
PATHS = {
    "judge": (Priority.JUDGE, 0),
    "start": (Priority.START, 0),
    "foresee": (Priority.FORESEE, 0),
    "deliver": (Priority.START, ALONE_MAX),
}
"""Operations, by the name that is their path: the priority, and how many calls alone."""
SAID = ErrorStyle(
    lambda error: Response(
        error.kind.token.encode(), error.kind.http_status, "text/plain", error_headers(error)
    ),
    str,
    "text/plain",
)


@dataclass(eq=False)
class Asked:
    """A request; the attributes are an HttpRequest's."""

    route: int
    body: bytes | None = b""
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)
    query: str = ""
    parameters: tuple[str, ...] = ()
    peer: str = "192.0.2.7"


@dataclass
class Calls:
    """What was called, and how calls behave; a call echoes the bodies it gets.

    A body ``crash`` is a bug of whoever gets it last: ``decode-crash``, ``call-crash``, ...
    """

    batches: list[tuple[str, list[bytes]]] = field(default_factory=list)
    before: Callable[[str], Awaitable[object]] | None = None

    def operation(self, name: str, priority: Priority, alone: int) -> Operation[Any, Any]:
        def decode(request: Request) -> bytes:
            assert request.body != b"decode-crash"
            return request.body

        async def call(batch: Sequence[bytes]) -> list[bytes]:
            self.batches.append((name, list(batch)))
            if self.before is not None:
                await self.before(name)
            assert b"call-crash" not in batch
            return list(batch)

        def render(outcome: bytes) -> Response:
            assert outcome != b"render-crash"
            headers = (("X-Said", "a\r\nb"),) if outcome == b"bad-header" else ()
            headers = (("X-Said", "\ud800"),) if outcome == b"worse-header" else headers
            return Response(outcome, 200, "text/plain", headers)

        return Operation(
            name=name,
            summary=name,
            method="POST",
            paths=(f"/{name}",),
            decode=decode,
            call=call,
            render=render,
            error_style=SAID,
            hot=True,
            alone=alone,
            priority=priority,
        )

    @property
    def operations(self) -> list[Operation[Any, Any]]:
        return [self.operation(name, priority, alone) for name, (priority, alone) in PATHS.items()]


class HotStage:
    """A face over such operations; answers are gathered. ``load`` may know of others."""

    def __init__(self, load: Load | None = None) -> None:
        self.calls = Calls()
        self.metrics = Metrics()
        self.draining = False
        self.face = HotFace(
            self.calls.operations,
            None,
            WebOptions(BODY_BYTES_MAX, []),
            self.metrics,
            draining=lambda: self.draining,
            load=load,
        )
        self.face.attach(self)
        self.answers: dict[Asked, Answer] = {}

    def send_many(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            asked = cast("Asked", answer[0])
            assert asked not in self.answers
            self.answers[asked] = answer

    def ask(self, name: str, *bodies: bytes | None, method: str = "POST") -> list[Asked]:
        """Requests that come at once."""
        route = list(PATHS).index(name)
        asked = [Asked(route, body, method) for body in bodies or (b"",)]
        self.face.received(cast("list[HttpRequest]", asked))
        return asked

    def status(self, asked: Asked) -> int:
        """Of its answer; 0 while there is none."""
        return self.answers[asked][1] if asked in self.answers else 0

    def statuses(self, asked: Sequence[Asked]) -> list[int]:
        return [self.status(each) for each in asked]

    def crashes(self) -> float:
        return (
            self.metrics.registry.get_sample_value("otp_handler_crashes_total", {"where": "http"})
            or 0.0
        )

    def shed(self, priority: str) -> float:
        return (
            self.metrics.registry.get_sample_value("otp_http_shed_total", {"priority": priority})
            or 0.0
        )
