"""OTP processes, the outbox and the audit trail, of the SQLite store."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from otp_server.domain.challenge_type import EVERY_CHANNEL
from otp_server.services.ports.processes import ID_MAX, STARTS_PAGE, Started
from otp_server.stores.sqlite import attempt_statements as attempts
from otp_server.stores.sqlite import audit_statements as audit
from otp_server.stores.sqlite import key_statements as keys
from otp_server.stores.sqlite import outbox_leaving as leaving
from otp_server.stores.sqlite import outbox_statements as outbox
from otp_server.stores.sqlite import process_statements as processes
from otp_server.stores.sqlite import search_statements as search
from otp_server.stores.sqlite import settle_statements as settling
from otp_server.stores.sqlite import start_statements as starts
from otp_server.stores.sqlite.plan_statements import PlanCache
from otp_server.stores.sqlite.process_keys import KEY_BYTES, ProcessKeys
from otp_server.stores.sqlite.process_rows import ProcessWork
from otp_server.stores.sqlite.workers import SqliteWorkers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import apsw

    from otp_server.domain.audit import Actor, AuditEntry
    from otp_server.domain.challenge_type import Channel
    from otp_server.domain.process import Delivery, Process
    from otp_server.services.ports.outbox import DeliveryReport, LeasedMessage
    from otp_server.services.ports.processes import (
        ClaimRefusal,
        CountOutcome,
        IdempotencyClaim,
        NewAttempt,
        NewProcess,
        ProcessQuery,
        Settled,
        StartOutcome,
        StartRecord,
        Verdict,
    )
    from otp_server.stores.sqlite.connection import Database

    Undo = Callable[[apsw.Connection], object]

T = TypeVar("T")


class SqliteProcesses(SqliteWorkers):
    """What the ports ``processes``, ``outbox`` and ``audit`` ask, in SQL."""

    def __init__(self, database: Database) -> None:
        self._keys = ProcessKeys()
        super().__init__(database)
        self._writer_plans = PlanCache()
        self._reader_plans = PlanCache()
        self._turns: dict[Channel, str] = {}  # the writer's: which tenant had the last turn

    async def _write(self, change: Callable[[ProcessWork], T], undo: Undo | None = None) -> T:
        """``change`` and its audit lines, in one operation of the writer."""

        def run(connection: apsw.Connection) -> T:
            work = ProcessWork(connection, self._writer_plans, self._keys)
            try:
                result = change(work)
                work.finish()
            except BaseException:
                self._keys.undone()
                raise
            return result

        return await self._writer.call(run, undo)

    async def _read(self, look: Callable[[ProcessWork], T]) -> T:
        plans, keys = self._reader_plans, self._keys
        return await self._reader.call(
            lambda connection: look(ProcessWork(connection, plans, keys))
        )

    async def read_keys(self) -> None:
        """Read what processes are found by, so that nobody has to wait for it later.

        Raises StoreUnavailable.
        """
        await self._read(lambda work: work.keys.find(work.connection, [bytes(KEY_BYTES)]))

    def _write_ended(self, *, committed: bool) -> None:
        self._keys.ended(committed=committed)

    # Processes.

    async def start_processes(self, batch: Sequence[NewProcess]) -> list[StartOutcome]:
        """See :class:`otp_server.services.ports.ProcessStore`; so for the next ones."""
        leased: list[LeasedMessage] = []

        def start(work: ProcessWork) -> list[StartOutcome]:
            outcomes = starts.start_processes(work, batch)
            leased.extend(
                outcome.message
                for outcome in outcomes
                if isinstance(outcome, Started) and outcome.message is not None
            )
            return outcomes

        if all(item.lease is None for item in batch):
            return await self._write(start)
        return await self._write(start, lambda connection: leaving.give_back(connection, leased))

    async def count_attempts(self, batch: Sequence[NewAttempt]) -> list[CountOutcome]:
        """Count, before anybody compares."""
        return await self._write(partial(attempts.count_attempts, batch=batch))

    async def settle_attempts(self, batch: Sequence[Verdict]) -> list[Settled]:
        """Accept, or go on."""
        return await self._write(partial(settling.settle_attempts, batch=batch))

    async def recall_starts(
        self, batch: Sequence[tuple[str, IdempotencyClaim]], now_ms: int
    ) -> list[Started | ClaimRefusal | None]:
        """What earlier starts with these claims were answered."""
        return await self._read(partial(starts.recall_starts, batch=batch, at_ms=now_ms))

    async def find_process(self, tenant: str, uuid: bytes) -> Process | None:
        """One process."""
        return await self._read(partial(search.find_process, tenant=tenant, uuid=uuid))

    async def search_processes(self, query: ProcessQuery) -> list[tuple[Process, list[Delivery]]]:
        """A page, newest first."""
        return await self._read(partial(search.search_processes, query=query))

    async def starts_since(
        self, at_ms: int, *, after_id: int = ID_MAX, limit: int = STARTS_PAGE
    ) -> list[StartRecord]:
        """A page of the starts after ``at_ms``."""
        return await self._read(partial(search.starts_since, after=(at_ms, after_id), limit=limit))

    async def contact_failures(self, tenant: str, index: bytes) -> int:
        """Wrong codes in a row."""
        return await self._read(partial(attempts.contact_failures, tenant=tenant, index=index))

    async def forgive_contact(self, tenant: str, index: bytes, actor: Actor, at_ms: int) -> bool:
        """Forget a contact's failures."""
        return await self._write(
            partial(attempts.forgive_contact, tenant=tenant, index=index, actor=actor, at_ms=at_ms)
        )

    async def key_ids_in_use(self, now_ms: int) -> set[str]:
        """The keys of open processes."""
        return await self._read(partial(search.key_ids_in_use, now_ms=now_ms))

    async def sealing_key_ids_in_use(self, now_ms: int) -> set[str]:
        """The keys of their contacts."""
        return await self._read(partial(search.sealing_key_ids_in_use, now_ms=now_ms))

    async def mark_key(self, purpose: str, fingerprint: str, *, anew: bool = False) -> str:
        """Which key serves a purpose."""
        return await self._write(
            partial(keys.mark_key, purpose=purpose, fingerprint=fingerprint, anew=anew)
        )

    async def sweep_processes(
        self,
        now_ms: int,
        *,
        forget_before_ms: int,
        usable: frozenset[Channel] = EVERY_CHANNEL,
    ) -> int:
        """End and forget, bounded."""
        return await self._write(
            partial(
                processes.sweep_processes,
                now_ms=now_ms,
                forget_before_ms=forget_before_ms,
                usable=usable,
            )
        )

    # The outbox.

    async def claim_messages(
        self, channel: Channel, *, now_ms: int, lease_until_ms: int, limit: int
    ) -> list[LeasedMessage]:
        """See :class:`otp_server.services.ports.OutboxStore`; so for the next ones."""
        leased: list[LeasedMessage] = []

        def claim(work: ProcessWork) -> list[LeasedMessage]:
            leased.extend(
                outbox.claim_messages(
                    work,
                    channel,
                    now_ms=now_ms,
                    lease_until_ms=lease_until_ms,
                    limit=limit,
                    turns=self._turns,
                )
            )
            return leased

        return await self._write(claim, lambda connection: leaving.give_back(connection, leased))

    async def leave_channel(
        self,
        channel: Channel,
        *,
        to: frozenset[Channel],
        provider: str,
        now_ms: int,
        limit: int,
    ) -> int:
        """Fail what can go elsewhere."""
        return await self._write(
            partial(
                leaving.leave_channel,
                channel=channel,
                to=to,
                provider=provider,
                now_ms=now_ms,
                limit=limit,
            )
        )

    async def report_deliveries(self, batch: Sequence[DeliveryReport]) -> list[bool]:
        """What became of leased messages."""
        return await self._write(partial(outbox.report_deliveries, batch=batch))

    async def next_message_at(self, channel: Channel) -> int | None:
        """When there will be something to do."""
        return await self._read(partial(outbox.next_message_at, channel=channel))

    # The audit trail.

    async def append_audit(self, entries: Sequence[AuditEntry]) -> None:
        """See :class:`otp_server.services.ports.AuditStore`; so for the next one."""
        await self._writer.call(partial(audit.append, entries=entries))

    async def audit_after(self, seq: int, limit: int) -> list[tuple[int, AuditEntry, bytes, bytes]]:
        """A page of the trail."""
        return await self._reader.call(partial(audit.audit_after, seq=seq, limit=limit))
