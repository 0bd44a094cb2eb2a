"""Accounts of the svc face and the sessions of its web clients.

An organisation owns accounts; a hub is a host name by which its clients come (contracts B2). What
belongs to an organisation's accounts in the engine of OTP processes has a tenant of its own, whose
name no API client can have: it holds a slash.
"""

from __future__ import annotations

import hashlib
import secrets
import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from otp_server.domain.process import SealedContact

MAIN_ORGANISATION = "main"
"""Whose clients those are that come by a host which is no hub's."""
_LETTERS_AND_DIGITS = string.ascii_letters + string.digits
SVC_TENANT: Final = "svc/"
"""How the tenants of organisations begin."""


@dataclass(frozen=True, slots=True)
class User:
    """An account. Its e-mail is stored as every contact: sealed, and found by its index.

    ``password_version`` counts the changes of its password: 0 says that it has none yet.
    """

    uid: str
    organisation: str
    email: SealedContact = field(repr=False)
    firstname: str = field(repr=False)
    lastname: str = field(repr=False)
    created_at_ms: int
    password_version: int = 0


@dataclass(frozen=True, slots=True)
class Session:
    """A web client's session as stored: its id only as a SHA-256. ``uid`` None: not signed in.

    It is good for ``host`` only (lower case, without a port).
    """

    digest: bytes
    organisation: str
    host: str
    uid: str | None
    created_at_ms: int
    expires_at_ms: int


def tenant_of(organisation: str) -> str:
    """The tenant of an organisation's processes."""
    return SVC_TENANT + organisation


def new_uid() -> str:
    """64 random bits as 16 hexadecimal digits, as existing clients know them. No secret."""
    return secrets.token_hex(8)


def new_session_id() -> str:
    """256 random bits, in the alphabet of cookies."""
    return secrets.token_urlsafe(32)


def new_secret() -> str:
    """What ``otp.send`` gives (requirement 29): 128 random bits and more, letters and digits."""
    return "".join(secrets.choice(_LETTERS_AND_DIGITS) for _ in range(22))


def digest_of(token: str) -> bytes:
    """The stored form of a session id or a secret: they are random, so a bare SHA-256 will do."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
