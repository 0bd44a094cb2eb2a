"""otp.send, otp.verify, otp.set_password (contracts B6 to B8, rulings D7 to D12).

The order of checks is the service's (``services/resets.py``); here is what it is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from otp_server.api.operation import Priority
from otp_server.api.svc.calling import HASHING_MAX, Service, Told, is_online
from otp_server.api.svc.cookies import SET_COOKIE
from otp_server.api.svc.envelope import Reply, reply_example
from otp_server.api.svc.reset_answers import told_of_change, told_of_check, told_of_send
from otp_server.api.svc.shapes import (
    EMAIL_EXAMPLE,
    SECRET_EXAMPLE,
    SIGNED_IN_EXAMPLE,
    SOCKET_EXAMPLE,
    UID_EXAMPLE,
    ChangeBody,
    ChangeData,
    CheckBody,
    CheckData,
    SendBody,
    SendData,
)
from otp_server.errors import ErrorKind
from otp_server.services.reset_calls import Change, Check, Send

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.api.operation import ApiError
    from otp_server.api.svc.calling import Asked
    from otp_server.api.svc.cookies import SessionCookies
    from otp_server.api.svc.parameters import Parameters
    from otp_server.domain.account import Session
    from otp_server.domain.account_outcome import ChangeOutcome, CheckOutcome, SendOutcome

_SENDS_MAX = 512
"""Sends that wait for a provider at once."""
_EXPIRY_EXAMPLE = 1657524768


class Resets(Protocol):
    """The service of codes."""

    async def send_many(self, batch: Sequence[Send]) -> Sequence[SendOutcome]:
        """Send codes."""

    async def check_many(self, batch: Sequence[Check]) -> Sequence[CheckOutcome]:
        """Whether codes are right."""

    async def change_many(self, batch: Sequence[Change]) -> Sequence[ChangeOutcome]:
        """Change passwords."""


@dataclass(frozen=True, slots=True)
class _SendParameters:
    email: str = field(repr=False)
    socket_id: str
    method: str


@dataclass(frozen=True, slots=True)
class _CheckParameters:
    email: str = field(repr=False)
    code: str | int = field(repr=False)
    secret: str = field(repr=False)
    socket_id: str


@dataclass(frozen=True, slots=True)
class _ChangeParameters:
    uid: str = field(repr=False)
    code: str | int = field(repr=False)
    secret: str = field(repr=False)
    password: str = field(repr=False)
    socket_id: str


@dataclass(frozen=True, slots=True)
class ResetCalls:
    """The three services."""

    resets: Resets
    cookies: SessionCookies

    def send(self) -> Service[_SendParameters]:
        """otp.send."""
        return Service(
            name="otp.send",
            summary="Send a code to an account's e-mail address",
            description="Also how a code is sent again. The code is in the message alone.",
            read=_read_send,
            act=self._send,
            tells_failure=True,
            alone=_SENDS_MAX,
            body=SendBody,
            body_example={"email": EMAIL_EXAMPLE, "socket_id": SOCKET_EXAMPLE},
            answer=Reply[SendData],
            answer_example=reply_example(
                "otp.send",
                "offline",
                {
                    "status": "ok",
                    "sent": 1,
                    "secret": SECRET_EXAMPLE,
                    "email": EMAIL_EXAMPLE,
                    "id": UID_EXAMPLE,
                    "uid": UID_EXAMPLE,
                    "domain": "main",
                    "firstname": "Ada",
                    "lastname": "Lovelace",
                    "ident": EMAIL_EXAMPLE,
                    "username": EMAIL_EXAMPLE,
                    "otp": 0,
                },
            ),
            errors=(ErrorKind.INVALID_SOCKET,),
        )

    def verify(self) -> Service[_CheckParameters]:
        """otp.verify."""
        return Service(
            name="otp.verify",
            summary="Whether this is the code",
            description="Uses nothing up: the same code and secret then set the password. Wrong "
            "codes are counted.",
            read=_read_check,
            act=self._verify,
            priority=Priority.JUDGE,
            body=CheckBody,
            body_example={
                "email": EMAIL_EXAMPLE,
                "code": "012345",
                "secret": SECRET_EXAMPLE,
                "socket_id": SOCKET_EXAMPLE,
            },
            answer=Reply[CheckData],
            answer_example=reply_example(
                "otp.verify",
                "offline",
                {
                    "uid": UID_EXAMPLE,
                    "secret": SECRET_EXAMPLE,
                    "code": "012345",
                    "ctime": _EXPIRY_EXAMPLE - 600,
                    "expiry": _EXPIRY_EXAMPLE,
                },
            ),
            errors=(ErrorKind.CONTACT_LOCKED,),
        )

    def set_password(self) -> Service[_ChangeParameters]:
        """otp.set_password."""
        return Service(
            name="otp.set_password",
            summary="Set a new password, by a code",
            description="Uses the code up, ends all sessions of the account, signs the caller in "
            "and sends the account a notice. A password that is refused costs nothing.",
            read=_read_change,
            act=self._set_password,
            tells_failure=True,
            alone=HASHING_MAX,
            priority=Priority.JUDGE,
            body=ChangeBody,
            body_example={
                "uid": UID_EXAMPLE,
                "code": "012345",
                "secret": SECRET_EXAMPLE,
                "password": "correct horse battery",
                "socket_id": SOCKET_EXAMPLE,
            },
            answer=Reply[ChangeData],
            answer_example=reply_example(
                "otp.set_password",
                "online",
                SIGNED_IN_EXAMPLE,
            ),
            answer_headers=(SET_COOKIE,),
            errors=(ErrorKind.WEAK_PASSWORD, ErrorKind.CONTACT_LOCKED),
        )

    async def _send(
        self, batch: Sequence[Asked[_SendParameters]], sessions: Sequence[Session | None]
    ) -> list[Told | ApiError]:
        outcomes = await self.resets.send_many(
            [
                Send(
                    session,
                    asked.parameters.socket_id,
                    asked.visitor.address,
                    email=asked.parameters.email,
                    method=asked.parameters.method,
                    accept_language=asked.visitor.language,
                )
                for asked, session in zip(batch, sessions, strict=True)
            ]
        )
        return [
            told_of_send(outcome, asked.parameters.email, online=is_online(session))
            for asked, session, outcome in zip(batch, sessions, outcomes, strict=True)
        ]

    async def _verify(
        self, batch: Sequence[Asked[_CheckParameters]], sessions: Sequence[Session | None]
    ) -> list[Told | ApiError]:
        outcomes = await self.resets.check_many(
            [
                Check(
                    session,
                    asked.parameters.socket_id,
                    asked.visitor.address,
                    email=asked.parameters.email,
                    secret=asked.parameters.secret,
                    code=asked.parameters.code,
                )
                for asked, session in zip(batch, sessions, strict=True)
            ]
        )
        return [
            told_of_check(outcome, online=is_online(session))
            for session, outcome in zip(sessions, outcomes, strict=True)
        ]

    async def _set_password(
        self, batch: Sequence[Asked[_ChangeParameters]], sessions: Sequence[Session | None]
    ) -> list[Told | ApiError]:
        outcomes = await self.resets.change_many(
            [
                Change(
                    session,
                    asked.parameters.socket_id,
                    asked.visitor.address,
                    uid=asked.parameters.uid,
                    secret=asked.parameters.secret,
                    code=asked.parameters.code,
                    password=asked.parameters.password,
                    accept_language=asked.visitor.language,
                )
                for asked, session in zip(batch, sessions, strict=True)
            ]
        )
        return [
            told_of_change(outcome, self.cookies, online=is_online(session))
            for session, outcome in zip(sessions, outcomes, strict=True)
        ]


def _read_send(given: Parameters) -> _SendParameters:
    return _SendParameters(
        given.required("email"), given.required("socket_id"), given.optional("method")
    )


def _read_check(given: Parameters) -> _CheckParameters:
    return _CheckParameters(
        given.required("email"),
        given.code(),
        given.required("secret"),
        given.required("socket_id"),
    )


def _read_change(given: Parameters) -> _ChangeParameters:
    return _ChangeParameters(
        given.required("uid"),
        given.code(),
        given.required("secret"),
        given.password(),
        given.required("socket_id"),
    )
