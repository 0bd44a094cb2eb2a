"""The runtime operations: handshake, init, attempt (contracts C2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otp_server.api.batches import timely
from otp_server.api.json_bodies import json_fields
from otp_server.api.operation import (
    LIMIT_HEADERS,
    AnswerHeader,
    Operation,
    Parameter,
    Priority,
    Response,
)
from otp_server.api.refusal import refusal
from otp_server.api.rest.envelope import Envelope
from otp_server.api.rest.reading import entities_of, no_query
from otp_server.api.rest.shapes import (
    AttemptBody,
    AttemptData,
    ContactBody,
    HandshakeData,
    InitData,
    PlainContactBody,
)
from otp_server.domain.client import Scope
from otp_server.domain.process_outcome import Accepted, ProcessRefused
from otp_server.errors import ErrorKind
from otp_server.services.attempts import Attempt
from otp_server.services.process_fields import CLAIM_FIELD
from otp_server.services.starts import Handshake, Start

if TYPE_CHECKING:
    from otp_server.api.operation import Request
    from otp_server.api.rest.envelope import Envelopes
    from otp_server.domain.process import Entity
    from otp_server.domain.process_outcome import (
        AttemptOutcome,
        HandshakeOutcome,
        StartingOutcome,
    )
    from otp_server.services.attempts import AttemptService
    from otp_server.services.starts import StartService

UUID_EXAMPLE = "98df8e4e-7240-4291-9322-282a8d97542a"
_CLAIM_HEADER = CLAIM_FIELD.lower()
REPLAYED = "Idempotency-Replayed"
"""Says ``true`` on the answer of an earlier call with the same key; ours."""
_REPLAYED_SAID = ((REPLAYED, "true"),)
_ASK_EXAMPLE = {
    "type": "email-verification",
    "email": "email@example.com",
    "entities": [{"type": "client", "id": "338"}],
}
_CLAIM = Parameter(
    CLAIM_FIELD,
    "header",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!#-~][!-~]*$"},
    "A repetition of the same call with the same key gets the first answer and does nothing. "
    "Quoted or bare.",
    example="8e03978e-40d5-43dd-bc93-6894a57f9324",
)
_UUID = Parameter(
    "uuid",
    "path",
    {"type": "string"},
    "The process, as init named it.",
    required=True,
    example=UUID_EXAMPLE,
)
_REPLAYED = AnswerHeader(REPLAYED, {"type": "string", "enum": ["true"]}, "It is an earlier answer.")
_STARTING = (
    ErrorKind.TYPE_NOT_FOUND,
    ErrorKind.INVALID_FIELDS,
    ErrorKind.RATE_LIMITED,
    ErrorKind.OVERLOADED,
    ErrorKind.OTP_DELIVERY_FAILED,
)
_CLAIMING = (ErrorKind.IDEMPOTENCY_IN_FLIGHT, ErrorKind.IDEMPOTENCY_MISMATCH)


def process_operations(
    starts: StartService, attempts: AttemptService, envelopes: Envelopes, answer_s: float
) -> list[Operation[Any, Any]]:
    """All three; their calls end after ``answer_s``."""
    late = ErrorKind.UNAVAILABLE

    def handshake(told: HandshakeOutcome) -> Response:
        if isinstance(told, ProcessRefused):
            raise refusal(told)
        data = HandshakeData(told.type, told.channel, told.available_in_s)
        return envelopes.wrap(data, quotas=told.quotas)

    def init(told: StartingOutcome) -> Response:
        if isinstance(told, ProcessRefused):
            raise refusal(told)
        data = InitData(told.uuid, told.channel)
        return envelopes.wrap(data, 200, _REPLAYED_SAID if told.replayed else (), told.quotas)

    def attempt(told: AttemptOutcome) -> Response:
        if isinstance(told, ProcessRefused):
            raise refusal(told)
        data = AttemptData(isinstance(told, Accepted))
        return envelopes.wrap(data, 200, _REPLAYED_SAID if told.replayed else (), told.quotas)

    shared: dict[str, Any] = {
        "error_style": envelopes.error_style,
        "scope": Scope.RUN,
        "hot": True,
        "tag": "processes",
    }
    handshaking: Operation[Handshake, Any] = Operation(
        name="handshake",
        summary="What an init would do now",
        description="Nothing is made and no limit of starts is charged; a limit that would refuse "
        "the init is told. `availableIn` is the lifetime of a process in seconds.",
        method="POST",
        paths=("/otp/handshake", "/api/otp/handshake"),
        priority=Priority.FORESEE,
        decode=_decode_handshake,
        call=timely(starts.handshake_many, answer_s, late),
        render=handshake,
        body=ContactBody,
        body_example=_ASK_EXAMPLE,
        answer=Envelope[HandshakeData],
        answer_example={
            "status": "ok",
            "timestamp": 1657524075000,
            "data": {"type": "email-verification", "channel": "email", "availableIn": 120},
        },
        answer_headers=LIMIT_HEADERS,
        errors=_STARTING,
        **shared,
    )
    starting: Operation[Start, Any] = Operation(
        name="init",
        summary="Start a process and send its code",
        description="Answered as soon as the process and its message are durable; what became of "
        "the message is told by search.",
        method="POST",
        paths=("/otp/init", "/api/otp/init"),
        priority=Priority.START,
        decode=_decode_start,
        call=timely(starts.start_many, answer_s, late),
        render=init,
        body=ContactBody,
        body_example=_ASK_EXAMPLE,
        answer=Envelope[InitData],
        answer_example={
            "status": "ok",
            "timestamp": 1657524169000,
            "data": {"uuid": UUID_EXAMPLE, "channel": "sms"},
        },
        answer_headers=(*LIMIT_HEADERS, _REPLAYED),
        parameters=(_CLAIM,),
        errors=(*_STARTING, *_CLAIMING),
        **shared,
    )
    attempting: Operation[Attempt, Any] = Operation(
        name="attempt",
        summary="Whether this is the code",
        description="A wrong code is no error: `accepted` is false. It counts against the process, "
        "its route and its contact.",
        method="PUT",
        paths=("/otp/{uuid}/attempt", "/api/otp/{uuid}/attempt"),
        priority=Priority.JUDGE,
        decode=_decode_attempt,
        call=timely(attempts.attempt_many, answer_s, late),
        render=attempt,
        body=AttemptBody,
        body_example={"code": "123456"},
        answer=Envelope[AttemptData],
        answer_example={
            "status": "ok",
            "timestamp": 1657524358000,
            "data": {"accepted": True},
        },
        answer_headers=(*LIMIT_HEADERS, _REPLAYED),
        parameters=(_UUID, _CLAIM),
        errors=(
            ErrorKind.INVALID_FIELDS,
            ErrorKind.OTP_NOT_FOUND,
            ErrorKind.OTP_EXPIRED,
            ErrorKind.OTP_ALREADY_ACCEPTED,
            ErrorKind.OTP_ATTEMPTS_EXHAUSTED,
            ErrorKind.OTP_SUPERSEDED,
            ErrorKind.OTP_UNDELIVERABLE,
            ErrorKind.CONTACT_LOCKED,
            ErrorKind.RATE_LIMITED,
            ErrorKind.OVERLOADED,
            *_CLAIMING,
        ),
        **shared,
    )
    return [handshaking, starting, attempting]


def _decode_handshake(request: Request) -> Handshake:
    return Handshake(*_asked(request))


def _decode_start(request: Request) -> Start:
    return Start(*_asked(request), claim_key=request.headers.get(_CLAIM_HEADER))


def _asked(
    request: Request,
) -> tuple[str, str, str, str, str | None, str | None, tuple[Entity, ...]]:
    """The fields of a handshake, in their order."""
    if request.query:
        no_query(request)
    body, asker = json_fields(request, ContactBody, PlainContactBody), request.asker
    return (
        asker.tenant,
        asker.client_id,
        request.address,
        body.type,
        body.mobile_phone,
        body.email,
        entities_of(body.entities) if body.entities else (),
    )


def _decode_attempt(request: Request) -> Attempt:
    if request.query:
        no_query(request)
    body, asker = json_fields(request, AttemptBody), request.asker
    return Attempt(
        asker.tenant,
        asker.client_id,
        request.address,
        request.path["uuid"],
        body.code,
        claim_key=request.headers.get(_CLAIM_HEADER),
    )
