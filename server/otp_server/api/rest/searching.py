"""Search: the processes of a type, by contact and entities (contracts C2.4; ruling D21)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from otp_server.api.batches import timely
from otp_server.api.operation import Operation, Parameter, Priority
from otp_server.api.refusal import refusal
from otp_server.api.rest.configuration import PAGE_PARAMETERS
from otp_server.api.rest.envelope import Envelope
from otp_server.api.rest.processes import UUID_EXAMPLE
from otp_server.api.rest.reading import entities_of, search_of
from otp_server.api.rest.shapes import (
    ONE_LINE,
    PRINTABLE,
    TYPE_NAME_CHARACTERS_MAX,
    DeliveryData,
    EntityData,
    ProcessData,
    RouteData,
    SearchBody,
)
from otp_server.api.rest.times import iso_time
from otp_server.domain.client import Scope
from otp_server.domain.contact import EMAIL_CHARACTERS_MAX, PHONE_CHARACTERS_MAX
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.errors import ErrorKind
from otp_server.services.ports.delivery import SendProblem
from otp_server.services.ports.outbox import MessageState
from otp_server.services.process_fields import ENTITIES_MAX, ENTITY_CHARACTERS_MAX
from otp_server.services.search import SearchQuery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.api.operation import ApiError, Request
    from otp_server.api.rest.envelope import Envelopes
    from otp_server.domain.process import Delivery
    from otp_server.domain.process_outcome import ProcessView, SearchOutcome
    from otp_server.services.search import SearchService

_SHOWN_AT_ONCE = 50
_PATHS = ("/otp/{type}", "/api/otp/{type}")
_TYPE = Parameter(
    "type",
    "path",
    {"type": "string"},
    "The OTP type, by the name of its challenge type.",
    required=True,
    example="email-verification",
)
_EXAMPLE = {
    "status": "ok",
    "timestamp": 1686816422000,
    "data": [
        {
            "id": 50,
            "uuid": UUID_EXAMPLE,
            "type": "email-verification",
            "status": "accepted",
            "phone": None,
            "email": "email@example.com",
            "ip": None,
            "entities": [
                {"type": "client", "id": "338"},
                {"type": "process", "id": "13513451345-sdnfsfgnsfgn-13135"},
            ],
            "attempts": 0,
            "createdAt": "2023-04-07T08:22:06+00:00",
            "updatedAt": "2023-04-07T08:22:06+00:00",
            "currentRoute": {
                "status": "sent",
                "channel": "email",
                "templateId": "34",
                "attempts": 0,
            },
            "failure": None,
            "deliveries": [
                {
                    "channel": "email",
                    "status": "sent",
                    "problem": None,
                    "updatedAt": "2023-04-07T08:22:06+00:00",
                }
            ],
        }
    ],
}
_QUERY = (
    Parameter(
        "type",
        "query",
        {"type": "string", "minLength": 1, "maxLength": TYPE_NAME_CHARACTERS_MAX},
        "When given, the same as in the path.",
    ),
    Parameter(
        "mobilePhone",
        "query",
        {"type": "string", "maxLength": PHONE_CHARACTERS_MAX, "pattern": ONE_LINE},
        "A phone number, however it is written. A contact is better kept out of targets, which "
        "are logged on the way: search by POST.",
    ),
    Parameter(
        "email",
        "query",
        {"type": "string", "maxLength": EMAIL_CHARACTERS_MAX, "format": "email"},
        "An e-mail address.",
    ),
    *(
        Parameter(
            f"entities[0][{part}]",
            "query",
            {
                "type": "string",
                "minLength": 1,
                "maxLength": ENTITY_CHARACTERS_MAX,
                "pattern": PRINTABLE,
            },
            f"The {part} of an entity that the process must have; more with [1] and so on, "
            f"{ENTITIES_MAX} at most. Both parts are needed.",
        )
        for part in ("type", "id")
    ),
    *PAGE_PARAMETERS,
)


def search_operations(
    searches: SearchService, envelopes: Envelopes, answer_s: float
) -> list[Operation[Any, Any]]:
    """By GET and by POST; their calls end after ``answer_s``."""

    async def search(queries: Sequence[SearchQuery]) -> list[list[ProcessData] | ApiError]:
        return [await _told(outcome) for outcome in await searches.search_many(queries)]

    shared: dict[str, Any] = {
        "priority": Priority.FORESEE,
        "paths": _PATHS,
        "decode": _decode,
        "call": timely(search, answer_s, ErrorKind.UNAVAILABLE),
        "render": envelopes.wrap,
        "error_style": envelopes.error_style,
        "scope": Scope.ADMIN,
        "tag": "processes",
        "answer": Envelope[list[ProcessData]],
        "answer_example": _EXAMPLE,
        "errors": (ErrorKind.TYPE_NOT_FOUND, ErrorKind.INVALID_FIELDS),
        "description": "All conditions hold at once; the newest processes come first.",
    }
    by_target: Operation[SearchQuery, list[ProcessData]] = Operation(
        name="search",
        summary="Processes of a type",
        method="GET",
        parameters=(_TYPE, *_QUERY),
        **shared,
    )
    by_body: Operation[SearchQuery, list[ProcessData]] = Operation(
        name="search_by_body",
        summary="Processes of a type, without a contact in the target",
        method="POST",
        body=SearchBody,
        body_required=False,
        body_example={
            "type": "email-verification",
            "email": "email@example.com",
            "entities": [{"type": "client", "id": "338"}],
        },
        parameters=(_TYPE,),
        **shared,
    )
    return [by_target, by_body]


def _decode(request: Request) -> SearchQuery:
    body = search_of(request)
    return SearchQuery(
        tenant=request.asker.tenant,
        type_name=request.path["type"],
        phone=body.mobile_phone,
        email=body.email,
        entities=entities_of(body.entities),
        limit=body.limit,
        offset=body.offset,
    )


async def _told(outcome: SearchOutcome) -> list[ProcessData] | ApiError:
    """What is shown of each process; others have their turn in between."""
    if isinstance(outcome, ProcessRefused):
        return refusal(outcome)
    shown: list[ProcessData] = []
    for n, view in enumerate(outcome.processes):
        if n % _SHOWN_AT_ONCE == _SHOWN_AT_ONCE - 1:
            await trio.lowlevel.checkpoint()
        shown.append(_shown(view))
    return shown


def _shown(view: ProcessView) -> ProcessData:
    route = view.route
    return ProcessData(
        id=view.id,
        uuid=view.uuid,
        type=view.type,
        status=view.status,
        phone=view.phone,
        email=view.email,
        ip=view.address,
        entities=[EntityData(entity.type, entity.id) for entity in view.entities],
        attempts=view.attempts,
        created_at=iso_time(view.created_at_ms),
        updated_at=iso_time(view.updated_at_ms),
        current_route=RouteData(
            route.status, route.channel, str(route.template_id), route.attempts
        ),
        failure=view.failure,
        deliveries=[_delivery(delivery) for delivery in view.deliveries],
    )


def _delivery(delivery: Delivery) -> DeliveryData:
    return DeliveryData(
        channel=delivery.channel,
        status=MessageState(delivery.state),
        problem=None if delivery.problem is None else SendProblem(delivery.problem),
        updated_at=iso_time(delivery.at_ms),
    )
