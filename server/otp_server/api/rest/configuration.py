"""The configuration operations: six for each kind of setting (contracts C4).

Tenants see and change only their own: another tenant's setting is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from otp_server.api.batches import one_by_one, timely
from otp_server.api.json_bodies import json_object
from otp_server.api.operation import ApiError, Caller, Operation, Parameter, Request
from otp_server.api.rest.configuration_shapes import (
    ChallengeRouteBody,
    ChallengeRouteChange,
    ChallengeRouteData,
    ChallengeTypeBody,
    ChallengeTypeChange,
    ChallengeTypeData,
    TemplateBody,
    TemplateChange,
    TemplateData,
)
from otp_server.api.rest.envelope import Envelope
from otp_server.api.rest.reading import id_of, no_body, no_query, page_of
from otp_server.api.rest.times import iso_time
from otp_server.domain.audit import Actor
from otp_server.domain.challenge_type import ChallengeRoute, ChallengeType, Template
from otp_server.domain.client import Scope
from otp_server.domain.settings_rules import fields_of
from otp_server.errors import (
    AlreadyExists,
    ErrorKind,
    InUse,
    InvalidFields,
    StaleSetting,
    TooMany,
)
from otp_server.services.search import LIMIT_DEFAULT, LIMIT_MAX, OFFSET_MAX

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from otp_server.api.rest.envelope import Envelopes
    from otp_server.domain.challenge_type import Setting
    from otp_server.services.settings import SettingsService

S = TypeVar("S", ChallengeType, ChallengeRoute, Template)
R = TypeVar("R")

PAGE_PARAMETERS = (
    Parameter(
        "limit",
        "query",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
        "How many at most.",
    ),
    Parameter(
        "offset",
        "query",
        {"type": "integer", "minimum": 0, "maximum": OFFSET_MAX, "default": 0},
        "How many to leave out. Pages further on are refused.",
    ),
)
_ID = Parameter(
    "id", "path", {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}, "Its id.", required=True
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of setting: its place, its words, its shapes. ``example`` is a body of the source."""

    setting: type[Setting]
    folder: str
    word: str
    body: type
    change: type
    data: type
    example: Mapping[str, object]


KINDS = (
    Kind(
        ChallengeType,
        "challenge-types",
        "challenge_type",
        ChallengeTypeBody,
        ChallengeTypeChange,
        ChallengeTypeData,
        {
            "name": "email-verification",
            "code_type": "numeric",
            "code_length": 6,
            "ttl": 3600,
            "max_attempts": 5,
        },
    ),
    Kind(
        ChallengeRoute,
        "challenge-types-routes",
        "challenge_type_route",
        ChallengeRouteBody,
        ChallengeRouteChange,
        ChallengeRouteData,
        {"challenge_type_id": 1, "order": 1, "channel": "email", "template_id": 34, "attempts": 1},
    ),
    Kind(
        Template,
        "templates",
        "template",
        TemplateBody,
        TemplateChange,
        TemplateData,
        {
            "name": "code by e-mail",
            "channel": "email",
            "subject": "Your code",
            "text": "Your code is ${answer}.",
        },
    ),
)


@dataclass(frozen=True, slots=True)
class _Command:
    """What is wanted of which settings. Only what the operation needs is filled in."""

    caller: Caller
    actor: Actor
    id: int = 0
    fields: Mapping[str, object] | None = None
    page: tuple[int, int] = (0, 0)


def configuration_operations(
    settings: SettingsService, envelopes: Envelopes, answer_s: float
) -> list[Operation[Any, Any]]:
    """All of all kinds; their calls end after ``answer_s``."""
    return [
        operation
        for kind in KINDS
        for operation in _Operations(settings, envelopes, kind, answer_s).all()
    ]


def actor_of(request: Request) -> Actor:
    """The caller, as the audit trail names it."""
    return Actor(f"client:{request.asker.client_id}", request.address)


