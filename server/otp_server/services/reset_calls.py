"""What is asked of the codes of the svc face: one command per call, its parameters as sent.

``session`` is the caller's, found by its cookie at the host it came by; ``socket_id`` must be an
open socket of it. ``address`` is the caller's network address.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otp_server.domain.account import Session


@dataclass(frozen=True, slots=True)
class Call:
    """What all three have: who calls."""

    session: Session | None
    socket_id: str
    address: str


@dataclass(frozen=True, slots=True)
class Send(Call):
    """``otp.send``. ``accept_language`` is the header, which chooses the mail's language."""

    email: str = field(repr=False)
    method: str = ""
    accept_language: str = ""


@dataclass(frozen=True, slots=True)
class Check(Call):
    """``otp.verify``. A ``code`` that was a number in JSON stays one: its zeros are put back."""

    email: str = field(repr=False)
    secret: str = field(repr=False)
    code: str | int = field(repr=False)


@dataclass(frozen=True, slots=True)
class Change(Call):
    """``otp.set_password``. ``uid`` is the account's uid or its e-mail."""

    uid: str = field(repr=False)
    secret: str = field(repr=False)
    code: str | int = field(repr=False)
    password: str = field(repr=False)
    accept_language: str = ""
