"""What the HTTP sides of the faces share: an application, errors as problems, JSON bodies.

An error's body is a problem (RFC 9457) whose extension members ``error`` and ``message`` are what
contracts A6 names: a stable token for programs and a sentence for people. Every answer says
``Cache-Control: no-store`` (requirement 75).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import msgspec
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from otp_server.domain.address import client_address
from otp_server.errors import ErrorKind, StoreUnavailable
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.address import Network
    from otp_server.domain.outcome import Refused
    from otp_server.telemetry import Metrics

_MS = 1000
_JSON = "application/json"
_BY_STATUS = {
    400: ErrorKind.MALFORMED,
    404: ErrorKind.NOT_FOUND,
    405: ErrorKind.METHOD_NOT_ALLOWED,
    413: ErrorKind.TOO_LARGE,
    415: ErrorKind.UNSUPPORTED_MEDIA_TYPE,
}

_QUOTES = re.compile(r"(unknown field|Invalid enum value) .*", re.DOTALL)
"""Where msgspec repeats what was sent; all other names in its messages are ours."""

T = TypeVar("T")
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WebOptions:
    """What every HTTP application is told."""

    body_bytes_max: int
    trusted_proxies: Sequence[Network]


class ApiError(Exception):
    """Ends a request with this kind; ``detail`` must be safe to tell."""

    def __init__(self, kind: ErrorKind, detail: str = "", *, retry_after_ms: int = 0) -> None:
        super().__init__(kind.token)
        self.kind = kind
        self.detail = detail
        self.retry_after_ms = retry_after_ms

    @classmethod
    def of(cls, refused: Refused) -> ApiError:
        """A service's refusal; its private reason stays here."""
        return cls(refused.kind, retry_after_ms=refused.retry_after_ms)


class _Problem(msgspec.Struct, omit_defaults=True):
    type: str
    title: str
    status: int
    error: str
    message: str


def json_response(value: object, status: int = 200) -> Response:
    """``value`` as JSON."""
    return Response(msgspec.json.encode(value), status, content_type=_JSON)


def problem(kind: ErrorKind, detail: str = "", *, retry_after_ms: int = 0) -> Response:
    """The answer for an error kind."""
    body = _Problem(
        type=f"urn:otp-server:error:{kind.token}",
        title=kind.text,
        status=kind.http_status,
        error=kind.token,
        message=detail or kind.text,
    )
    response = Response(
        msgspec.json.encode(body), kind.http_status, content_type="application/problem+json"
    )
    if retry_after_ms:
        response.headers["Retry-After"] = str(-(-retry_after_ms // _MS))
    elif kind is ErrorKind.UNAVAILABLE:
        response.headers["Retry-After"] = "1"
    if kind is ErrorKind.TOO_LARGE:
        response.headers["Connection"] = "close"  # the rest of the body is not awaited
    if kind is ErrorKind.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="otp-server"'
    return response


async def json_body(shape: type[T]) -> T:
    """The request's JSON body as ``shape``; ApiError says what is wrong, never quoting it."""
    if request.mimetype != _JSON:
        raise ApiError(
            ErrorKind.UNSUPPORTED_MEDIA_TYPE, "Send the header Content-Type: application/json."
        )
    body = await request.get_data(as_text=False)
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        told = _QUOTES.sub(r"\1", str(error))
        raise ApiError(ErrorKind.MALFORMED, f"The body does not fit: {told}.") from None
    except msgspec.DecodeError:
        raise ApiError(ErrorKind.MALFORMED, "The body is not JSON.") from None


def bearer_token() -> str:
    """The token of ``Authorization: Bearer``; ApiError when there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise ApiError(ErrorKind.UNAUTHORIZED)
    return token.strip()


def address_of_request(options: WebOptions) -> str:
    """The client's address, proxies considered (``domain.address``)."""
    forwarded = request.headers.getlist("X-Forwarded-For")
    return client_address(request.remote_addr or "", forwarded, options.trusted_proxies)


def make_app(name: str, options: WebOptions, metrics: Metrics) -> QuartTrio:
    """An application without routes, with every error answered as a problem.

    The last-resort handler answers 500 for one request and counts a crash (requirement 91).
    """
    app = QuartTrio(name, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = options.body_bytes_max
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False

    @app.before_request
    async def read_body() -> None:
        # Answered before its body is in, a request can hang the connection's next one (Hypercorn).
        await request.get_data(as_text=False)

    @app.after_request
    async def finish(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        metrics.http.labels(status=str(response.status_code)).inc()
        return response

    @app.errorhandler(ApiError)
    async def on_api_error(error: ApiError) -> Response:
        return problem(error.kind, error.detail, retry_after_ms=error.retry_after_ms)

    @app.errorhandler(StoreUnavailable)
    async def on_store(error: StoreUnavailable) -> Response:
        log.warning("request refused", why=str(error))
        return problem(ErrorKind.UNAVAILABLE)

    @app.errorhandler(RequestEntityTooLarge)
    async def on_large(_error: RequestEntityTooLarge) -> Response:
        return problem(ErrorKind.TOO_LARGE, f"Send at most {options.body_bytes_max} bytes of body.")

    @app.errorhandler(HTTPException)
    async def on_http(error: HTTPException) -> Response:
        kind = _BY_STATUS.get(error.code or 500, ErrorKind.MALFORMED)
        response = problem(kind)
        allowed = getattr(error, "valid_methods", None)
        if kind is ErrorKind.METHOD_NOT_ALLOWED and allowed:
            response.headers["Allow"] = ", ".join(sorted(allowed))
        return response

    @app.errorhandler(Exception)
    async def on_crash(error: Exception) -> Response:
        metrics.crashes.labels(where="http").inc()
        log.error("request failed", exc_info=error)
        return problem(ErrorKind.INTERNAL)

    return app
