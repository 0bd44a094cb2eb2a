"""The envelope of the rest face: every answer, good or bad, is in one (contracts C1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Literal, TypeVar

import msgspec

from otp_server.api.operation import JSON, ErrorStyle, Response
from otp_server.api.problem import error_headers, urn_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from otp_server.api.operation import ApiError
    from otp_server.domain.process_outcome import Quotas

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
"""The ``type`` of a refusal by limits (draft-ietf-httpapi-ratelimit-headers; requirement 38)."""


class Envelope(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """A good answer. ``timestamp`` is the server's, in Unix milliseconds."""

    status: Literal["ok"]
    timestamp: int
    data: T


class ErrorInfo(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A word for programs, a sentence for people, and what is wrong with each field."""

    code: str
    message: str
    type: str
    fields: dict[str, list[str]] = {}
    violated_policies: list[str] = []


class ErrorEnvelope(msgspec.Struct, frozen=True):
    """A bad answer."""

    status: Literal["error"]
    timestamp: int
    data: None
    error: ErrorInfo


class Envelopes:
    """Writes envelopes, with the time of a clock."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self.error_style = ErrorStyle(self.refuse, ErrorEnvelope, JSON)

    def wrap(
        self,
        data: object,
        status: int = 200,
        headers: tuple[tuple[str, str], ...] = (),
        quotas: Quotas | None = None,
    ) -> Response:
        """A good answer."""
        body = _encode(Envelope("ok", self._now_ms(), data))
        return Response(body, status, JSON, headers, quotas)

    def refuse(self, error: ApiError) -> Response:
        """A bad answer."""
        kind = error.kind
        info = ErrorInfo(
            code=kind.token.upper(),
            message=error.detail or kind.text,
            type=QUOTA_EXCEEDED if error.violated else urn_of(kind),
            fields={name: list(why) for name, why in error.fields.items()},
            violated_policies=list(error.violated),
        )
        body = ErrorEnvelope("error", self._now_ms(), None, info)
        return Response(msgspec.json.encode(body), kind.http_status, JSON, error_headers(error))
