"""Hot operations on the reactor: batches of requests in, batches of answers out.

What is asked, who asks and how an error is said is the same code as under Quart (``resources``).
Here is only what a batch adds: every request is read by itself, so a bad one is answered and the
others go on; each operation is called once for all of its requests; what a call raises is the
answer of its batch, and of no other.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from otp_server.api.lanes import Lane, Load, Waiting, overloaded
from otp_server.api.limit_headers import limit_headers
from otp_server.api.operation import ApiError, Request, Response
from otp_server.api.resources import (
    Callers,
    Resource,
    address_of,
    by_path,
    check_tokens,
    read_query,
    store_away,
    too_large,
)
from otp_server.errors import ErrorKind, StoreUnavailable
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otp_server.api.authentication import TokenChecker
    from otp_server.api.operation import ErrorStyle, Operation
    from otp_server.api.web import WebOptions
    from otp_server.core import HttpRequest
    from otp_server.telemetry import Metrics
    from otp_server.transport.hot_seam import Answer, AnswerSide

_ANSWERS_AT_ONCE = 64
_NAME = re.compile(r"\{([a-z_]+)\}")
_CLOSE = ("Connection", "close")
_TELL_AGAIN_S = 10

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Route:
    """A method of a path, and with GET also HEAD. ``names`` are the path's parameters."""

    resource: Resource
    method: str
    names: tuple[str, ...]
    lane: Lane


class _Intake:
    """The requests of one batch for one lane. What they have in common is found out once.

    It ends with its batch, before anything else can happen: so a token that was revoked, and a lane
    that is full, are seen as soon as if each request were looked at by itself.
    """

    def __init__(self, lane: Lane, tokens: TokenChecker | None, *, shed: bool) -> None:
        """``shed``: none of them may wait now."""
        self.lane = lane
        self.callers = Callers(lane.operation, tokens)
        self.shed = shed
        self.read: list[Waiting] = []


def _never() -> bool:
    return False


