"""What the use cases of accounts and their codes answer: values, one per item of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otp_server.domain.outcome import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.account import Session


@dataclass(frozen=True, slots=True)
class UserView:
    """An account as its owner may see it."""

    uid: str
    organisation: str
    email: str = field(repr=False)
    firstname: str = field(repr=False)
    lastname: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SecretSent:
    """A code is on its way to ``email``; ``secret`` is told to the caller and stored nowhere.

    ``sent``: whether the provider took the message in the time allowed. ``user`` is None where
    accounts are not revealed.
    """

    secret: str = field(repr=False)
    email: str = field(repr=False)
    sent: bool
    user: UserView | None


@dataclass(frozen=True, slots=True)
class NoUser:
    """There is no such account; said only where accounts are revealed."""


@dataclass(frozen=True, slots=True)
class WrongCode:
    """The code, the secret, or what the secret is bound to, is not right; or its time is over."""


@dataclass(frozen=True, slots=True)
class CodeRight:
    """The code was right, and stays good until it is used or ``expires_at_ms``."""

    uid: str
    secret: str = field(repr=False)
    code: str = field(repr=False)
    created_at_ms: int
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class PasswordRefused:
    """The new password is not good enough; ``problems`` say why and what to do. Nothing changed."""

    problems: Sequence[str]


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The caller is signed in: ``session_id`` is its new session's, told once, in a cookie."""

    session_id: str = field(repr=False)
    session: Session
    user: UserView


@dataclass(frozen=True, slots=True)
class SignInRefused:
    """The e-mail or the password is wrong: nobody is told which."""


SendOutcome = SecretSent | NoUser | Refused
CheckOutcome = CodeRight | NoUser | WrongCode | Refused
ChangeOutcome = SignedIn | NoUser | WrongCode | PasswordRefused | Refused
SignInOutcome = SignedIn | SignInRefused | Refused
