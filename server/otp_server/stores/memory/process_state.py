"""What the memory store knows of processes, and how one ends or takes its next route."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from msgspec import structs

from otp_server.domain.process import FailureReason, ProcessStatus, RouteStatus
from otp_server.services.ports.outbox import MessageState
from otp_server.stores import process_rules as rules
from otp_server.stores.memory.settings import MemorySettings

if TYPE_CHECKING:
    from otp_server.domain.audit import Actor
    from otp_server.domain.challenge_type import Channel
    from otp_server.domain.process import Process
    from otp_server.services.ports.processes import IdempotencyClaim
    from otp_server.stores.process_rules import TakenClaim

    ClaimName = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message and its lease."""

    id: int
    process_id: int
    tenant: str
    generation: int
    route: int
    channel: Channel
    leaves: bool
    state: MessageState
    due_at_ms: int
    updated_at_ms: int
    tries: int = 0
    lease: bytes | None = None
    lease_until_ms: int = 0
    problem: str | None = None


def claim_name(tenant: str, claim: IdempotencyClaim) -> ClaimName:
    """Which call a claim is of."""
    return tenant, claim.client_id, claim.operation, claim.key


class MemoryProcessState(MemorySettings):
    """Dictionaries, and the changes that attempts, deliveries and sweeps share."""

    def __init__(self) -> None:
        super().__init__()
        self._processes: dict[int, Process] = {}  # by id, in order of insertion
        self._process_ids: dict[bytes, int] = {}  # by uuid
        self._last_process_id = 0
        self._of_contact: dict[tuple[str, int, bytes], list[int]] = {}  # by tenant, type, index
        self._counted_indexes: dict[int, tuple[bytes, ...]] = {}  # by process
        self._open_attempts: dict[int, dict[int, int]] = {}  # by process and number: when counted
        self._given_back: dict[int, int] = {}  # attempts, by process
        self._key_marks: dict[str, str] = {}  # by purpose
        self._failures: dict[tuple[str, bytes], tuple[int, int]] = {}  # how many, the last when
        self._claims: dict[ClaimName, tuple[TakenClaim, int]] = {}  # with their end
        self._messages: dict[int, StoredMessage] = {}
        self._messages_of: dict[int, list[int]] = {}  # by process, in order
        self._last_message_id = 0

    def _has_processes(self, tenant: str, type_id: int) -> bool:
        """See :class:`MemorySettings`."""
        return any(
            process.tenant == tenant and process.plan.type_id == type_id
            for process in self._processes.values()
        )

    def _find_process(self, tenant: str, uuid: bytes) -> Process | None:
        process = self._processes.get(self._process_ids.get(uuid, 0))
        return process if process is not None and process.tenant == tenant else None

    def _tell(
        self, process: tuple[str, bytes], action: str, outcome: str, actor: Actor, at_ms: int
    ) -> None:
        self._append_audit([rules.line(process, action, outcome, actor, at_ms)])

    def _enqueue(self, process: Process, at_ms: int) -> None:
        """The message of the process's generation and route, as they are now."""
        self._last_message_id += 1
        self._messages[self._last_message_id] = StoredMessage(
            id=self._last_message_id,
            process_id=process.id,
            tenant=process.tenant,
            generation=process.generation,
            route=process.route,
            channel=process.plan.routes[process.route].channel,
            leaves=rules.leaves(process.plan, process.route, rules.channels_of(process)),
            state=MessageState.QUEUED,
            due_at_ms=at_ms,
            updated_at_ms=at_ms,
        )
        self._messages_of.setdefault(process.id, []).append(self._last_message_id)

    def _void_queued(self, process_id: int, at_ms: int) -> None:
        for number in self._messages_of.get(process_id, ()):
            message = self._messages[number]
            if message.state is MessageState.QUEUED:
                self._messages[number] = replace(
                    message, state=MessageState.VOID, updated_at_ms=at_ms
                )

    def _places_of(self, process: Process) -> list[tuple[str, int, bytes]]:
        """Where ``_of_contact`` lists it."""
        return [
            (process.tenant, process.plan.type_id, contact.index)
            for contact in (process.phone, process.email)
            if contact is not None
        ]

    def _end_process(
        self, process: Process, status: ProcessStatus, failure: FailureReason | None, at_ms: int
    ) -> None:
        self._processes[process.id] = structs.replace(
            process, status=status, failure=failure, updated_at_ms=at_ms
        )
        self._void_queued(process.id, at_ms)

    def _fail(self, process: Process, reason: FailureReason, actor: Actor, at_ms: int) -> None:
        """For a reason of the process's own route."""
        exhausted = reason is FailureReason.EXHAUSTED
        route_status = RouteStatus.EXHAUSTED if exhausted else RouteStatus.FAILED
        ended = structs.replace(process, route_status=route_status)
        self._end_process(ended, ProcessStatus.FAILED, reason, at_ms)
        self._tell((process.tenant, process.uuid), "otp.end", reason.value, actor, at_ms)

    def _take_next_route(
        self, process: Process, actor: Actor, at_ms: int, usable: frozenset[Channel]
    ) -> Process | None:
        """None: there is none."""
        route = rules.next_route(process, at_ms, usable)
        if route is None:
            return None
        self._void_queued(process.id, at_ms)
        moved = self._processes[process.id] = rules.moved(process, route, at_ms)
        self._enqueue(moved, at_ms)
        self._tell((process.tenant, process.uuid), "otp.route", "next", actor, at_ms)
        return moved

    def _go_on(self, process_id: int, actor: Actor, at_ms: int, usable: frozenset[Channel]) -> None:
        """After an attempt that was not accepted; nothing while another may be right."""
        process = self._processes.get(process_id)
        if process is None or not rules.is_open_at(process, at_ms):
            return
        if self._open_attempts.get(process_id):
            return
        if rules.are_attempts_used_up(process):
            self._fail(process, FailureReason.EXHAUSTED, actor, at_ms)
        elif rules.is_route_used_up(process):
            self._take_next_route(process, actor, at_ms, usable)
