"""What every service call has: who asks, from where, and how it is answered.

A call is charged to its address before anything of it is read, whatever becomes of it
(``services/address_calls.py``). It is read without the store: its page may call (``origins``), its
parameters are there, its host is known. Then the sessions of the whole batch are found, and the
service is called with them. Nothing here knows the listener.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, structs

from otp_server.api.batches import timely
from otp_server.api.operation import ApiError, Operation, Parameter, Priority
from otp_server.api.refusal import refusal
from otp_server.api.svc.cookies import session_id_of
from otp_server.api.svc.envelope import ServiceError
from otp_server.api.svc.hubs import host_of
from otp_server.api.svc.parameters import read_parameters
from otp_server.errors import ErrorKind, StoreUnavailable
from otp_server.services.sessions import SessionAsked
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from otp_server.api.operation import AnswerHeader, Request, Response
    from otp_server.api.svc.envelope import Envelopes
    from otp_server.api.svc.hubs import Hubs
    from otp_server.api.svc.origins import Origins
    from otp_server.api.svc.parameters import Parameters
    from otp_server.api.svc.shapes import Answered
    from otp_server.domain.account import Session
    from otp_server.services.address_calls import AddressCalls
    from otp_server.services.sessions import SessionService

P = TypeVar("P")

PREFIXES = ("/-/svc/", "/-/api/")
HASHING_MAX = 32
"""Calls of one service at once that may hash a password: two of them fit before the hasher, which
refuses who does not."""
SCHEMES = ("", "session", "sessionHeader")
_ERRORS = (
    ErrorKind.MALFORMED,
    ErrorKind.FORBIDDEN_ORIGIN,
    ErrorKind.PARAMETER_MISSING,
    ErrorKind.RATE_LIMITED,
    ErrorKind.OVERLOADED,
)
_HOW = (
    "Parameters may also come in the query, as headers `x-param-NAME`, or as a form; of several, "
    "the body's count first and the query's next. Others than these are passed over."
)
_BY_GET = (
    "The same by GET, as existing clients call it, though it is no safe method here "
    "(`svc.get_calls = false` refuses it). HEAD is refused."
)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks, as far as a request says it. ``language``: its header Accept-Language."""

    host: str
    organisation: str
    address: str
    language: str
    session_id: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Asked(Generic[P]):
    """A call: who asks, its parameters, and what its answer repeats."""

    visitor: Visitor
    parameters: P = field(repr=False)
    echo_id: str | int | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Told:
    """A good answer. ``online``: whether the caller is signed in now."""

    data: Answered = field(repr=False)
    online: bool
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Generic[P]):
    """A service of the face, before it is an operation.

    ``read`` takes its parameters; ``tells_failure``: a failure of ours, a store that is away among
    them, is the contract's INTERNAL_ERROR, HTTP 500; ``by_get``: whether GET may call it, which
    the contract has of its own services only. ``alone`` and ``priority`` as an operation's. The
    rest is for the document.
    """

    name: str
    summary: str
    read: Callable[[Parameters], P]
    act: Callable[
        [Sequence[Asked[P]], Sequence[Session | None]], Awaitable[Sequence[Told | ApiError]]
    ]
    body: Any
    body_example: Mapping[str, object]
    answer: Any
    answer_example: Mapping[str, object]
    answer_headers: tuple[AnswerHeader, ...] = ()
    description: str = ""
    errors: tuple[ErrorKind, ...] = ()
    tells_failure: bool = False
    alone: int = 0
    priority: Priority = Priority.START
    by_get: bool = True


