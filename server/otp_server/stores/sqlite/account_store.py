"""Accounts, sessions and resets, of the SQLite store."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from otp_server.stores.sqlite import account_statements as accounts
from otp_server.stores.sqlite import reset_statements as resets
from otp_server.stores.sqlite import session_statements as sessions
from otp_server.stores.sqlite.process_store import SqliteProcesses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.account import Session, User
    from otp_server.domain.audit import Actor
    from otp_server.services.ports.accounts import SignIn, UserKey
    from otp_server.services.ports.processes import Settled, Verdict
    from otp_server.services.ports.resets import Changed, NewReset, PasswordChange, Reset


class SqliteAccounts(SqliteProcesses):
    """What the ports ``accounts`` and ``resets`` ask, in SQL."""

    # Accounts.

    async def add_user(self, user: User, password: str | None, actor: Actor) -> None:
        """See :class:`otp_server.services.ports.AccountStore`; so for the next ones."""
        await self._write(partial(accounts.add_user, user=user, password=password, actor=actor))

    async def find_users(self, keys: Sequence[UserKey]) -> list[User | None]:
        """Without their passwords."""
        return await self._reader.call(partial(accounts.find_users, keys=keys))

    async def list_users(self, *, after_uid: str = "", limit: int = 1000) -> list[User]:
        """A page, by uid."""
        return await self._reader.call(
            partial(accounts.list_users, after_uid=after_uid, limit=limit)
        )

    async def find_password(self, uid: str) -> str | None:
        """A hash."""
        return await self._reader.call(partial(accounts.find_password, uid=uid))

    # Sessions.

    async def add_session(self, session: Session) -> None:
        """See :class:`otp_server.services.ports.SessionStore`; so for the next ones."""
        await self._writer.call(partial(sessions.add_session, session=session))

    async def find_sessions(self, digests: Sequence[bytes], now_ms: int) -> list[Session | None]:
        """Look-ups."""
        return await self._reader.call(
            partial(sessions.find_sessions, digests=digests, now_ms=now_ms)
        )

    async def sign_in(self, asked: SignIn) -> bool:
        """Guarded by the version of the password."""
        return await self._write(partial(sessions.sign_in, asked=asked))

    async def end_session(self, digest: bytes, actor: Actor, at_ms: int) -> bool:
        """End one."""
        return await self._write(
            partial(sessions.end_session, digest=digest, actor=actor, at_ms=at_ms)
        )

    async def sweep_sessions(self, now_ms: int) -> int:
        """Forget, bounded."""
        return await self._writer.call(partial(sessions.sweep_sessions, now_ms=now_ms))

    # Resets.

    async def start_resets(self, batch: Sequence[NewReset]) -> None:
        """See :class:`otp_server.services.ports.ResetStore`; so for the next ones."""
        await self._write(partial(resets.start_resets, batch=batch))

    async def find_resets(self, secret_digests: Sequence[bytes]) -> list[Reset | None]:
        """Look-ups."""
        return await self._read(partial(resets.find_resets, secret_digests=secret_digests))

    async def settle_checks(self, batch: Sequence[Verdict]) -> list[Settled]:
        """Give right ones back, or go on."""
        return await self._write(partial(resets.settle_checks, batch=batch))

    async def change_passwords(self, batch: Sequence[PasswordChange]) -> list[Changed]:
        """Accept, and all that comes with it."""
        return await self._write(partial(resets.change_passwords, batch=batch))
