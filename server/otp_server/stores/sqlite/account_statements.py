"""Accounts in SQL. Their passwords are in a table of their own, which only two functions touch.

What a function promises is the sentence of its namesake in ``services/ports/accounts.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otp_server.domain.account import User
from otp_server.domain.process import SealedContact
from otp_server.errors import AlreadyExists
from otp_server.stores import account_rules as rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

    from otp_server.domain.audit import Actor
    from otp_server.services.ports.accounts import UserKey
    from otp_server.stores.sqlite.process_rows import ProcessWork

_COLUMNS = (
    "uid, organisation, email_index, email_sealed, firstname, lastname, created_at_ms,"
    " password_version"
)
_INSERT = (
    f"INSERT INTO users ({_COLUMNS}, email_key_id)"  # noqa: S608 - our own words
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_BY_UID = f"SELECT {_COLUMNS} FROM users WHERE uid = ?"  # noqa: S608 - our own words
_BY_EMAIL = f"SELECT {_COLUMNS} FROM users WHERE email_index = ? AND organisation = ?"  # noqa: S608 - our own words
_PAGE = f"SELECT {_COLUMNS} FROM users WHERE uid > ? ORDER BY uid LIMIT ?"  # noqa: S608 - our own words
_PASSWORD = "SELECT password_hash FROM passwords WHERE uid = ?"  # noqa: S105 - a statement
_PUT_PASSWORD = "INSERT OR REPLACE INTO passwords (uid, password_hash) VALUES (?, ?)"  # noqa: S105 - a statement
_NEXT_VERSION = "UPDATE users SET password_version = password_version + 1 WHERE uid = ?"
_KEY_IDS = (
    "WITH RECURSIVE held (id) AS (SELECT min(email_key_id) FROM users"
    " UNION ALL SELECT (SELECT min(email_key_id) FROM users WHERE email_key_id > id)"
    " FROM held WHERE id IS NOT NULL)"
    " SELECT id FROM held WHERE id IS NOT NULL"
)
"""A step in the index for each key, not each account."""


def add_user(work: ProcessWork, user: User, password: str | None, actor: Actor) -> None:
    """Insert, or AlreadyExists."""
    if _by_uid(work.connection, user.uid) is not None:
        raise AlreadyExists("uid", user.uid)
    if _by_email(work.connection, user.organisation, user.email.index) is not None:
        raise rules.email_taken(user)
    work.connection.execute(
        _INSERT,
        (
            user.uid,
            user.organisation,
            user.email.index,
            user.email.sealed,
            user.firstname,
            user.lastname,
            user.created_at_ms,
            int(password is not None),
            user.email.key_id,
        ),
    )
    if password is not None:
        work.connection.execute(_PUT_PASSWORD, (user.uid, password))
    work.trail.append(rules.user_added(user, actor))


def find_users(connection: apsw.Connection, keys: Sequence[UserKey]) -> list[User | None]:
    """Look-ups."""
    return [_find(connection, key) for key in keys]


def _find(connection: apsw.Connection, key: UserKey) -> User | None:
    if key.uid is not None:
        user = _by_uid(connection, key.uid)
        return user if user is not None and user.organisation == key.organisation else None
    if key.email_index is None:
        return None
    return _by_email(connection, key.organisation, key.email_index)


def find_user(connection: apsw.Connection, uid: str) -> User | None:
    """One, of whatever organisation."""
    return _by_uid(connection, uid)


def list_users(connection: apsw.Connection, after_uid: str, limit: int) -> list[User]:
    """A page."""
    return [_user_of(row) for row in connection.execute(_PAGE, (after_uid, limit))]


def find_password(connection: apsw.Connection, uid: str) -> str | None:
    """A look-up."""
    row: Any = connection.execute(_PASSWORD, (uid,)).fetchone()
    return None if row is None else str(row[0])


def set_password(connection: apsw.Connection, uid: str, password: str) -> None:
    """A new hash in place of what there was, of an account that is there."""
    connection.execute(_PUT_PASSWORD, (uid, password))
    connection.execute(_NEXT_VERSION, (uid,))


def sealing_key_ids(connection: apsw.Connection) -> set[str]:
    """The keys that e-mails of accounts are sealed under."""
    rows: Any = connection.execute(_KEY_IDS)
    return {key_id for (key_id,) in rows}


def _by_uid(connection: apsw.Connection, uid: str) -> User | None:
    row = connection.execute(_BY_UID, (uid,)).fetchone()
    return None if row is None else _user_of(row)


def _by_email(connection: apsw.Connection, organisation: str, index: bytes) -> User | None:
    row = connection.execute(_BY_EMAIL, (index, organisation)).fetchone()
    return None if row is None else _user_of(row)


def _user_of(row: tuple[Any, ...]) -> User:
    uid, organisation, index, sealed, *rest = row
    return User(uid, organisation, SealedContact(index, sealed), *rest)
