"""The svc face's services as a list of operations. Mount it before what else is under ``/-/``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from otp_server.api.operation import ApiError, Operation
from otp_server.api.svc.calling import PREFIXES, Reception
from otp_server.api.svc.cookies import SessionCookies
from otp_server.api.svc.envelope import Envelopes
from otp_server.api.svc.hubs import Hubs
from otp_server.api.svc.origins import Origins
from otp_server.api.svc.resets import ResetCalls
from otp_server.api.svc.sessions import SessionCalls
from otp_server.errors import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.api.svc.resets import Resets
    from otp_server.clock import Clock
    from otp_server.services.accounts import AccountService
    from otp_server.services.address_calls import AddressCalls
    from otp_server.services.sessions import SessionService
    from otp_server.services.sockets import SocketRegistry


@dataclass(frozen=True, slots=True)
class SvcServices:
    """What the face calls."""

    resets: Resets
    sessions: SessionService
    accounts: AccountService
    sockets: SocketRegistry
    calls: AddressCalls
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class SvcOptions:
    """As in the configuration; ``answer_s``: when a call is given up, in seconds."""

    hubs: Sequence[tuple[str, str]] = ()
    allowed_origins: Sequence[str] = ()
    cookie_secure: bool = True
    session_days: int = 30
    get_calls: bool = True
    answer_s: float = 20.0


def svc_operations(services: SvcServices, options: SvcOptions) -> list[Operation[Any, Any]]:
    """Every service, and what answers for services that are none."""
    envelopes = Envelopes(services.clock.now_ms)
    reception = Reception(
        sessions=services.sessions,
        calls=services.calls,
        envelopes=envelopes,
        origins=Origins(options.allowed_origins, tls_only=options.cookie_secure),
        hubs=Hubs(options.hubs),
        answer_s=options.answer_s,
        get_calls=options.get_calls,
    )
    cookies = SessionCookies(secure=options.cookie_secure, days=options.session_days)
    resets = ResetCalls(services.resets, cookies)
    sessions = SessionCalls(
        services.sessions, services.accounts, services.sockets, cookies, services.clock
    )
    return [
        *_unknown_services(envelopes),  # the first: errors elsewhere under /-/ are said as its own
        *reception.operations(resets.send()),
        *reception.operations(resets.verify()),
        *reception.operations(resets.set_password()),
        *reception.operations(sessions.authn()),
        *reception.operations(sessions.sign_in()),
        *reception.operations(sessions.sign_out()),
    ]


def _unknown_services(envelopes: Envelopes) -> list[Operation[Any, Any]]:
    async def call(batch: Sequence[None]) -> Sequence[None]:
        return batch

    def render(_outcome: None) -> NoReturn:
        raise ApiError(ErrorKind.SERVICE_NOT_FOUND)

    return [
        Operation(
            name=f"unknown_service_by_{method.lower()}",
            summary="There is no such service",
            method=method,
            paths=tuple(f"{prefix}{{service}}" for prefix in PREFIXES),
            decode=lambda _request: None,
            call=call,
            render=render,
            error_style=envelopes.error_style(""),
            head=False,
            documented=False,
        )
        for method in ("GET", "POST")
    ]