class HotFace:
    """The hot ones of all operations. Implements :class:`transport.hot_seam.HotSide`.

    ``run`` it for as long as requests may come.
    """

    def __init__(
        self,
        operations: Sequence[Operation[Any, Any]],
        tokens: TokenChecker | None,
        options: WebOptions,
        metrics: Metrics,
        *,
        draining: Callable[[], bool] = _never,
        load: Load | None = None,
    ) -> None:
        """``operations`` are all that the application has: the others' paths are not answered here.

        While ``draining``, each answer is the last of its connection. ``load`` may know of others
        that wait for the store.
        """
        check_tokens(operations, tokens)
        self._tokens = tokens
        self._options = options
        self._metrics = metrics
        self._draining = draining
        self._link: AnswerSide | None = None
        self._nursery: trio.Nursery | None = None
        self._until_late = trio.CancelScope()  # around the wait for who has waited too long
        self._shed_told_at = float("-inf")
        self.load = Load() if load is None else load
        self.routes: list[tuple[str | None, str]] = []
        """As the core takes them."""
        self._routes: list[_Route | None] = []
        lanes: dict[int, Lane] = {}
        for path, methods in by_path(operations).items():
            resource = Resource(methods)
            names = tuple(_NAME.findall(path))
            hot = {method: each for method, each in methods.items() if each.hot}
            for method, operation in hot.items():
                lane = lanes.setdefault(id(operation), Lane(operation))
                self.routes.append((method, path))
                self._routes.append(_Route(resource, method, names, lane))
            if not hot:
                self.routes.append((None, path))
                self._routes.append(None)
        self.load.lanes.extend(lanes.values())
        self.load.lanes.sort(key=lambda lane: lane.priority)

    def attach(self, link: AnswerSide) -> None:
        """Where answers go; before the first request."""
        self._link = link

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Call operations until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await self._refuse_late()

    def may_call(self, operation: Operation[Any, Any]) -> None:
        """ApiError when an operation is shed that is called elsewhere, for the sake of these."""
        try:
            self.load.check_priority(operation.priority, trio.current_time())
        except ApiError:
            self._note_shed(operation, 1)
            raise

    def received(self, requests: Sequence[HttpRequest]) -> None:
        """Read requests; refusals are answered at once, the rest when it was called."""
        now = trio.current_time()
        answers: list[Answer] = []
        intakes: dict[Lane, _Intake] = {}
        for request in requests:
            route = self._routes[request.route]
            assert route is not None  # noqa: S101 - the core gives no request for the others
            intake = intakes.get(route.lane)
            if intake is None:
                intake = intakes[route.lane] = self._open(route.lane, now)
            try:
                intake.read.append(self._read(route, intake, request, now))
            except Exception as error:  # noqa: BLE001 - told, logged and counted
                answers.append(self._refuse(route.resource.error_style, request, error))
        for intake in sorted(intakes.values(), key=lambda each: each.lane.priority):
            intake.lane.put(intake.read)
            self._begin_calls(intake.lane)
        self._send(answers, [now] * len(answers))

    def _open(self, lane: Lane, now: float) -> _Intake:
        try:
            self.load.check(lane, now)
        except ApiError:
            return _Intake(lane, self._tokens, shed=True)
        return _Intake(lane, self._tokens, shed=False)

    def _read(self, route: _Route, intake: _Intake, request: HttpRequest, now: float) -> Waiting:
        """Everything about a request that can be judged without the store."""
        body = request.body
        if body is None:
            raise too_large(self._options.body_bytes_max)
        operation, method = route.lane.operation, route.method
        if method == "GET":
            method = request.method  # or HEAD
            operation = route.resource.operation(method)
        if intake.shed:
            self._note_shed(operation, 1)
            raise overloaded()
        headers, query = request.headers, request.query
        asked = Request(
            method,
            dict(zip(route.names, request.parameters, strict=True)) if route.names else {},
            read_query(query) if query else (),
            headers,
            body,
            address_of(request.peer, headers, self._options.trusted_proxies),
            intake.callers.find(headers),
        )
        command, quotas = operation.begin(asked)
        return Waiting(request, command, quotas, now)

    def _begin_calls(self, lane: Lane) -> None:
        """As many calls as there may be; whoever is left waits for one of them to end."""
        assert self._nursery is not None  # noqa: S101 - requests come while it runs
        now = trio.current_time()
        while lane.waits and not self.load.puts_off(lane, now) and (batch := lane.take()):
            lane.calls += 1
            self._nursery.start_soon(self._call, lane, batch)
        if lane.waits:
            self._until_late.deadline = min(self._until_late.deadline, lane.late_at)

    async def _call(self, lane: Lane, batch: list[Waiting]) -> None:
        """Call, and begin what waited for its end: whose turn it is, and who was put off."""
        try:
            await self._call_once(lane.operation, batch)
        finally:
            lane.calls -= 1
        self._begin_all()

    def _begin_all(self) -> None:
        for each in self.load.lanes:
            if each.waits:
                self._begin_calls(each)

    async def _call_once(self, operation: Operation[Any, Any], batch: Sequence[Waiting]) -> None:
        outcomes: Sequence[Any]
        try:
            outcomes = await operation.call([each.command for each in batch])
            answered = list(zip(batch, outcomes, strict=True))
        except Exception as error:  # noqa: BLE001 - told, logged and counted
            failed = self._error_of(error)
            answered = [(each, failed) for each in batch]
        for start in range(0, len(answered), _ANSWERS_AT_ONCE):
            if start:
                await trio.lowlevel.checkpoint()  # a full batch would keep the others waiting
            few = answered[start : start + _ANSWERS_AT_ONCE]
            self._send(self._answers(operation, few), [each.since for each, _ in few])

    async def _refuse_late(self) -> None:
        """Refuse who waited too long, when it is too long, and call who was put off for them."""
        while True:
            with trio.CancelScope(deadline=self.load.late_at) as self._until_late:
                await trio.sleep_forever()
            now = trio.current_time()
            for lane in self.load.lanes:
                late = lane.take_late(now)
                if late:
                    style = lane.operation.error_style
                    self._note_shed(lane.operation, len(late))
                    self._send(
                        [self._refuse(style, each.request, overloaded()) for each in late],
                        [each.since for each in late],
                    )
            self._begin_all()  # nobody waits for those who were refused

    def _answers(
        self, operation: Operation[Any, Any], answered: Sequence[tuple[Waiting, Any]]
    ) -> list[Answer]:
        answers: list[Answer] = []
        end, closing = operation.end, self._draining()
        for waiting, outcome in answered:
            try:
                said = end(outcome)
            except Exception as error:  # noqa: BLE001 - told, logged and counted
                answers.append(self._refuse(operation.error_style, waiting.request, error))
                continue
            headers = limit_headers(said.quotas, waiting.quotas)
            if said.headers:
                headers = (*headers, *said.headers)
            if closing and _CLOSE not in headers:
                headers = (*headers, _CLOSE)
            answers.append((waiting.request, said.status, said.content_type, headers, said.body))
        return answers

    def _refuse(self, style: ErrorStyle, request: HttpRequest, error: Exception) -> Answer:
        try:
            said = style.render(self._error_of(error))
        except Exception:
            self._note_crash()
            log.exception("an error was not said")
            said = Response(b"", ErrorKind.INTERNAL.http_status, "")
        headers = said.headers
        if self._draining() and _CLOSE not in headers:
            headers = (*headers, _CLOSE)
        return request, said.status, said.content_type, headers, said.body

    def _error_of(self, error: Exception) -> ApiError:
        """What is told of it; a bug is counted and logged."""
        match error:
            case ApiError():
                return error
            case StoreUnavailable():
                return store_away(error)
        self._note_crash()
        log.error("request failed", exc_info=error)
        return ApiError(ErrorKind.INTERNAL)

    def _send(self, answers: Sequence[Answer], since: Sequence[float]) -> None:
        """``since``: when the request of each was read."""
        if not answers:
            return
        for status, count in Counter([answer[1] for answer in answers]).items():
            self._metrics.http.labels(status=str(status)).inc(count)
        assert self._link is not None  # noqa: S101 - attached before the first request
        self._link.send_many(answers)
        self._metrics.http_seconds.observe_since(since, trio.current_time())

    def _note_crash(self) -> None:
        self._metrics.crashes.labels(where="http").inc()

    def _note_shed(self, operation: Operation[Any, Any], count: int) -> None:
        assert operation.priority is not None  # noqa: S101 - the others are never shed
        self._metrics.http_shed.labels(priority=operation.priority.name.lower()).inc(count)
        now = trio.current_time()
        if now >= self._shed_told_at + _TELL_AGAIN_S:
            self._shed_told_at = now
            log.warning("calls are refused: the store is behind", operation=operation.name)
