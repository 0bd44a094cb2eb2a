"""The three ways an app confirms a device's code (contracts A6; rulings D4, D6)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from otp_server.api.batches import timely
from otp_server.api.device.shapes import ConfirmBody, KeyAnswer, SessionAnswer, TokenAnswer
from otp_server.api.json_bodies import json_body
from otp_server.api.operation import ApiError, Operation, Parameter, Priority, Response
from otp_server.api.problem import PROBLEMS
from otp_server.domain.address import address_key
from otp_server.domain.challenge import Route
from otp_server.domain.code_entry import parse_code
from otp_server.domain.outcome import Confirmed, Refused
from otp_server.errors import ErrorKind
from otp_server.services.confirm import Attempt
from otp_server.services.tokens import TokenType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otp_server.api.operation import Request
    from otp_server.core import Passcode
    from otp_server.domain.device import Device
    from otp_server.services.confirm import ConfirmService
    from otp_server.services.devices import DeviceService
    from otp_server.services.tokens import TokenService
    from otp_server.telemetry import Metrics

PATH = "/device/otp/confirm"
ORG_KEY_HEADER = "X-Org-Key"


@dataclass(frozen=True, slots=True)
class _Entry:
    """A code someone typed, from where, and for v2 the organisation's key."""

    passcode: Passcode
    address: str
    org_key: str


@dataclass(frozen=True, slots=True)
class Confirming:
    """The operations and what they call. ``lengths``: the shortest and longest code."""

    confirm: ConfirmService
    devices: DeviceService
    tokens: TokenService
    metrics: Metrics
    lengths: tuple[int, int]

    def operations(self, answer_s: float) -> list[Operation[Any, Any]]:
        """A code for a token, for a link to an organisation, for a session of limited life.

        A Bearer header is ignored (ruling D4). The calls end after ``answer_s``; a confirmation
        that began ends by the service's own deadline.
        """
        key = Parameter(
            ORG_KEY_HEADER, "header", {"type": "string"}, "The organisation's key.", required=True
        )

        def operation(
            route: Route,
            path: str,
            summary: str,
            render: Callable[[Device], Response],
            answer: type,
            parameters: tuple[Parameter, ...] = (),
        ) -> Operation[_Entry, Device]:
            call = partial(self._link if route is Route.V2 else self._confirm, route)
            errors = (*_ERRORS, *(_LINK_ERRORS if route is Route.V2 else ()))
            return Operation(
                name=f"confirm_{route.value}",
                summary=summary,
                method="POST",
                paths=(path,),
                decode=self._decode,
                call=timely(call, answer_s, ErrorKind.UNAVAILABLE),
                render=render,
                error_style=PROBLEMS,
                hot=True,
                priority=Priority.JUDGE,
                tag="device",
                body=ConfirmBody,
                body_example={"otp": "123456"},
                answer=answer,
                parameters=parameters,
                errors=errors,
            )

        return [
            operation(
                Route.V1, PATH, "A code for a long-lived API token", self._token, TokenAnswer
            ),
            operation(
                Route.V2,
                f"{PATH}/v2",
                "Link the code's device to an organisation",
                _device_key,
                KeyAnswer,
                (key,),
            ),
            operation(
                Route.QUICK,
                f"{PATH}-quick-session",
                "A code for a token of limited life",
                self._session,
                SessionAnswer,
            ),
        ]

    def _decode(self, request: Request) -> _Entry:
        body = json_body(request, ConfirmBody)
        shortest, longest = self.lengths
        passcode = parse_code(body.otp, length_min=shortest, length_max=longest)
        if passcode is None:
            raise ApiError(ErrorKind.MALFORMED, f"otp must be {shortest} to {longest} digits.")
        key = request.headers.get(ORG_KEY_HEADER.lower(), "")
        return _Entry(passcode, address_key(request.address), key)

    async def _confirm(self, route: Route, batch: Sequence[_Entry]) -> list[Device | ApiError]:
        entries = [Attempt(entry.passcode, route, entry.address, None) for entry in batch]
        return await self._confirm_all(entries)

    async def _link(self, route: Route, batch: Sequence[_Entry]) -> list[Device | ApiError]:
        """Whose organisation is unknown has not guessed: its code is not looked at."""
        attempts: list[Attempt] = []
        known: list[bool] = []
        for entry in batch:
            organisation = await self.devices.organisation_of_key(entry.org_key)
            known.append(organisation is not None)
            if organisation is not None:
                attempts.append(Attempt(entry.passcode, route, entry.address, organisation.org_id))
        outcomes = iter(await self._confirm_all(attempts) if attempts else [])
        return [next(outcomes) if here else _unknown_organisation() for here in known]

    async def _confirm_all(self, attempts: list[Attempt]) -> list[Device | ApiError]:
        outcomes = await self.confirm.confirm_many(attempts)
        answers: list[Device | ApiError] = []
        for attempt, outcome in zip(attempts, outcomes, strict=True):
            match outcome:
                case Confirmed(device):
                    answers.append(device)
                    self._count(attempt.route, "confirmed")
                case Refused() as refused:
                    answers.append(ApiError.of(refused))
                    self._count(attempt.route, refused.reason.value)
        return answers

    def _count(self, route: Route, outcome: str) -> None:
        self.metrics.confirms.labels(route=route.value, outcome=outcome).inc()

    def _token(self, device: Device) -> Response:
        return _json(TokenAnswer(self.tokens.issue(device, TokenType.API)))

    def _session(self, device: Device) -> Response:
        token = self.tokens.issue(device, TokenType.QUICK)
        return _json(SessionAnswer(token, self.tokens.quick_session_s, device.device_key))


_ERRORS = (
    ErrorKind.MALFORMED,
    ErrorKind.INVALID_CODE,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE,
    ErrorKind.RATE_LIMITED,
    ErrorKind.OVERLOADED,
    ErrorKind.UNAVAILABLE,
)
_LINK_ERRORS = (ErrorKind.UNAUTHORIZED, ErrorKind.LINKED_ELSEWHERE)


def _unknown_organisation() -> ApiError:
    told = f"The header {ORG_KEY_HEADER} is missing or names no organisation."
    return ApiError(ErrorKind.UNAUTHORIZED, told)


def _device_key(device: Device) -> Response:
    return _json(KeyAnswer(device.device_key))


def _json(answer: object) -> Response:
    return Response(msgspec.json.encode(answer))
