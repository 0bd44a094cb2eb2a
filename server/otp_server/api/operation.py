"""An HTTP operation: a few plain pieces and what there is to know about them. No framework here.

    admit(request) -> quotas            may the caller call now, or ApiError; none: always
    decode(request) -> command          what was asked, or ApiError
    call([command, ...]) -> [outcome]   one batch-first service call
    render(outcome) -> response         what is answered, or ApiError

Each face lists its operations; a listener mounts the lists (``api/mount.py`` under Quart), and the
OpenAPI document is made of them (``api/openapi.py``). So a path, a scope, a shape and an error are
each said once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from otp_server.api.limit_headers import LEFT, POLICIES, limit_headers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from otp_server.domain.client import Scope
    from otp_server.domain.outcome import Refused
    from otp_server.domain.process_outcome import Quotas
    from otp_server.errors import ErrorKind

C = TypeVar("C")
O = TypeVar("O")  # noqa: E741 - an outcome

JSON = "application/json"


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Who holds the token of a request: an API client, for one tenant."""

    client_id: str
    tenant: str
    scopes: frozenset[Scope]


class Request(msgspec.Struct, frozen=True, gc=False):
    """A whole request. ``caller`` is there when the operation has a scope.

    ``headers`` have lower-case names; of repeated ones the values are joined by ``", "``.
    ``address`` is the client's, trusted proxies considered. What may hold a secret, a code or a
    contact is not shown by ``repr``.
    """

    method: str
    path: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes
    address: str
    caller: Caller | None = None

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path!r} of {self.address} by {self.caller!r}>"

    @property
    def media_type(self) -> str:
        """The body's media type in lower case, without parameters; empty: none was named."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def asker(self) -> Caller:
        """The caller of an operation that has a scope."""
        if self.caller is None:
            raise LookupError("an operation without a scope has no caller")
        return self.caller


class Response(msgspec.Struct, frozen=True, gc=False):
    """A whole answer. The listener adds what all answers say, such as ``Cache-Control``.

    ``quotas`` are told too, in headers before ``headers``.
    """

    body: bytes
    status: int = 200
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    quotas: Quotas | None = None


class ApiError(Exception):
    """Ends a request with this kind; ``detail`` and ``fields`` must be safe to tell.

    ``fields`` names what is wrong with each field of the request; ``headers`` go with the answer;
    ``violated`` names the limits that refused it.
    """

    def __init__(
        self,
        kind: ErrorKind,
        detail: str = "",
        *,
        retry_after_ms: int = 0,
        fields: Mapping[str, Sequence[str]] | None = None,
        headers: Sequence[tuple[str, str]] = (),
        violated: Sequence[str] = (),
    ) -> None:
        super().__init__(kind.token)
        self.kind = kind
        self.detail = detail
        self.retry_after_ms = retry_after_ms
        self.fields = dict(fields or {})
        self.headers = tuple(headers)
        self.violated = tuple(violated)

    @classmethod
    def of(cls, refused: Refused) -> ApiError:
        """A service's refusal; its private reason stays here."""
        return cls(refused.kind, retry_after_ms=refused.retry_after_ms)


@dataclass(frozen=True, slots=True)
class ErrorStyle:
    """A face's way to say an error (ruling D27), and what the document calls it."""

    render: Callable[[ApiError], Response]
    shape: type
    media_type: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query, a header or the path, for the document.

    ``where`` is ``query``, ``header`` or ``path``; ``example`` None: there is none.
    """

    name: str
    where: str
    schema: Mapping[str, Any]
    description: str
    required: bool = False
    example: Any = None


@dataclass(frozen=True, slots=True)
class AnswerHeader:
    """A header of an operation's good answer, for the document."""

    name: str
    schema: Mapping[str, Any]
    description: str


LIMIT_HEADERS = (
    AnswerHeader(
        POLICIES, {"type": "string"}, "Each limit: its name, quota and window in seconds."
    ),
    AnswerHeader(
        LEFT,
        {"type": "string"},
        "What is left of each limit, and in how many seconds it grows.",
    ),
)


class Priority(IntEnum):
    """Whose calls are refused last when the store falls behind; the most important comes first.

    ``JUDGE``: what somebody types in is judged. ``SHOW``: a device gets a code to show. ``START``:
    something is begun, and can be begun again. ``FORESEE``: nothing is done, something is told.
    """

    JUDGE = 0
    SHOW = 1
    START = 2
    FORESEE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[C, O]):
    """One operation of a face.

    ``paths`` may hold ``{name}`` segments; the first is the documented one, the others are other
    spellings of it. ``scope`` None asks for no token of an API client. An outcome may be an
    ApiError: then it is answered as one, and the batch's other items are not touched. ``hot``
    operations may be mounted on the reactor too, which calls them with whole batches: a call must
    wait for nothing but the store then. One that waits for a delivery or a hash says in ``alone``
    how many of its calls may be in flight; each of its requests is a call of its own then.
    ``priority`` None is never refused for the sake of others; a hot one has a priority. ``admit``
    is asked first, before the request is read any further; the list headers it gives go with the
    good answer. ``head``: whether HEAD is answered as a GET of this operation.

    For the document: ``body`` and ``answer`` are structs, ``body_media_type`` says how the body is
    written, ``status`` is the good answer's and ``other_answers`` the shapes of statuses that are
    no ErrorKind's, ``schemes`` the security schemes of operations without a scope (each alone is
    enough; ``""``: none is needed). ``documented`` is false for the document itself.
    """

    name: str
    summary: str
    method: str
    paths: tuple[str, ...]
    decode: Callable[[Request], C]
    call: Callable[[Sequence[C]], Awaitable[Sequence[O | ApiError]]]
    render: Callable[[O], Response]
    error_style: ErrorStyle
    scope: Scope | None = None
    admit: Callable[[Request], Quotas | None] | None = None
    hot: bool = False
    alone: int = 0
    priority: Priority | None = None
    head: bool = True
    tag: str = ""
    description: str = ""
    body: Any = None
    body_media_type: str = JSON
    body_required: bool = True
    body_example: Any = None
    answer: Any = None
    answer_media_type: str = JSON
    answer_example: Any = None
    answer_headers: tuple[AnswerHeader, ...] = ()
    status: int = 200
    other_answers: Mapping[int, Any] = field(default_factory=dict)
    parameters: tuple[Parameter, ...] = ()
    schemes: tuple[str, ...] = ()
    errors: tuple[ErrorKind, ...] = ()
    documented: bool = True

    async def answer_to(self, request: Request) -> Response:
        """Admit, decode, call with a batch of one, render; ApiError when any refuses."""
        command, quotas = self.begin(request)
        [outcome] = await self.call([command])
        said = self.end(outcome)
        headers = (*limit_headers(said.quotas, quotas), *said.headers)
        return Response(said.body, said.status, said.content_type, headers)

    def begin(self, request: Request) -> tuple[C, Quotas | None]:
        """Admit and decode: what to call with, and what the good answer tells of limits."""
        quotas = None if self.admit is None else self.admit(request)
        return self.decode(request), quotas

    def end(self, outcome: O | ApiError) -> Response:
        """Render what the call gave, without ``begin``'s quotas; ApiError when it refuses."""
        if isinstance(outcome, ApiError):
            raise outcome
        return self.render(outcome)
