"""Accounts and sessions of the memory store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from otp_server.errors import AlreadyExists
from otp_server.stores import account_rules as rules
from otp_server.stores.bounds import SWEEP_ROWS_MAX
from otp_server.stores.memory.audit import MemoryAudit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otp_server.domain.account import Session, User
    from otp_server.domain.audit import Actor
    from otp_server.services.ports.accounts import SignIn, UserKey


class MemoryAccounts(MemoryAudit):
    """What :mod:`otp_server.services.ports.accounts` asks, in dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self._users: dict[str, User] = {}  # by uid
        self._uids: dict[tuple[str, bytes], str] = {}  # by organisation and e-mail index
        self._passwords: dict[str, str] = {}  # hashes, by uid
        self._sessions: dict[bytes, Session] = {}  # by digest

    async def add_user(self, user: User, password: str | None, actor: Actor) -> None:
        """See :class:`otp_server.services.ports.AccountStore`; so for the next ones."""
        await self._enter()
        if user.uid in self._users:
            raise AlreadyExists("uid", user.uid)
        place = user.organisation, user.email.index
        if place in self._uids:
            raise rules.email_taken(user)
        self._uids[place] = user.uid
        self._users[user.uid] = replace(user, password_version=int(password is not None))
        if password is not None:
            self._passwords[user.uid] = password
        self._append_audit([rules.user_added(user, actor)])

    async def find_users(self, keys: Sequence[UserKey]) -> list[User | None]:
        """Look-ups."""
        await self._enter()
        return [self._find_user(key) for key in keys]

    def _find_user(self, key: UserKey) -> User | None:
        uid = key.uid
        if uid is None and key.email_index is not None:
            uid = self._uids.get((key.organisation, key.email_index))
        user = None if uid is None else self._users.get(uid)
        return user if user is not None and user.organisation == key.organisation else None

    async def list_users(self, *, after_uid: str = "", limit: int = 1000) -> list[User]:
        """Sorted each time."""
        await self._enter()
        return [self._users[uid] for uid in sorted(self._users) if uid > after_uid][:limit]

    async def find_password(self, uid: str) -> str | None:
        """A look-up."""
        await self._enter()
        return self._passwords.get(uid)

    # Sessions.

    async def add_session(self, session: Session) -> None:
        """See :class:`otp_server.services.ports.SessionStore`; so for the next ones."""
        await self._enter()
        rules.require_anonymous(session)
        if session.digest in self._sessions:
            raise rules.session_taken()
        self._sessions[session.digest] = session

    async def find_sessions(self, digests: Sequence[bytes], now_ms: int) -> list[Session | None]:
        """Look-ups."""
        await self._enter()
        kept = (self._sessions.get(digest) for digest in digests)
        return [session if session and session.expires_at_ms > now_ms else None for session in kept]

    async def sign_in(self, asked: SignIn) -> bool:
        """One look at the version, and the change."""
        await self._enter()
        session, uid = asked.session, rules.signed_in_uid(asked.session)
        user = self._users.get(uid)
        if user is None or user.organisation != session.organisation:
            return False
        if uid not in self._passwords or user.password_version != asked.password_version:
            return False
        if session.digest in self._sessions:
            raise rules.session_taken()
        before = None if asked.replaced is None else self._sessions.pop(asked.replaced, None)
        if before is not None:
            self._append_audit(rules.replaced(before, asked))
        self._sessions[session.digest] = session
        self._append_audit([rules.signed_in(session, asked.actor, session.created_at_ms)])
        return True

    async def end_session(self, digest: bytes, actor: Actor, at_ms: int) -> bool:
        """Forget it."""
        await self._enter()
        session = self._sessions.pop(digest, None)
        if session is None or session.expires_at_ms <= at_ms:
            return False
        self._append_audit(rules.signed_out(session, "done", actor, at_ms))
        return True

    def _end_sessions_of(
        self, uid: str, besides: Iterable[bytes], actor: Actor, at_ms: int
    ) -> tuple[bytes, ...]:
        """Those of the user and the others given, because the password changed; their digests."""
        also = set(besides)
        ended = sorted(
            digest
            for digest, session in self._sessions.items()
            if session.uid == uid or digest in also
        )
        for digest in ended:
            session = self._sessions.pop(digest)
            self._append_audit(rules.signed_out(session, "password_changed", actor, at_ms))
        return tuple(ended)

    async def sweep_sessions(self, now_ms: int) -> int:
        """The first to end first."""
        await self._enter()
        over = [each for each in self._sessions.values() if each.expires_at_ms <= now_ms]
        over.sort(key=lambda session: session.expires_at_ms)
        for session in over[:SWEEP_ROWS_MAX]:
            del self._sessions[session.digest]
        return len(over[:SWEEP_ROWS_MAX])
