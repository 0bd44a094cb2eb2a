"""The HTTP side of the device face (contracts A4, A6).

Each route is three plain pieces: read the request, one service call, write the answer. Whatever is
wrong with a code, the answer is one and the same (requirement 51).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Literal

import msgspec
import trio
from quart import request

from otp_server.api.web import (
    ApiError,
    WebOptions,
    address_of_request,
    bearer_token,
    json_body,
    json_response,
)
from otp_server.domain.address import address_key
from otp_server.domain.challenge import Route
from otp_server.domain.code_entry import parse_code
from otp_server.domain.outcome import Confirmed, Issued, Refused
from otp_server.errors import ErrorKind
from otp_server.services.confirm import Attempt
from otp_server.services.tokens import TokenType

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quart import Response
    from quart_trio import QuartTrio

    from otp_server.clock import Clock
    from otp_server.core import Passcode
    from otp_server.domain.device import Device
    from otp_server.services.confirm import ConfirmService
    from otp_server.services.devices import DeviceService
    from otp_server.services.issue import IssueService
    from otp_server.services.presence import PresenceService
    from otp_server.services.tokens import TokenService
    from otp_server.telemetry import Metrics


class ConfirmBody(msgspec.Struct):
    """``{"otp": "123456"}``."""

    otp: str


class ServiceBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``{"startOtp": true}``, the one service command we carry."""

    start_otp: Literal[True]


class TokenAnswer(msgspec.Struct):
    """Confirm v1."""

    token: str


class KeyAnswer(msgspec.Struct):
    """Confirm v2."""

    device_key: str


class SessionAnswer(msgspec.Struct):
    """Confirm with a quick session."""

    token: str
    expires_in: int
    device_key: str


class CodeAnswer(msgspec.Struct):
    """startOtp."""

    otp: str
    expires_at_ms: int


class TimeAnswer(msgspec.Struct):
    """Server time, Unix milliseconds."""

    server_time: int


class StatusAnswer(msgspec.Struct):
    """A device's status; names as in the vendor's status page (contracts A4)."""

    device_key: str
    connected: bool
    connected_at: int | None = msgspec.field(name="connectedAt", default=None)


@dataclass(frozen=True, slots=True)
class DeviceHttpOptions:
    """Lengths in characters, times in seconds."""

    web: WebOptions
    code_length_min: int
    code_length_max: int
    answer_s: float


