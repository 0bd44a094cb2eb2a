"""What each outcome of the codes is called, and over which transport (contracts B6 to B8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from otp_server.api.svc.calling import Told
from otp_server.api.svc.envelope import ServiceError
from otp_server.api.svc.shapes import (
    ChangeData,
    CheckData,
    SendData,
    signed_in_data,
)
from otp_server.domain.account_outcome import (
    CodeRight,
    NoUser,
    PasswordRefused,
    SecretSent,
    SignedIn,
    WrongCode,
)
from otp_server.domain.outcome import Refused
from otp_server.errors import ErrorKind

if TYPE_CHECKING:
    from otp_server.api.operation import ApiError
    from otp_server.api.svc.cookies import SessionCookies
    from otp_server.domain.account_outcome import ChangeOutcome, CheckOutcome, SendOutcome

_MS = 1000


def told_of_send(outcome: SendOutcome, email: str, *, online: bool) -> Told | ApiError:
    """otp.send: an unknown account is data without ``error`` (D18), no socket an error (D7)."""
    match outcome:
        case SecretSent():
            return Told(_send_data(outcome), online)
        case NoUser():
            return Told(SendData(status="no-user", email=email), online)
        case Refused():
            return ServiceError.refusing(outcome, online=online)


def _send_data(sent: SecretSent) -> SendData:
    user = sent.user
    done: Literal[0, 1] = 1 if sent.sent else 0
    if user is None:
        return SendData(status="ok", sent=done, secret=sent.secret, email=sent.email)
    return SendData(
        status="ok",
        sent=done,
        secret=sent.secret,
        email=sent.email,
        id=user.uid,
        uid=user.uid,
        domain=user.organisation,
        firstname=user.firstname,
        lastname=user.lastname,
        ident=user.email,
        username=user.email,
        otp=0,
    )


def told_of_check(outcome: CheckOutcome, *, online: bool) -> Told | ApiError:
    """otp.verify: all failures are data."""
    match outcome:
        case CodeRight():
            data = CheckData(
                uid=outcome.uid,
                secret=outcome.secret,
                code=outcome.code,
                ctime=outcome.created_at_ms // _MS,
                expiry=outcome.expires_at_ms // _MS,
            )
            return Told(data, online)
        case NoUser():
            return Told(CheckData(error=1, status="no-user"), online)
        case WrongCode():
            return Told(CheckData(error=1, status="wrong-code"), online)
        case Refused(kind=ErrorKind.INVALID_SOCKET):
            return Told(CheckData(error=1, status="no-socket"), online)
        case Refused():
            return ServiceError.refusing(outcome, online=online)


def told_of_change(
    outcome: ChangeOutcome, cookies: SessionCookies, *, online: bool
) -> Told | ApiError:
    """otp.set_password: all failures are data (D8) but for a password that is refused."""
    match outcome:
        case SignedIn():
            data = ChangeData(status="ok", **signed_in_data(outcome))
            return Told(data, True, (cookies.give(outcome.session_id),))
        case NoUser():
            return Told(ChangeData(error=1, status="no-user"), online)
        case WrongCode():
            data = ChangeData(error=1, status="wrong-otp", message="Wrong otp")
            return Told(data, online)
        case PasswordRefused():
            problems = {"password": outcome.problems}
            return ServiceError.to(ErrorKind.WEAK_PASSWORD, problems, online=online)
        case Refused(kind=ErrorKind.INVALID_SOCKET):
            return Told(ChangeData(error=1, status="no-socket"), online)
        case Refused():
            return ServiceError.refusing(outcome, online=online)
