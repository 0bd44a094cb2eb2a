"""What the HTTP sides of the faces share: an application whose every error is answered.

An error is said in the style of the face whose paths the request's target is among, and as a
problem (RFC 9457) everywhere else. Every answer says ``Cache-Control: no-store`` (requirement 75).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import trio
from quart import Response as QuartResponse
from quart import request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from otp_server.api.operation import JSON, ApiError
from otp_server.api.problem import PROBLEMS
from otp_server.api.resources import store_away, too_large
from otp_server.errors import ErrorKind, StoreUnavailable
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from hypercorn.typing import (
        ASGIReceiveCallable,
        ASGISendCallable,
        ASGISendEvent,
        HTTPScope,
        Scope,
    )

    from otp_server.api.operation import ErrorStyle, Operation, Response
    from otp_server.domain.address import Network
    from otp_server.telemetry import Metrics

_BY_STATUS = {
    400: ErrorKind.MALFORMED,
    404: ErrorKind.NOT_FOUND,
    405: ErrorKind.METHOD_NOT_ALLOWED,
    413: ErrorKind.TOO_LARGE,
    415: ErrorKind.UNSUPPORTED_MEDIA_TYPE,
}

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WebOptions:
    """What every HTTP application is told."""

    body_bytes_max: int
    trusted_proxies: Sequence[Network]


def _always(_operation: object) -> None:
    """Nothing is shed."""


class HttpApp(QuartTrio):
    """An application that knows in which style each of its paths says an error.

    ``styles`` is by path and, for those that have none, by the first segment. ``may_call`` is asked
    before an operation is called, and raises the ApiError that sheds the call.
    """

    def __init__(self, name: str, options: WebOptions, metrics: Metrics) -> None:
        super().__init__(name, static_folder=None)
        self.options = options
        self.styles: dict[str, ErrorStyle] = {}
        self.may_call: Callable[[Operation[Any, Any]], None] = _always
        self.config["MAX_CONTENT_LENGTH"] = options.body_bytes_max
        self.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
        self._metrics = metrics

    def refuse(self, error: ApiError, path: str) -> QuartResponse:
        """The answer for an error of a request for this path."""
        first = path.split("/", 2)[1] if path.startswith("/") else ""
        style = self.styles.get(path) or self.styles.get(first, PROBLEMS)
        return to_quart(style.render(error))

    def crash(self, error: BaseException, path: str) -> QuartResponse:
        """The answer for a bug of ours, which is counted and logged."""
        self._metrics.crashes.labels(where="http").inc()
        log.error("request failed", exc_info=error)
        return self.refuse(ApiError(ErrorKind.INTERNAL), path)

    def note_seconds(self, seconds: float) -> None:
        """How long a request took, from its head to the end of its answer."""
        self._metrics.http_seconds.observe(seconds)

    def finish(self, response: QuartResponse) -> QuartResponse:
        """What every answer says, and its count."""
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        self._metrics.http.labels(status=str(response.status_code)).inc()
        return response


def to_quart(response: Response) -> QuartResponse:
    """An operation's answer as Quart's."""
    made = QuartResponse(response.body, response.status, content_type=response.content_type)
    for name, value in response.headers:
        made.headers.add(name, value)
    return made


def json_response(value: object, status: int = 200) -> QuartResponse:
    """``value`` as JSON."""
    return QuartResponse(msgspec.json.encode(value), status, content_type=JSON)


def _never() -> bool:
    return False


def make_app(
    name: str, options: WebOptions, metrics: Metrics, *, draining: Callable[[], bool] = _never
) -> HttpApp:
    """An application without routes, with every error answered.

    The last-resort handlers answer 500 for one request and count a crash (requirement 91): one
    inside the application, and one around it for what it does before a request is a request. While
    ``draining``, new requests are refused and connections end.
    """
    app = HttpApp(name, options, metrics)
    outermost = _Outermost(app, app.asgi_app)
    app.asgi_app = outermost  # type: ignore[method-assign] # how Quart is wrapped

    @app.before_request
    async def read_body() -> QuartResponse | None:
        refused = draining()  # by its head: a request that came in time is answered
        # Answered before its body is in, a request can hang the connection's next one (Hypercorn).
        await request.get_data(as_text=False)
        return app.refuse(ApiError(ErrorKind.DRAINING), request.path) if refused else None

    @app.after_request
    async def finish(response: QuartResponse) -> QuartResponse:
        if draining():
            response.headers["Connection"] = "close"
        return app.finish(response)

    @app.errorhandler(ApiError)
    async def on_api_error(error: ApiError) -> QuartResponse:
        return app.refuse(error, request.path)

    @app.errorhandler(StoreUnavailable)
    async def on_store(error: StoreUnavailable) -> QuartResponse:
        return app.refuse(store_away(error), request.path)

    @app.errorhandler(RequestEntityTooLarge)
    async def on_large(_error: RequestEntityTooLarge) -> QuartResponse:
        return app.refuse(too_large(options.body_bytes_max), request.path)

    @app.errorhandler(HTTPException)
    async def on_http(error: HTTPException) -> QuartResponse:
        kind = _BY_STATUS.get(error.code or 500, ErrorKind.MALFORMED)
        allowed = getattr(error, "valid_methods", None) or ()
        headers = [("Allow", ", ".join(sorted(allowed)))] if allowed else []
        return app.refuse(ApiError(kind, headers=headers), request.path)

    @app.errorhandler(Exception)
    async def on_crash(error: Exception) -> QuartResponse:
        return app.crash(error, request.path)

    return app


class _Outermost:
    """Around the application: refuses targets it cannot take, and catches what leaves it."""

    def __init__(self, app: HttpApp, inner: Callable[..., Awaitable[None]]) -> None:
        self._app = app
        self._inner = inner

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        since = trio.current_time()
        try:
            await self._answer(scope, receive, send)
        finally:
            self._app.note_seconds(trio.current_time() - since)

    async def _answer(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        begun = False

        async def watched(event: ASGISendEvent) -> None:
            nonlocal begun
            begun = True
            await send(event)

        app, path = self._app, scope["path"]
        answer: QuartResponse | None = None
        if not _is_target(path):
            told = "The request's target cannot be read."
            answer = app.refuse(ApiError(ErrorKind.MALFORMED, told), path)
        else:
            try:
                await self._inner(scope, receive, watched)
            except* Exception as group:  # noqa: BLE001 - logged and answered
                answer = app.crash(group, path)
        if answer is not None and not begun:
            answer.headers["Connection"] = "close"  # its body is not awaited
            await _send(send, app.finish(answer))


def _is_target(path: str) -> bool:
    """Whether a target is a path or a URL; Quart takes any other apart without care."""
    if path.startswith("/") or path == "*":
        return True
    try:
        url = urlsplit(path)
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.netloc)


async def _send(send: ASGISendCallable, response: QuartResponse) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    body = await response.get_data(as_text=False)
    await send({"type": "http.response.body", "body": body, "more_body": False})