class _Operations:
    """The operations of one kind."""

    def __init__(
        self, settings: SettingsService, envelopes: Envelopes, kind: Kind, answer_s: float
    ) -> None:
        self._settings = settings
        self._envelopes = envelopes
        self._kind = kind
        self._answer_s = answer_s
        # One of the three; the service's methods are for each of them alike.
        self._setting: Any = kind.setting

    def all(self) -> list[Operation[Any, Any]]:
        kind = self._kind
        one, many = kind.word.replace("_", " "), f"{kind.word}s".replace("_", " ")
        return [
            self._operation("GET", f"list_{kind.word}s", f"All {many}, by id", self._list),
            self._operation("POST", f"create_{kind.word}", f"A new {one}", self._create),
            self._operation("GET", f"get_{kind.word}", f"One {one}", self._get, item=True),
            self._operation(
                "PUT", f"replace_{kind.word}", f"Set all of a {one}", self._replace, item=True
            ),
            self._operation(
                "PATCH", f"change_{kind.word}", f"Set some of a {one}", self._change, item=True
            ),
            self._operation(
                "DELETE", f"delete_{kind.word}", f"Delete a {one}", self._delete, item=True
            ),
        ]

    def _operation(
        self,
        method: str,
        name: str,
        summary: str,
        answer: Callable[[_Command], Awaitable[object]],
        *,
        item: bool = False,
    ) -> Operation[_Command, object]:
        kind = self._kind
        has_body = method in ("POST", "PUT", "PATCH")
        is_list = method == "GET" and not item
        tail = f"/otp/crud/{kind.folder}{'/{id}' if item else ''}"
        status = 201 if method == "POST" else 200
        shape: Any = kind.data
        if method == "DELETE":
            shape = None
        elif is_list:
            shape = list[shape]
        errors: list[ErrorKind] = [ErrorKind.INVALID_FIELDS]
        errors += [ErrorKind.NOT_FOUND] if item else []
        errors += [ErrorKind.NAME_TAKEN] if has_body and kind.setting is not ChallengeRoute else []
        if method == "DELETE" or (kind.setting is Template and method in ("PUT", "PATCH")):
            errors.append(ErrorKind.IN_USE)
        return Operation(
            name=name,
            summary=summary,
            method=method,
            paths=(f"/api{tail}", tail),
            decode=lambda request: _decode(request, item=item, body=has_body, page=is_list),
            call=timely(one_by_one(_refusing(answer)), self._answer_s, ErrorKind.UNAVAILABLE),
            render=lambda outcome: self._envelopes.wrap(outcome, status),
            error_style=self._envelopes.error_style,
            scope=Scope.ADMIN,
            tag="configuration",
            body=(kind.change if method == "PATCH" else kind.body) if has_body else None,
            body_example=dict(kind.example) if has_body else None,
            answer=Envelope[shape],
            status=status,
            parameters=PAGE_PARAMETERS if is_list else (_ID,) if item else (),
            errors=tuple(errors),
        )

    async def _list(self, command: _Command) -> list[object]:
        limit, offset = command.page
        tenant = command.caller.tenant
        found = await self._settings.list_all(self._setting, tenant, limit=limit, offset=offset)
        return [self._data(setting) for setting in found]

    async def _get(self, command: _Command) -> object:
        found = await self._settings.get(self._setting, command.caller.tenant, command.id)
        return self._data_or_none(found)

    async def _create(self, command: _Command) -> object:
        tenant, fields = command.caller.tenant, command.fields or {}
        made = await self._settings.create(self._setting, tenant, fields, command.actor)
        return self._data(made)

    async def _replace(self, command: _Command) -> object:
        tenant, fields = command.caller.tenant, command.fields or {}
        saved = await self._settings.replace(
            self._setting, tenant, command.id, fields, command.actor
        )
        return self._data_or_none(saved)

    async def _change(self, command: _Command) -> object:
        tenant, fields = command.caller.tenant, command.fields or {}
        saved = await self._settings.change(
            self._setting, tenant, command.id, fields, command.actor
        )
        return self._data_or_none(saved)

    async def _delete(self, command: _Command) -> None:
        gone = await self._settings.delete(
            self._setting, command.caller.tenant, command.id, command.actor
        )
        if not gone:
            raise ApiError(ErrorKind.NOT_FOUND)

    def _data_or_none(self, setting: Setting | None) -> object:
        if setting is None:
            raise ApiError(ErrorKind.NOT_FOUND)
        return self._data(setting)

    def _data(self, setting: Setting) -> object:
        return self._kind.data(
            id=setting.id,
            created_at=iso_time(setting.created_at_ms),
            updated_at=iso_time(setting.updated_at_ms),
            **fields_of(setting),
        )


def _decode(request: Request, *, item: bool, body: bool, page: bool) -> _Command:
    wanted = page_of(request) if page else (0, 0)
    if not page:
        no_query(request)
    if not body:
        no_body(request)
    return _Command(
        caller=request.asker,
        actor=actor_of(request),
        id=id_of(request) if item else 0,
        fields=json_object(request) if body else None,
        page=wanted,
    )


def _refusing(answer: Callable[[_Command], Awaitable[R]]) -> Callable[[_Command], Awaitable[R]]:
    """The service's refusals as this face's errors."""

    async def answered(command: _Command) -> R:
        try:
            return await answer(command)
        except InvalidFields as error:
            raise ApiError(ErrorKind.INVALID_FIELDS, fields=error.fields) from None
        except AlreadyExists as error:
            named = {error.what: ["is taken: choose another"]}
            raise ApiError(ErrorKind.NAME_TAKEN, fields=named) from None
        except TooMany as error:
            told = f"There may be at most {error.limit} {error.what}."
            raise ApiError(ErrorKind.INVALID_FIELDS, told) from None
        except InUse as error:
            raise ApiError(ErrorKind.IN_USE, f"It is used by {error.by}.") from None
        except StaleSetting:
            told = "Others changed it at the same time; try again."
            raise ApiError(ErrorKind.UNAVAILABLE, told) from None

    return answered
