"""What a store must do for accounts and sessions of the svc face.

Passwords are stored as the strings of a memory-hard function, and never given with an account.
Every change writes its audit line in the same transaction, under the organisation's tenant, with
the uid for its subject; only the sessions of nobody come and go without one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.account import Session, User
    from otp_server.domain.audit import Actor


@dataclass(frozen=True, slots=True)
class UserKey:
    """What an account is asked for by: one of the two is given."""

    organisation: str
    uid: str | None = None
    email_index: bytes | None = None


@dataclass(frozen=True, slots=True)
class SignIn:
    """A session to begin for a user whose password was found right.

    ``replaced`` is the digest of the session the caller had, if any: it ends. The user's password
    must still be of ``password_version``: one changed meanwhile lets nobody in.
    """

    session: Session
    replaced: bytes | None
    password_version: int
    actor: Actor


class AccountStore(Protocol):
    """Accounts."""

    async def add_user(self, user: User, password: str | None, actor: Actor) -> None:
        """Store an account; ``password`` is a hash. ``password_version`` is 1 with one, else 0.

        AlreadyExists for an organisation's e-mail that has an account, or a uid used before.
        """

    async def find_users(self, keys: Sequence[UserKey]) -> list[User | None]:
        """The accounts, each by index; None where there is none."""

    async def list_users(self, *, after_uid: str = "", limit: int = 1000) -> list[User]:
        """A page of all accounts, by uid."""

    async def find_password(self, uid: str) -> str | None:
        """The hash; None: the account has no password, or is not there."""


class SessionStore(Protocol):
    """Sessions."""

    async def add_session(self, session: Session) -> None:
        """Store one that is not signed in; AlreadyExists for a digest that is there."""

    async def find_sessions(self, digests: Sequence[bytes], now_ms: int) -> list[Session | None]:
        """Those that have not ended."""

    async def sign_in(self, asked: SignIn) -> bool:
        """Begin the session and end the replaced one; False, and nothing: the password changed.

        Nor is anybody let in who has no password or is not of the session's organisation.
        """

    async def end_session(self, digest: bytes, actor: Actor, at_ms: int) -> bool:
        """End it; whether it was there, and not past its time."""

    async def sweep_sessions(self, now_ms: int) -> int:
        """Forget sessions past their time; how many. Bounded work: call again while it is not 0."""


__all__ = ["AccountStore", "SessionStore", "SignIn", "UserKey"]
