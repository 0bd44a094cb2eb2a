"""bootstrap.authn, session.sign_in, session.sign_out (contracts B3, B4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec import UNSET

from otp_server.api.operation import Priority
from otp_server.api.svc.calling import HASHING_MAX, Service, Told, is_online
from otp_server.api.svc.cookies import SET_COOKIE
from otp_server.api.svc.envelope import Reply, ServiceError, reply_example
from otp_server.api.svc.shapes import (
    EMAIL_EXAMPLE,
    SIGNED_IN_EXAMPLE,
    NothingBody,
    NothingData,
    SignedInData,
    SignInBody,
    TokenData,
    signed_in_data,
    user_data,
)
from otp_server.domain.account_outcome import SignedIn, SignInRefused
from otp_server.domain.outcome import Refused
from otp_server.errors import ErrorKind
from otp_server.services.ports.accounts import UserKey
from otp_server.services.sessions import SignInAsked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.api.operation import ApiError
    from otp_server.api.svc.calling import Asked, Visitor
    from otp_server.api.svc.cookies import SessionCookies
    from otp_server.api.svc.parameters import Parameters
    from otp_server.clock import Clock
    from otp_server.domain.account import Session, User
    from otp_server.domain.account_outcome import SignInOutcome, UserView
    from otp_server.services.accounts import AccountService
    from otp_server.services.sessions import SessionService
    from otp_server.services.sockets import SocketRegistry

_MS = 1000
_TOKEN_EXAMPLE = "Wq0c3TnVb1yXk5uZs8mRgA"  # noqa: S105 - an example


@dataclass(frozen=True, slots=True)
class _SignInParameters:
    email: str = field(repr=False)
    password: str = field(repr=False)
    socket_id: str | None


@dataclass(frozen=True, slots=True)
class SessionCalls:
    """The three services. Tokens live by ``clock``, in seconds: redeem them by the same."""

    sessions: SessionService
    accounts: AccountService
    sockets: SocketRegistry
    cookies: SessionCookies
    clock: Clock

    def authn(self) -> Service[None]:
        """bootstrap.authn."""
        return Service(
            name="bootstrap.authn",
            summary="A one-time token that binds a WebSocket to the caller's session",
            description="A caller without a session gets one. The token is good once, for 60 s: "
            "open `/-/websocket/?otak=TOKEN` with the sub-protocol `service`.",
            read=_read_nothing,
            act=self._authn,
            body=NothingBody,
            body_example={},
            answer=Reply[TokenData],
            answer_example=reply_example("bootstrap.authn", "offline", {"token": _TOKEN_EXAMPLE}),
            answer_headers=(SET_COOKIE,),
        )

    def sign_in(self) -> Service[_SignInParameters]:
        """session.sign_in."""
        return Service(
            name="session.sign_in",
            by_get=False,
            summary="Sign in by password",
            description="The caller's session is replaced by a new one. The socket of `socket_id` "
            "stays; the session's other sockets are closed.",
            read=_read_sign_in,
            act=self._sign_in,
            alone=HASHING_MAX,
            priority=Priority.JUDGE,
            body=SignInBody,
            body_example={"email": EMAIL_EXAMPLE, "password": "correct horse battery"},
            answer=Reply[SignedInData],
            answer_example=reply_example(
                "session.sign_in",
                "online",
                SIGNED_IN_EXAMPLE,
            ),
            answer_headers=(SET_COOKIE,),
            errors=(ErrorKind.SIGN_IN_FAILED,),
        )

    def sign_out(self) -> Service[None]:
        """session.sign_out."""
        return Service(
            name="session.sign_out",
            by_get=False,
            summary="End the caller's session and its sockets",
            read=_read_nothing,
            act=self._sign_out,
            body=NothingBody,
            body_example={},
            answer=Reply[NothingData],
            answer_example=reply_example("session.sign_out", "offline", {}),
            answer_headers=(SET_COOKIE,),
        )

    async def _authn(
        self, batch: Sequence[Asked[None]], sessions: Sequence[Session | None]
    ) -> list[Told | ApiError]:
        users = await self._users(sessions)
        told: list[Told | ApiError] = []
        for asked, session, user in zip(batch, sessions, users, strict=True):
            if session is None:
                told.append(await self._begin(asked.visitor))
            else:
                shown = UNSET if user is None else user_data(user)
                data = TokenData(token=self._token(session), user=shown)
                told.append(Told(data, is_online(session)))
        return told

    async def _begin(self, visitor: Visitor) -> Told | ApiError:
        begun = await self.sessions.begin(visitor.host, visitor.organisation, visitor.address)
        if isinstance(begun, Refused):
            return ServiceError.refusing(begun, online=False)
        session_id, session = begun
        cookie = self.cookies.give(session_id)
        return Told(TokenData(token=self._token(session)), False, (cookie,))

    def _token(self, session: Session) -> str:
        return self.sockets.grant(session.digest, self.clock.now_ms() / _MS)

    async def _users(self, sessions: Sequence[Session | None]) -> list[UserView | None]:
        """Whose sessions these are; None for those of nobody."""
        keys = [
            UserKey(session.organisation, uid=session.uid)
            for session in sessions
            if session is not None and session.uid is not None
        ]
        found = iter(await self.accounts.find_many(keys) if keys else [])
        return [self._view(next(found)) if is_online(session) else None for session in sessions]

    def _view(self, user: User | None) -> UserView | None:
        return None if user is None else self.accounts.view(user)

    async def _sign_in(
        self, batch: Sequence[Asked[_SignInParameters]], sessions: Sequence[Session | None]
    ) -> list[Told | ApiError]:
        return [
            self._signed_in(
                await self.sessions.sign_in(
                    SignInAsked(
                        session,
                        asked.visitor.host,
                        asked.visitor.organisation,
                        asked.visitor.address,
                        asked.parameters.email,
                        asked.parameters.password,
                        asked.parameters.socket_id,
                    )
                ),
                online=is_online(session),
            )
            for asked, session in zip(batch, sessions, strict=True)
        ]

    def _signed_in(self, outcome: SignInOutcome, *, online: bool) -> Told | ApiError:
        match outcome:
            case SignedIn():
                data = SignedInData(status="ok", **signed_in_data(outcome))
                return Told(data, True, (self.cookies.give(outcome.session_id),))
            case SignInRefused():
                return ServiceError.to(ErrorKind.SIGN_IN_FAILED, online=online)
            case Refused():
                return ServiceError.refusing(outcome, online=online)

    async def _sign_out(
        self, batch: Sequence[Asked[None]], sessions: Sequence[Session | None]
    ) -> list[Told | ApiError]:
        told: list[Told | ApiError] = []
        for asked, session in zip(batch, sessions, strict=True):
            refused = (
                None
                if session is None
                else await self.sessions.sign_out(session, asked.visitor.address)
            )
            if refused is None:
                told.append(Told(NothingData(), False, (self.cookies.take(),)))
            else:
                told.append(ServiceError.refusing(refused, online=is_online(session)))
        return told


def _read_nothing(_given: Parameters) -> None:
    return None


def _read_sign_in(given: Parameters) -> _SignInParameters:
    return _SignInParameters(
        given.required("email"), given.password(), given.optional("socket_id") or None
    )
