"""Messages on their way, of the memory store."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import structs

from otp_server.domain.budget import OUTBOX_MARGIN_MS
from otp_server.domain.process import FailureReason, ProcessStatus, RouteStatus
from otp_server.services.ports.outbox import MessageState
from otp_server.stores import process_rules as rules
from otp_server.stores.bounds import SWEEP_ROWS_MAX
from otp_server.stores.memory.process_state import MemoryProcessState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.challenge_type import Channel
    from otp_server.services.ports.outbox import DeliveryReport, LeasedMessage
    from otp_server.stores.memory.process_state import StoredMessage


class MemoryOutbox(MemoryProcessState):
    """What :mod:`otp_server.services.ports.outbox` asks, in dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self._turns: dict[Channel, str] = {}  # which tenant had the last turn

    def _in_state(self, channel: Channel, state: MessageState) -> list[StoredMessage]:
        return [
            message
            for message in self._messages.values()
            if message.channel is channel and message.state is state
        ]

    async def claim_messages(
        self, channel: Channel, *, now_ms: int, lease_until_ms: int, limit: int
    ) -> list[LeasedMessage]:
        """See :class:`otp_server.services.ports.OutboxStore`; so for all below."""
        await self._enter()
        held = self._in_state(channel, MessageState.LEASED)
        ran_out = [message for message in held if message.lease_until_ms <= now_ms]
        ran_out.sort(key=lambda message: (message.lease_until_ms, message.id))
        for message in ran_out[:SWEEP_ROWS_MAX]:
            self._report(rules.lost(message.id, message.lease or b"", now_ms))
        leased: list[LeasedMessage] = []
        spare = SWEEP_ROWS_MAX
        while len(leased) < limit and spare > 0:
            room = limit - len(leased)
            due = self._due(channel, now_ms)
            tenants = self._in_turn(channel, due)[:room]
            if not tenants:
                break
            share = max(1, room // len(tenants))
            for tenant in tenants:
                self._turns[channel] = tenant
                taken = 0
                for message in due[tenant][: share + max(spare, 0)]:
                    if taken == share:
                        break
                    if not self._is_wanted(message, now_ms):
                        void = replace(message, state=MessageState.VOID, updated_at_ms=now_ms)
                        self._messages[message.id] = void
                        spare -= 1
                        continue
                    leased.append(self._lease(message, now_ms, lease_until_ms))
                    taken += 1
        return leased

    def _due(self, channel: Channel, now_ms: int) -> dict[str, list[StoredMessage]]:
        """By tenant, the first due first."""
        due: dict[str, list[StoredMessage]] = {}
        for message in self._in_state(channel, MessageState.QUEUED):
            if message.due_at_ms <= now_ms:
                due.setdefault(message.tenant, []).append(message)
        for messages in due.values():
            messages.sort(key=lambda message: (message.due_at_ms, message.id))
        return due

    def _in_turn(self, channel: Channel, due: dict[str, list[StoredMessage]]) -> list[str]:
        """The tenants, those past the one that had the last turn first."""
        last = self._turns.get(channel, "")
        return sorted(due, key=lambda tenant: (tenant <= last, tenant))

    def _is_wanted(self, message: StoredMessage, now_ms: int) -> bool:
        process = self._processes[message.process_id]
        in_time = process.expires_at_ms - now_ms > OUTBOX_MARGIN_MS
        return in_time and message.generation == process.generation

    def _lease(self, message: StoredMessage, now_ms: int, lease_until_ms: int) -> LeasedMessage:
        lease = secrets.token_bytes(16)
        taken = self._messages[message.id] = replace(
            message,
            state=MessageState.LEASED,
            lease=lease,
            lease_until_ms=lease_until_ms,
            tries=message.tries + 1,
            updated_at_ms=now_ms,
        )
        process = self._processes[message.process_id]
        return rules.leased(process, taken.id, lease, taken.tries)

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
        await self._enter()
        queued = [each for each in self._in_state(channel, MessageState.QUEUED) if each.leaves]
        queued.sort(key=lambda message: (message.due_at_ms, message.id))
        left = 0
        for message in queued:
            process = self._processes[message.process_id]
            if left == limit:
                break
            if (
                not self._is_wanted(message, now_ms)
                or rules.next_route(process, now_ms, to) is None
            ):
                continue
            report = rules.left(message.id, provider, now_ms)
            self._messages[message.id] = replace(
                message, state=report.state, problem=report.problem, updated_at_ms=now_ms
            )
            self._append_audit([rules.delivery_line((process.tenant, process.uuid), report)])
            self._take_next_route(process, rules.SERVER, now_ms, to)
            left += 1
        return left

    async def report_deliveries(self, batch: Sequence[DeliveryReport]) -> list[bool]:
        """In order."""
        await self._enter()
        for report in batch:
            rules.require_reportable(report)
        return [self._report(report) for report in batch]

    def _report(self, report: DeliveryReport) -> bool:
        message = self._messages.get(report.message_id)
        if message is None or message.lease is None or message.lease != report.lease:
            return False
        process = self._processes[message.process_id]
        current = process.generation == message.generation
        current = current and rules.is_open_at(process, report.at_ms)
        again = report.state is MessageState.QUEUED
        self._messages[message.id] = replace(
            message,
            state=MessageState.VOID if again and not current else report.state,
            lease=None,
            lease_until_ms=0,
            problem=report.problem,
            due_at_ms=max(message.due_at_ms, report.not_before_ms if again else 0),
            updated_at_ms=report.at_ms,
        )
        told = process.tenant, process.uuid
        self._append_audit([rules.delivery_line(told, report)])
        if not current:
            return True
        if report.state in (MessageState.SENT, MessageState.UNCERTAIN):
            self._processes[process.id] = structs.replace(
                process,
                status=ProcessStatus.SENT,
                route_status=RouteStatus(report.state.value),
                updated_at_ms=report.at_ms,
            )
        elif report.state is MessageState.FAILED:
            at_ms, usable = report.at_ms, report.usable
            if self._take_next_route(process, rules.SERVER, at_ms, usable) is None:
                reason = FailureReason.UNDELIVERABLE
                self._fail(process, reason, rules.SERVER, report.at_ms)
        return True

    async def next_message_at(self, channel: Channel) -> int | None:
        """The earliest of both."""
        await self._enter()
        queued = [each.due_at_ms for each in self._in_state(channel, MessageState.QUEUED)]
        leased = [each.lease_until_ms for each in self._in_state(channel, MessageState.LEASED)]
        return min(queued + leased, default=None)
