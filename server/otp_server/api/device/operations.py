"""The device face's other operations: ``startOtp``, server time, status (contracts A4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from otp_server.api.authentication import bearer_token
from otp_server.api.batches import one_by_one, timely
from otp_server.api.device.shapes import CodeAnswer, ServiceBody, StatusAnswer, TimeAnswer
from otp_server.api.json_bodies import json_body
from otp_server.api.operation import (
    ApiError,
    Operation,
    Parameter,
    Priority,
    Request,
    Response,
)
from otp_server.api.problem import PROBLEMS
from otp_server.domain.outcome import Issued, Refused
from otp_server.errors import ErrorKind
from otp_server.services.tokens import TokenType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.clock import Clock
    from otp_server.domain.device import Device
    from otp_server.services.devices import DeviceService
    from otp_server.services.issue import IssueService
    from otp_server.services.presence import PresenceService
    from otp_server.services.tokens import TokenService
    from otp_server.telemetry import Metrics

DEVICE_KEY_HEADER = "X-Device-Key"
_MS = 1000


def _json(answer: object) -> Response:
    return Response(msgspec.json.encode(answer))


@dataclass(frozen=True, slots=True)
class _Start:
    """``startOtp`` as it came: only a known device's body is read."""

    token: str
    request: Request


@dataclass(frozen=True, slots=True)
class StartingOtp:
    """``startOtp``: a code for a device without a WebSocket, by its device token."""

    issue: IssueService
    devices: DeviceService
    metrics: Metrics

    def operation(self, answer_s: float) -> Operation[_Start, Issued]:
        """The operation; its call ends after ``answer_s``."""
        late = ErrorKind.TIMEOUT
        return Operation(
            name="device_service",
            summary="A code for a device without a WebSocket",
            method="POST",
            paths=("/device/service",),
            priority=Priority.SHOW,
            decode=lambda request: _Start(bearer_token(request), request),
            call=timely(self._call, answer_s, late, partial(self._count, late.token)),
            render=lambda code: _json(CodeAnswer(code.passcode.reveal(), code.expires_at_ms)),
            error_style=PROBLEMS,
            tag="device",
            body=ServiceBody,
            body_example={"startOtp": True},
            answer=CodeAnswer,
            schemes=("deviceToken",),
            errors=(
                ErrorKind.MALFORMED,
                ErrorKind.UNAUTHORIZED,
                ErrorKind.UNSUPPORTED_MEDIA_TYPE,
                ErrorKind.RATE_LIMITED,
                ErrorKind.UNAVAILABLE,
                ErrorKind.CROWDED,
                ErrorKind.OVERLOADED,
                late,
            ),
        )

    async def _call(self, batch: Sequence[_Start]) -> list[Issued | ApiError]:
        devices = await self.devices.authenticate_many([start.token for start in batch])
        answers: list[Issued | ApiError | None] = [
            self._refusal(start, device) for start, device in zip(batch, devices, strict=True)
        ]
        admitted = [
            device.device_id
            for device, refused in zip(devices, answers, strict=True)
            if device is not None and refused is None
        ]
        issued = iter(await self.issue.issue_many(admitted) if admitted else [])
        return [self._answer(next(issued)) if told is None else told for told in answers]

    def _refusal(self, start: _Start, device: Device | None) -> ApiError | None:
        if device is None:
            return ApiError(ErrorKind.UNAUTHORIZED)
        try:
            json_body(start.request, ServiceBody)
        except ApiError as error:
            return error
        refused = self.issue.admit(device.device_id)
        return None if refused is None else ApiError.of(refused)

    def _answer(self, outcome: Issued | Refused) -> Issued | ApiError:
        match outcome:
            case Issued():
                self._count("issued")
                return outcome
            case Refused():
                self._count(outcome.kind.token)
                return ApiError.of(outcome)

    def _count(self, outcome: str) -> None:
        self.metrics.issues.labels(outcome=outcome).inc()


def time_operation(clock: Clock) -> Operation[None, int]:
    """Unix milliseconds."""

    async def call(batch: Sequence[None]) -> list[int]:
        return [clock.now_ms() for _ in batch]

    return Operation(
        name="server_time",
        summary="The server's time",
        method="GET",
        paths=("/device/server-time",),
        decode=lambda _request: None,
        call=call,
        render=lambda now_ms: _json(TimeAnswer(now_ms)),
        error_style=PROBLEMS,
        tag="device",
        answer=TimeAnswer,
        answer_example={"server_time": 1657524075000},
    )


@dataclass(frozen=True, slots=True)
class _Ask:
    token: str
    device_key: str | None


def status_operation(
    tokens: TokenService, devices: DeviceService, presence: PresenceService, answer_s: float
) -> Operation[Any, Any]:
    """The status of the device a token was issued for.

    A quick-session token needs the header ``X-Device-Key``; an API token, whose holder was never
    told the key, may leave it out. A wrong key is refused either way.
    """

    async def status(ask: _Ask) -> StatusAnswer:
        claims = tokens.check(ask.token)
        if claims is None:
            raise ApiError(ErrorKind.UNAUTHORIZED)
        if ask.device_key is None and claims.type is TokenType.QUICK:
            raise ApiError(ErrorKind.UNAUTHORIZED, f"Send the header {DEVICE_KEY_HEADER}.")
        if ask.device_key is not None and ask.device_key != claims.device_key:
            told = f"{DEVICE_KEY_HEADER} is not of this token's device."
            raise ApiError(ErrorKind.UNAUTHORIZED, told)
        device = await devices.get(claims.device_id)
        if device is None:
            raise ApiError(ErrorKind.UNAUTHORIZED)
        since_ms = presence.connected_since_ms(device.device_id)
        at_s = None if since_ms is None else since_ms // _MS
        return StatusAnswer(device.device_key, since_ms is not None, at_s)

    return Operation(
        name="device_status",
        summary="Whether a device is connected",
        method="GET",
        paths=("/device/status",),
        decode=lambda request: _Ask(
            bearer_token(request), request.headers.get(DEVICE_KEY_HEADER.lower())
        ),
        call=timely(one_by_one(status), answer_s, ErrorKind.UNAVAILABLE),
        render=_json,
        error_style=PROBLEMS,
        tag="device",
        answer=StatusAnswer,
        parameters=(
            Parameter(
                DEVICE_KEY_HEADER,
                "header",
                {"type": "string"},
                "The device's key; a quick-session token needs it.",
            ),
        ),
        schemes=("apiToken", "quickSession"),
        errors=(ErrorKind.UNAUTHORIZED, ErrorKind.UNAVAILABLE),
    )
