"""The envelope of the svc face: every answer, good or bad, is in one (contracts B5).

Failures that a client must tell apart are data of a good answer, as the contract has it; all else
is an error, whose ``error`` is a word of ``proto/errors.toml`` in capitals, or the contract's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec

from otp_server.api.operation import ApiError, ErrorStyle, Response
from otp_server.api.problem import error_headers
from otp_server.api.refusal import refusal
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.errors import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from otp_server.domain.outcome import Refused

T = TypeVar("T")

MEDIA_TYPE = "application/json; charset=utf-8"
CONTRACT_WORDS = {
    ErrorKind.INTERNAL: "INTERNAL_ERROR",
    ErrorKind.MALFORMED: "MAL_FORMED_REQUEST",
    ErrorKind.NOT_FOUND: "SERVICE_NOT_FOUND",
    ErrorKind.PARAMETER_MISSING: "MISSING_PARAM",
}
"""What the contract calls errors that have another token here."""
_CHALLENGE = ("WWW-Authenticate", 'Session realm="otp-server"')
"""A 401 must name a scheme (RFC 9110 section 15.5.2); browsers ask nobody for this one."""

_TIMESTAMP_EXAMPLE = 1657524169000

Status = Literal["online", "offline"]


class Reply(msgspec.Struct, Generic[T], frozen=True):
    """A good answer. ``__timestamp__`` is the server's, in Unix milliseconds.

    ``__status__``: ``online`` when the caller is signed in now.
    """

    ack: str = msgspec.field(name="__ack__")
    state: Status = msgspec.field(name="__status__")
    timestamp: int = msgspec.field(name="__timestamp__")
    data: T


class FailureData(msgspec.Struct, frozen=True):
    """What the contract names as data of an error."""

    status: Literal["INTERNAL_ERROR"]


class ErrorReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """A bad answer. ``error_code`` and ``status`` are both the HTTP status.

    ``reason`` is a sentence, or a list of them where several things are wrong.
    """

    ack: str = msgspec.field(name="__ack__")
    state: Status = msgspec.field(name="__status__")
    timestamp: int = msgspec.field(name="__timestamp__")
    data: FailureData | tuple[()]
    error: str
    error_code: int
    status: int
    reason: str | list[str] = ""


class ServiceError(ApiError):
    """An ApiError of a caller whose session is known: ``online`` when it is signed in."""

    online: bool = False

    @classmethod
    def to(
        cls, kind: ErrorKind, problems: Mapping[str, Sequence[str]] | None = None, *, online: bool
    ) -> ServiceError:
        """An error of this kind; ``problems`` as an ApiError's ``fields``."""
        made = cls(kind, fields=problems)
        made.online = online
        return made

    @classmethod
    def refusing(cls, refused: Refused, *, online: bool) -> ServiceError:
        """A service's refusal; its private reason stays here."""
        if isinstance(refused, ProcessRefused):
            told = refusal(refused)
            made = cls(
                told.kind,
                retry_after_ms=told.retry_after_ms,
                headers=told.headers,
                violated=told.violated,
            )
        else:
            made = cls(refused.kind, retry_after_ms=refused.retry_after_ms)
        made.online = online
        return made


@dataclass(frozen=True, slots=True)
class Envelopes:
    """Writes envelopes, with the time of a clock."""

    now_ms: Callable[[], int]

    def wrap(
        self,
        service: str,
        data: object,
        *,
        online: bool,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Response:
        """A good answer of a service."""
        reply: Reply[Any] = Reply(service, _status(online), self.now_ms(), data)
        return Response(msgspec.json.encode(reply), 200, MEDIA_TYPE, headers)

    def error_style(self, service: str, *, tells_failure: bool = False) -> ErrorStyle:
        """How a service says errors; ``""``: what is no service.

        ``tells_failure``: a failure of ours is told in ``data`` too.
        """
        return ErrorStyle(partial(self._refuse, service, tells_failure), ErrorReply, MEDIA_TYPE)

    def _refuse(self, service: str, tells_failure: bool, error: ApiError) -> Response:  # noqa: FBT001 - partial's
        kind = error.kind
        status = kind.http_status
        word = CONTRACT_WORDS.get(kind, kind.token.upper())
        failed = tells_failure and kind is ErrorKind.INTERNAL
        if kind is ErrorKind.PARAMETER_MISSING and error.detail:
            word = f"{word}: {error.detail}"
        body = ErrorReply(
            service,
            _status(isinstance(error, ServiceError) and error.online),
            self.now_ms(),
            FailureData("INTERNAL_ERROR") if failed else (),
            word,
            status,
            status,
            [told for why in error.fields.values() for told in why] or error.detail or kind.text,
        )
        headers = error_headers(error)
        if kind is ErrorKind.SIGN_IN_FAILED:
            headers = (*headers, _CHALLENGE)
        return Response(msgspec.json.encode(body), status, MEDIA_TYPE, headers)


def reply_example(service: str, state: Status, data: Mapping[str, object]) -> dict[str, object]:
    """A good answer, for the document."""
    return {
        "__ack__": service,
        "__status__": state,
        "__timestamp__": _TIMESTAMP_EXAMPLE,
        "data": dict(data),
    }


def _status(online: bool) -> Status:  # noqa: FBT001 - a word of it
    return "online" if online else "offline"
