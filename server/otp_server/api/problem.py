"""An error as a problem (RFC 9457): how the device face says one, and what has no face.

Its extension members ``error`` and ``message`` are what contracts A6 names: a stable token for
programs and a sentence for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from otp_server.api.operation import ErrorStyle, Response
from otp_server.errors import ErrorKind

if TYPE_CHECKING:
    from otp_server.api.operation import ApiError

_MS = 1000
MEDIA_TYPE = "application/problem+json"
CHALLENGE = 'Bearer realm="otp-server"'


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong with a request."""

    type: str
    title: str
    status: int
    error: str
    message: str


def urn_of(kind: ErrorKind) -> str:
    """The stable name of an error kind."""
    return f"urn:otp-server:error:{kind.token}"


def error_headers(error: ApiError) -> tuple[tuple[str, str], ...]:
    """The headers that go with an error, whichever way its face says it."""
    headers = list(error.headers)
    kind = error.kind
    if error.retry_after_ms:
        headers.append(("Retry-After", str(-(-error.retry_after_ms // _MS))))
    elif kind is ErrorKind.UNAVAILABLE:
        headers.append(("Retry-After", "1"))
    if kind in (ErrorKind.TOO_LARGE, ErrorKind.DRAINING):
        headers.append(("Connection", "close"))  # the rest of the body is not awaited
    named = {name.lower() for name, _ in headers}
    if kind is ErrorKind.UNAUTHORIZED and "www-authenticate" not in named:
        headers.append(("WWW-Authenticate", CHALLENGE))
    return tuple(headers)


def render_problem(error: ApiError) -> Response:
    """The answer for an error, as a problem."""
    kind = error.kind
    body = Problem(
        type=urn_of(kind),
        title=kind.text,
        status=kind.http_status,
        error=kind.token,
        message=error.detail or kind.text,
    )
    return Response(msgspec.json.encode(body), kind.http_status, MEDIA_TYPE, error_headers(error))


PROBLEMS = ErrorStyle(render_problem, Problem, MEDIA_TYPE)