@dataclass(frozen=True, slots=True)
class DeviceHttp:
    """The routes and what they call."""

    options: DeviceHttpOptions
    issue: IssueService
    confirm: ConfirmService
    devices: DeviceService
    presence: PresenceService
    tokens: TokenService
    clock: Clock
    metrics: Metrics

    def mount(self, app: QuartTrio) -> None:
        """Add the routes to an application."""
        rule, timely = app.add_url_rule, self._timely
        confirm, late = "/device/otp/confirm", ErrorKind.UNAVAILABLE
        rule(confirm, view_func=timely(self.confirm_v1, late), methods=["POST"])
        rule(f"{confirm}/v2", view_func=timely(self.confirm_v2, late), methods=["POST"])
        rule(
            f"{confirm}-quick-session", view_func=timely(self.confirm_quick, late), methods=["POST"]
        )
        rule("/device/service", view_func=timely(self.service, ErrorKind.TIMEOUT), methods=["POST"])
        rule("/device/server-time", view_func=self.server_time, methods=["GET"])
        rule("/device/status", view_func=timely(self.status, late), methods=["GET"])

    def _timely(
        self, view: Callable[[], Awaitable[Response]], late: ErrorKind
    ) -> Callable[[], Awaitable[Response]]:
        """The view under one deadline. A confirmation that began ends by the service's own."""

        @wraps(view)
        async def answer() -> Response:
            with trio.move_on_after(self.options.answer_s):
                return await view()
            if late is ErrorKind.TIMEOUT:
                self.metrics.issues.labels(outcome=late.token).inc()
            raise ApiError(late)

        return answer

    async def confirm_v1(self) -> Response:
        """A code for a long-lived API token. A Bearer header is ignored (ruling D4)."""
        device = await self._confirm(Route.V1, None)
        return json_response(TokenAnswer(self.tokens.issue(device, TokenType.API)))

    async def confirm_v2(self) -> Response:
        """A code links its device to the caller's organisation; the device key is the answer."""
        passcode = await self._read_code()
        organisation = await self.devices.organisation_of_key(request.headers.get("X-Org-Key", ""))
        if organisation is None:
            raise ApiError(
                ErrorKind.UNAUTHORIZED, "The header X-Org-Key is missing or names no organisation."
            )
        device = await self._confirm(Route.V2, organisation.org_id, passcode)
        return json_response(KeyAnswer(device.device_key))

    async def confirm_quick(self) -> Response:
        """A code for a token of limited life, usable at once."""
        device = await self._confirm(Route.QUICK, None)
        token = self.tokens.issue(device, TokenType.QUICK)
        return json_response(SessionAnswer(token, self.tokens.quick_session_s, device.device_key))

    async def service(self) -> Response:
        """``startOtp``: a code for a device without a WebSocket, by its device token."""
        [device] = await self.devices.authenticate_many([bearer_token()])
        if device is None:
            raise ApiError(ErrorKind.UNAUTHORIZED)
        await json_body(ServiceBody)
        refused = self.issue.admit(device.device_id)
        if refused is not None:
            raise ApiError.of(refused)
        [outcome] = await self.issue.issue_many([device.device_id])
        match outcome:
            case Issued() as code:
                self.metrics.issues.labels(outcome="issued").inc()
                return json_response(CodeAnswer(code.passcode.reveal(), code.expires_at_ms))
            case Refused() as refusal:
                self.metrics.issues.labels(outcome=refusal.kind.token).inc()
                raise ApiError.of(refusal)

    async def server_time(self) -> Response:
        """Unix milliseconds."""
        return json_response(TimeAnswer(self.clock.now_ms()))

    async def status(self) -> Response:
        """The status of the device a token was issued for.

        A quick-session token needs the header ``X-Device-Key``; an API token, whose holder was
        never told the key, may leave it out. A wrong key is refused either way.
        """
        claims = self.tokens.check(bearer_token())
        if claims is None:
            raise ApiError(ErrorKind.UNAUTHORIZED)
        given = request.headers.get("X-Device-Key")
        if given is None and claims.type is TokenType.QUICK:
            raise ApiError(ErrorKind.UNAUTHORIZED, "Send the header X-Device-Key.")
        if given is not None and given != claims.device_key:
            raise ApiError(ErrorKind.UNAUTHORIZED, "X-Device-Key is not of this token's device.")
        device = await self.devices.get(claims.device_id)
        if device is None:
            raise ApiError(ErrorKind.UNAUTHORIZED)
        since_ms = self.presence.connected_since_ms(device.device_id)
        at_s = None if since_ms is None else since_ms // 1000
        return json_response(StatusAnswer(device.device_key, since_ms is not None, at_s))

    async def _read_code(self) -> Passcode:
        body = await json_body(ConfirmBody)
        shortest, longest = self.options.code_length_min, self.options.code_length_max
        passcode = parse_code(body.otp, length_min=shortest, length_max=longest)
        if passcode is None:
            raise ApiError(ErrorKind.MALFORMED, f"otp must be {shortest} to {longest} digits.")
        return passcode

    async def _confirm(
        self, route: Route, org_id: int | None, passcode: Passcode | None = None
    ) -> Device:
        passcode = await self._read_code() if passcode is None else passcode
        key = address_key(address_of_request(self.options.web))
        [outcome] = await self.confirm.confirm_many([Attempt(passcode, route, key, org_id)])
        match outcome:
            case Confirmed(device):
                self.metrics.confirms.labels(route=route.value, outcome="confirmed").inc()
                return device
            case Refused() as refused:
                self.metrics.confirms.labels(route=route.value, outcome=refused.reason.value).inc()
                raise ApiError.of(refused)
