"""What every store says of accounts, sessions and resets alike: refusals, audit lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.domain.account import tenant_of
from otp_server.domain.audit import AuditEntry
from otp_server.errors import AlreadyExists
from otp_server.stores import process_rules

if TYPE_CHECKING:
    from otp_server.domain.account import Session, User
    from otp_server.domain.audit import Actor
    from otp_server.services.ports.accounts import SignIn
    from otp_server.services.ports.processes import NewProcess
    from otp_server.services.ports.resets import NewReset, PasswordChange, Reset

# What only a bug of the caller brings: ValueError.


def require_anonymous(session: Session) -> None:
    """Raises ValueError for a session that says it is signed in: only ``sign_in`` makes those."""
    if session.uid is not None:
        raise ValueError("a session is added before anybody signs in")


def signed_in_uid(session: Session) -> str:
    """Whose session it is.

    Raises:
        ValueError: nobody's.
    """
    if session.uid is None:
        raise ValueError("the new session is nobody's")
    return session.uid


def require_reset(item: NewReset) -> None:
    """Raises ValueError for a reset that is not of its process, or a process that is no reset's."""
    process, reset = item.process, item.reset
    index = None if process.email is None else process.email.index
    of_process = (process.tenant, process.uuid, process.created_at_ms, process.expires_at_ms)
    if (reset.tenant, reset.uuid, reset.created_at_ms, reset.expires_at_ms) != of_process:
        raise ValueError("the reset is not of its process")
    if reset.email_index != index:
        raise ValueError("the reset is not for the e-mail that its process writes to")
    _require_plain(process)
    if process.supersedes:
        raise ValueError("the process of a reset ends no other; its reset does")


def require_change(item: PasswordChange) -> None:
    """Raises ValueError for a session or a notice that is not of the user."""
    session, notice = item.session, item.notice
    if session.uid != item.uid:
        raise ValueError("the new session is not of the user whose password is set")
    tenant = item.verdict.counted.tenant
    if (tenant_of(session.organisation), notice.tenant) != (tenant, tenant):
        raise ValueError("the new session or the notice is of another organisation")
    _require_plain(notice)


def _require_plain(process: NewProcess) -> None:
    process_rules.first_contact(process)
    if process.claim is not None or process.settings_version != 0:
        raise ValueError("a process of the svc face has neither claim nor settings")


def is_for(reset: Reset | None, uid: str) -> bool:
    """Whether the secret is the user's: a decoy is nobody's."""
    return reset is not None and reset.uid == uid


def email_taken(user: User) -> AlreadyExists:
    """The organisation's e-mail has an account already; the address is not named."""
    return AlreadyExists("email", f"the same address in {user.organisation}")


def session_taken() -> AlreadyExists:
    """Two sessions of one digest: random ids never collide, so it is a bug of the caller."""
    return AlreadyExists("session", "the same digest")


def secret_taken() -> AlreadyExists:
    """Two secrets of one digest, likewise."""
    return AlreadyExists("secret", "the same digest")


# The audit trail. A user is named by its uid, never by its e-mail.


def user_added(user: User, actor: Actor) -> AuditEntry:
    """The line of a new account."""
    return _line(user.organisation, user.uid, "user.add", "done", actor, user.created_at_ms)


def password_changed(organisation: str, uid: str, actor: Actor, at_ms: int) -> AuditEntry:
    """The line of a new password."""
    return _line(organisation, uid, "user.password", "changed", actor, at_ms)


def signed_in(session: Session, actor: Actor, at_ms: int) -> AuditEntry:
    """The line of a session that a user began."""
    uid = signed_in_uid(session)
    return _line(session.organisation, uid, "user.sign_in", "done", actor, at_ms)


def signed_out(session: Session, why: str, actor: Actor, at_ms: int) -> list[AuditEntry]:
    """The line of a session's end; there is none of one that was nobody's."""
    if session.uid is None:
        return []
    return [_line(session.organisation, session.uid, "user.sign_out", why, actor, at_ms)]


def replaced(session: Session, asked: SignIn) -> list[AuditEntry]:
    """The line of the session that a new one takes the place of."""
    return signed_out(session, "replaced", asked.actor, asked.session.created_at_ms)


def reset_started(item: NewReset) -> AuditEntry:
    """The line of a secret sent, or of a decoy."""
    process, word = item.process, "decoy" if item.reset.uid is None else "started"
    told = (process.tenant, process.uuid)
    return process_rules.line(told, "reset.start", word, process.actor, process.created_at_ms)


def _line(
    organisation: str, uid: str, action: str, outcome: str, actor: Actor, at_ms: int
) -> AuditEntry:
    return AuditEntry(
        at_ms=at_ms,
        tenant=tenant_of(organisation),
        actor=actor.name,
        address=actor.address or "",
        action=action,
        subject=f"user:{uid}",
        outcome=outcome,
    )