@dataclass(frozen=True, slots=True)
class Reception:
    """Makes operations of services. ``answer_s``: when a call is given up, in seconds."""

    sessions: SessionService
    calls: AddressCalls
    envelopes: Envelopes
    origins: Origins
    hubs: Hubs
    answer_s: float
    get_calls: bool

    def operations(self, service: Service[P]) -> list[Operation[Asked[P], Told]]:
        """The service by POST, and by GET where that is allowed; never by HEAD."""
        late = ErrorKind.INTERNAL if service.tells_failure else ErrorKind.UNAVAILABLE
        name = service.name.replace(".", "_")
        style = self.envelopes.error_style(service.name, tells_failure=service.tells_failure)
        by_post: Operation[Asked[P], Told] = Operation(
            name=name,
            summary=service.summary,
            description="\n\n".join(filter(None, (service.description, _HOW))),
            method="POST",
            paths=tuple(prefix + service.name for prefix in PREFIXES),
            admit=self._admit,
            decode=lambda request: self._decode(service, request),
            call=timely(lambda batch: self._call(service, batch), self.answer_s, late),
            render=lambda told: self._render(service, told),
            error_style=style,
            hot=True,
            alone=service.alone,
            priority=service.priority,
            tag="svc",
            body=service.body,
            body_required=bool(service.body_example),
            body_example=dict(service.body_example),
            answer=service.answer,
            answer_media_type=style.media_type,
            answer_example=dict(service.answer_example),
            answer_headers=service.answer_headers,
            schemes=SCHEMES,
            errors=(*_ERRORS, *service.errors),
        )
        if not (self.get_calls and service.by_get):
            return [by_post]
        by_get = replace(
            by_post,
            name=f"{name}_by_get",
            description="\n\n".join(filter(None, (service.description, _BY_GET))),
            method="GET",
            head=False,
            body=None,
            body_required=False,
            body_example=None,
            parameters=query_parameters(service.body),
            errors=(*by_post.errors, ErrorKind.UNSUPPORTED_MEDIA_TYPE),
        )
        return [by_post, by_get]

    def _admit(self, request: Request) -> None:
        refused = self.calls.begin(request.address)
        if refused is not None:
            raise refusal(refused)
        self.origins.admit(request.headers)

    def _decode(self, service: Service[P], request: Request) -> Asked[P]:
        given = read_parameters(request)
        host = host_of(request.headers)
        visitor = Visitor(
            host=host,
            organisation=self.hubs.organisation_of(host),
            address=request.address,
            language=request.headers.get("accept-language", ""),
            session_id=session_id_of(request.headers),
        )
        return Asked(visitor, service.read(given), given.echo_id())

    async def _call(self, service: Service[P], batch: Sequence[Asked[P]]) -> list[Told | ApiError]:
        wanted = [SessionAsked(asked.visitor.host, asked.visitor.session_id) for asked in batch]
        outcomes: Sequence[Told | ApiError]
        try:
            outcomes = await service.act(batch, await self.sessions.find_many(wanted))
        except StoreUnavailable as error:
            log.warning("calls refused", service=service.name, count=len(batch), why=str(error))
            outcomes = [ApiError(ErrorKind.UNAVAILABLE) for _ in batch]
        return [
            _finished(service, asked, outcome)
            for asked, outcome in zip(batch, outcomes, strict=True)
        ]

    def _render(self, service: Service[P], told: Told) -> Response:
        return self.envelopes.wrap(
            service.name, told.data, online=told.online, headers=told.headers
        )


def is_online(session: Session | None) -> bool:
    """Whether it is a session that is signed in."""
    return session is not None and session.uid is not None


def query_parameters(body: type[msgspec.Struct]) -> tuple[Parameter, ...]:
    """The members of a body as parameters of a target, for the document: all of them text."""
    schemas: dict[str, Any] = msgspec.json.schema(body)["$defs"]
    shape = schemas[body.__name__]
    made: list[Parameter] = []
    for name, schema in shape["properties"].items():
        text = _text_of(schema)
        told = {key: text[key] for key in text.keys() - {"examples", "description"}}
        made.append(
            Parameter(
                name,
                "query",
                dict(sorted(told.items())),
                text["description"],
                required=name in shape.get("required", ()),
                example=next(iter(text.get("examples", ())), None),
            )
        )
    return tuple(made)


def _text_of(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a schema says of strings."""
    return next((one for one in schema.get("anyOf", ()) if one["type"] == "string"), schema)


def _finished(service: Service[P], asked: Asked[P], outcome: Told | ApiError) -> Told | ApiError:
    if isinstance(outcome, Told):
        echo_id = UNSET if asked.echo_id is None else asked.echo_id
        return replace(outcome, data=structs.replace(outcome.data, echo_id=echo_id))
    if service.tells_failure and outcome.kind is ErrorKind.UNAVAILABLE:
        online = isinstance(outcome, ServiceError) and outcome.online
        return ServiceError.to(ErrorKind.INTERNAL, online=online)
    return outcome
