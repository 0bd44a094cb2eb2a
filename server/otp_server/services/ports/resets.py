"""What a store must do for the codes of the svc face: a secret beside an OTP process.

A reset is an OTP process (``processes.py``) and the secret that names it to one session. Sending,
counting and comparing are the engine's: ``count_attempts`` comes first here too. What differs is
the end: a check that found the code right ends nothing, and the change of the password ends all.

A decoy (``uid`` None) is a reset for an e-mail that has no account, where accounts are not
revealed: it costs what another costs, its message is void at once, and it can end in nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.account import Session
    from otp_server.services.ports.processes import NewProcess, Settled, Verdict


@dataclass(frozen=True, slots=True)
class Reset:
    """A secret as stored: only its digest, and what it is bound to (requirement 29)."""

    secret_digest: bytes
    tenant: str
    uuid: bytes
    """Of its process."""
    uid: str | None
    email_index: bytes
    session_digest: bytes
    method: str
    created_at_ms: int
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class NewReset:
    """A reset to begin. ``process`` has ``supersedes`` False: see ``start_resets``."""

    process: NewProcess
    reset: Reset


@dataclass(frozen=True, slots=True)
class PasswordChange:
    """A right verdict that is to change a password. ``password`` is the new one's hash.

    ``session`` is the caller's new one, signed in; ``notice`` the mail that tells the user.
    """

    verdict: Verdict
    uid: str
    password: str = field(repr=False)
    session: Session
    notice: NewProcess


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of a change. ``ended``: digests of the sessions that it ended."""

    settled: Settled
    ended: tuple[bytes, ...] = ()


class ResetStore(Protocol):
    """Resets."""

    async def start_resets(self, batch: Sequence[NewReset]) -> None:
        """In order: store each with its process and message, as ``start_processes`` does.

        Open processes of older resets of the same session, e-mail and method fail as superseded;
        those of other sessions stay, so nobody can end another's by asking (requirement 92). The
        message of a decoy is void from the start. Raises AlreadyExists for a uuid or a secret used
        before, and nothing is stored. A reset is forgotten with its process
        (``sweep_processes``). ValueError for a reset that is not of its process.
        """

    async def find_resets(self, secret_digests: Sequence[bytes]) -> list[Reset | None]:
        """Each by index; None: no such secret. Whether its process is open is not asked."""

    async def settle_checks(self, batch: Sequence[Verdict]) -> list[Settled]:
        """As ``settle_attempts``, but what is right ends nothing.

        Right, and the process open, of the same generation and not past its time: ACCEPTED is
        answered (the trail says ``checked``), the attempt is given back to process, route and
        contact, and all else stays as it is: the code stays good, and the contact's failures are
        only forgotten when it is used up.
        Who so proved to have the code need not wait before using it, whatever failures there are.
        However often it is settled, an attempt is given back once, and never when it was taken for
        wrong before (``sweep_processes``). Of a decoy, and of what is no reset, nothing is right.
        """

    async def change_passwords(self, batch: Sequence[PasswordChange]) -> list[Changed]:
        """In order: settle each verdict, and change the password of those that are ACCEPTED.

        In one transaction: set the password and count its version up, end every session of the
        user and the session that the secret was bound to, begin ``session``, fail the user's other
        open resets as superseded, and store the notice with its message. Exactly one can win a
        process. A verdict is settled as wrong, and nothing else changes, when its reset is a decoy
        or not of ``uid``; as a late one when the session that the secret was bound to is not there
        any more, or past its time at the verdict's: a call does not outlive its session.
        AlreadyExists for a session or a notice that is there.
        """


__all__ = ["Changed", "NewReset", "PasswordChange", "Reset", "ResetStore"]
