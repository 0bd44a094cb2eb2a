"""The codes of the svc face: sent, checked, and used to set a password.

A code is an OTP process of the organisation's own tenant, beside a secret that names it to the
session that asked for it (``services/ports/resets.py``). Deriving, counting, comparing and
delivering are the engine's.

    otp.send           services/reset_sends.py
    otp.verify         services/reset_checks.py
    otp.set_password   services/reset_changes.py

Batches share their calls of the store: one to find accounts, one to find secrets, one to count, one
to settle or change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.services.reset_attempts import ResetAttempts
from otp_server.services.reset_changes import PasswordParts, ResetChanges
from otp_server.services.reset_checks import ResetChecks
from otp_server.services.reset_parts import ResetParts, ResetRules
from otp_server.services.reset_processes import ResetProcesses
from otp_server.services.reset_reading import ResetReader
from otp_server.services.reset_sends import ResetSends
from otp_server.services.start_journal import walk_starts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.account_outcome import ChangeOutcome, CheckOutcome, SendOutcome
    from otp_server.services.delivery_watch import DeliveryWatch
    from otp_server.services.reset_calls import Change, Check, Send

__all__ = ["PasswordParts", "ResetParts", "ResetRules", "ResetService"]


class ResetService:
    """All three. Nothing of the store is raised: its failures are outcomes."""

    def __init__(
        self, parts: ResetParts, *, passwords: PasswordParts, watch: DeliveryWatch
    ) -> None:
        """``watch`` is told by the delivery workers (``DeliveryParts.watch``)."""
        self._parts = parts
        rules = parts.rules
        processes = ResetProcesses(
            parts.keyring,
            parts.vault,
            code_ttl_s=rules.code_ttl_s,
            attempts_max=rules.attempts_max,
        )
        reader = ResetReader(parts.store, parts.accounts, parts.sockets)
        attempts = ResetAttempts(parts)
        self._sends = ResetSends(parts, reader, processes, watch)
        self._checks = ResetChecks(reader, attempts, reveal=rules.reveal_accounts)
        self._changes = ResetChanges(parts, passwords, reader, attempts, processes)

    async def restore(self) -> int:
        """Charge the limits with the codes the store remembers; how many. Call once at start.

        Raises StoreUnavailable, and LimiterFull (``ResetLimits.restore``).
        """
        limits, now_ms = self._parts.limits, self._parts.clock.now_ms()
        return await walk_starts(
            self._parts.store,
            now_ms - limits.longest_window_ms,
            lambda page: limits.restore(page, now_ms),
        )

    async def send_many(self, sends: Sequence[Send]) -> list[SendOutcome]:
        """Send each a code, and say whether it was delivered in time; a batch waits for all.

        Cancellation: once charged, the code is stored all the same; nobody waits for its delivery.
        Where the store did not answer at all the code may yet arrive, and its secret is nobody's.
        """
        return await self._sends.send_many(sends)

    async def check_many(self, checks: Sequence[Check]) -> list[CheckOutcome]:
        """Check each code; a right one stays good.

        Cancellation: once charged, the rest runs to its end (``services/store_wait.py``), so that a
        leaving client cannot un-count an attempt.
        """
        return await self._checks.check_many(checks)

    async def change_many(self, changes: Sequence[Change]) -> list[ChangeOutcome]:
        """Set each password, if its code is right; of those with one code exactly one can win.

        Cancellation: until the password is judged nothing is begun; once charged, the rest runs to
        its end, within seconds.
        """
        return await self._changes.change_many(changes)
