"""Sessions in SQL: rows that are there until they end.

What a function promises is the sentence of its namesake in ``services/ports/accounts.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otp_server.domain.account import Session
from otp_server.stores import account_rules as rules
from otp_server.stores.bounds import SWEEP_ROWS_MAX
from otp_server.stores.sqlite import account_statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

    from otp_server.domain.audit import Actor
    from otp_server.services.ports.accounts import SignIn
    from otp_server.stores.sqlite.process_rows import ProcessWork

_COLUMNS = "digest, organisation, host, uid, created_at_ms, expires_at_ms"
_INSERT = f"INSERT INTO sessions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - our own words
_FIND = f"SELECT {_COLUMNS} FROM sessions WHERE digest = ?"  # noqa: S608 - our own words
_END = f"DELETE FROM sessions WHERE digest = ? RETURNING {_COLUMNS}"  # noqa: S608 - our own words
_END_OF = f"DELETE FROM sessions WHERE uid = ? OR digest = ? RETURNING {_COLUMNS}"  # noqa: S608 - our own words
_FORGET = (
    "DELETE FROM sessions WHERE digest IN (SELECT digest FROM sessions"
    " WHERE expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?)"
)


def add_session(connection: apsw.Connection, session: Session) -> None:
    """Insert one that is nobody's."""
    rules.require_anonymous(session)
    begin(connection, session)


def begin(connection: apsw.Connection, session: Session) -> None:
    """Insert, or AlreadyExists."""
    require_fresh(connection, session)
    connection.execute(
        _INSERT,
        (
            session.digest,
            session.organisation,
            session.host,
            session.uid,
            session.created_at_ms,
            session.expires_at_ms,
        ),
    )


def require_fresh(connection: apsw.Connection, session: Session) -> None:
    """Raises AlreadyExists for a digest that is there."""
    if _find(connection, session.digest) is not None:
        raise rules.session_taken()


def find_sessions(
    connection: apsw.Connection, digests: Sequence[bytes], now_ms: int
) -> list[Session | None]:
    """Look-ups."""
    kept = (_find(connection, digest) for digest in digests)
    return [session if session and session.expires_at_ms > now_ms else None for session in kept]


def sign_in(work: ProcessWork, asked: SignIn) -> bool:
    """One look at the version, and the change; writers are serial."""
    session, uid = asked.session, rules.signed_in_uid(asked.session)
    user = account_statements.find_user(work.connection, uid)
    if user is None or user.organisation != session.organisation:
        return False
    if not user.password_version or user.password_version != asked.password_version:
        return False
    require_fresh(work.connection, session)
    if asked.replaced is not None:
        for row in work.connection.execute(_END, (asked.replaced,)).fetchall():
            work.trail += rules.replaced(_session_of(row), asked)
    begin(work.connection, session)
    work.trail.append(rules.signed_in(session, asked.actor, session.created_at_ms))
    return True


def end_session(work: ProcessWork, digest: bytes, actor: Actor, at_ms: int) -> bool:
    """Delete it."""
    ended = [_session_of(row) for row in work.connection.execute(_END, (digest,)).fetchall()]
    if not ended or ended[0].expires_at_ms <= at_ms:
        return False
    work.trail += rules.signed_out(ended[0], "done", actor, at_ms)
    return True


def end_sessions_of(
    work: ProcessWork, uid: str, besides: bytes, actor: Actor, at_ms: int
) -> tuple[bytes, ...]:
    """Those of the user and the one given, because the password changed; their digests."""
    rows = work.connection.execute(_END_OF, (uid, besides)).fetchall()
    ended = sorted(map(_session_of, rows), key=lambda session: session.digest)
    for session in ended:
        work.trail += rules.signed_out(session, "password_changed", actor, at_ms)
    return tuple(session.digest for session in ended)


def sweep_sessions(connection: apsw.Connection, now_ms: int) -> int:
    """Delete, bounded."""
    connection.execute(_FORGET, (now_ms, SWEEP_ROWS_MAX))
    return connection.changes()


def _find(connection: apsw.Connection, digest: bytes) -> Session | None:
    row = connection.execute(_FIND, (digest,)).fetchone()
    return None if row is None else _session_of(row)


def _session_of(row: tuple[Any, ...]) -> Session:
    return Session(*row)
