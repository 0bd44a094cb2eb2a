"""Resets in SQL: secrets beside processes, and the change of a password in one transaction.

What a function promises is the sentence of its namesake in ``services/ports/resets.py``. Attempts
are settled by ``settle_statements``, so a process is accepted by the same one guarded update.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import structs

from otp_server.domain.account import tenant_of
from otp_server.services.ports.processes import Settled
from otp_server.services.ports.resets import Changed, Reset
from otp_server.stores import account_rules as rules
from otp_server.stores.sqlite import (
    account_statements,
    process_statements,
    session_statements,
    settle_statements,
    start_statements,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.audit import Actor
    from otp_server.services.ports.processes import Verdict
    from otp_server.services.ports.resets import NewReset, PasswordChange
    from otp_server.stores.sqlite.process_rows import ProcessWork

_INSERT = (
    "INSERT INTO resets (secret_digest, process_id, uid, email_index, session_digest, method,"
    " expires_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_SELECT = (
    "SELECT r.secret_digest, p.tenant, p.uuid, r.uid, r.email_index, r.session_digest, r.method,"
    " p.created_at_ms, p.expires_at_ms"
    " FROM resets AS r CROSS JOIN processes AS p ON p.id = r.process_id"
)
_BY_SECRET = f"{_SELECT} WHERE r.secret_digest = ?"
_BY_PROCESS = f"{_SELECT} WHERE r.process_id = ? AND p.uuid = ?"
_IS_USED = "SELECT 1 FROM resets WHERE secret_digest = ?"
_OPEN = (
    "SELECT p.id, p.tenant, p.uuid FROM resets AS r"
    " CROSS JOIN processes AS p ON p.id = r.process_id WHERE {of} AND p.tenant = ?"
    " AND r.expires_at_ms > ? AND p.status IN ('new', 'sent') ORDER BY r.process_id"
)
_OPEN_ASKED = _OPEN.format(of="r.session_digest = ? AND r.email_index = ? AND r.method = ?")
_OPEN_OF_USER = _OPEN.format(of="r.uid = ?")


def start_resets(work: ProcessWork, batch: Sequence[NewReset]) -> None:
    """In order, so an item meets the processes of those before it."""
    secrets: set[bytes] = set()
    for item in batch:
        rules.require_reset(item)
        digest = item.reset.secret_digest
        used = work.connection.execute(_IS_USED, (digest,)).fetchone()
        if digest in secrets or used is not None:
            raise rules.secret_taken()
        secrets.add(digest)
    start_statements.require_fresh(work, [item.process for item in batch])
    for item in batch:
        _start(work, item)


def _start(work: ProcessWork, item: NewReset) -> None:
    reset, new = item.reset, item.process
    asked = (reset.session_digest, reset.email_index, reset.method, reset.tenant)
    _supersede(work, _OPEN_ASKED, asked, new.actor, new.created_at_ms)
    process_id = start_statements.begin(work, new, void=reset.uid is None)
    work.connection.execute(
        _INSERT,
        (
            reset.secret_digest,
            process_id,
            reset.uid,
            reset.email_index,
            reset.session_digest,
            reset.method,
            reset.expires_at_ms,
        ),
    )
    work.trail.append(rules.reset_started(item))


def _supersede(
    work: ProcessWork, which: str, bindings: tuple[object, ...], actor: Actor, at_ms: int
) -> None:
    """Fail the open processes that ``which`` finds."""
    rows: Any = work.connection.execute(which, (*bindings, at_ms)).fetchall()
    for process_id, tenant, uuid in rows:
        process_statements.supersede(work, process_id, (tenant, uuid), actor, at_ms)


def find_resets(work: ProcessWork, secret_digests: Sequence[bytes]) -> list[Reset | None]:
    """Look-ups."""
    rows = (work.connection.execute(_BY_SECRET, (each,)).fetchone() for each in secret_digests)
    return [None if row is None else Reset(*row) for row in rows]


def _reset_of(work: ProcessWork, verdict: Verdict) -> Reset | None:
    """The reset of the verdict's process; None: it is no reset's, or is forgotten."""
    counted = verdict.counted
    row: Any = work.connection.execute(_BY_PROCESS, (counted.process_id, counted.uuid)).fetchone()
    return None if row is None else Reset(*row)


def settle_checks(work: ProcessWork, batch: Sequence[Verdict]) -> list[Settled]:
    """Of what is no user's reset nothing is right."""
    said: list[Verdict] = []
    for verdict in batch:
        reset = _reset_of(work, verdict)
        is_real = reset is not None and reset.uid is not None
        said.append(verdict if is_real else structs.replace(verdict, right=False))
    return settle_statements.settle_checks(work, said)


def change_passwords(work: ProcessWork, batch: Sequence[PasswordChange]) -> list[Changed]:
    """In order."""
    digests: set[bytes] = set()
    for item in batch:
        rules.require_change(item)
        session_statements.require_fresh(work.connection, item.session)
        if item.session.digest in digests:
            raise rules.session_taken()
        digests.add(item.session.digest)
    start_statements.require_fresh(work, [item.notice for item in batch])
    return [_change(work, item) for item in batch]


def _change(work: ProcessWork, item: PasswordChange) -> Changed:
    verdict, uid = item.verdict, item.uid
    reset = _reset_of(work, verdict)
    user = account_statements.find_user(work.connection, uid)
    ours = user is not None and tenant_of(user.organisation) == verdict.counted.tenant
    if not ours or not rules.is_for(reset, uid):
        verdict = structs.replace(verdict, right=False)
    if reset is not None and not _is_session_alive(work, reset, verdict.at_ms):
        return Changed(settle_statements.settle_late(work, verdict))
    [settled] = settle_statements.settle_attempts(work, [verdict])
    if settled is not Settled.ACCEPTED or user is None or reset is None:
        return Changed(settled)
    actor, at_ms = verdict.actor, verdict.at_ms
    account_statements.set_password(work.connection, uid, item.password)
    work.trail.append(rules.password_changed(user.organisation, uid, actor, at_ms))
    ended = session_statements.end_sessions_of(work, uid, reset.session_digest, actor, at_ms)
    session_statements.begin(work.connection, item.session)
    work.trail.append(rules.signed_in(item.session, actor, at_ms))
    _supersede(work, _OPEN_OF_USER, (uid, reset.tenant), actor, at_ms)
    start_statements.begin(work, item.notice)
    notice = item.notice
    work.tell(
        (notice.tenant, notice.uuid), "otp.init", "started", notice.actor, notice.created_at_ms
    )
    return Changed(settled, ended)


def _is_session_alive(work: ProcessWork, reset: Reset, at_ms: int) -> bool:
    """Whether the session that the secret was bound to is there."""
    [session] = session_statements.find_sessions(work.connection, [reset.session_digest], at_ms)
    return session is not None
