"""What every store says of processes alike: refusals, routes left, claims, audit lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import structs

from otp_server.domain.audit import Actor, AuditEntry
from otp_server.domain.budget import (
    CLAIM_PATIENCE_MS,
    FAILURES_MAX,
    OUTBOX_MARGIN_MS,
    ROUTE_WAIT_MS,
    wait_after_ms,
)
from otp_server.domain.challenge_type import Channel
from otp_server.domain.process import CLOCK_SKEW_MS, FailureReason, ProcessStatus, RouteStatus
from otp_server.domain.process_id import format_uuid
from otp_server.services.ports.delivery import SendProblem
from otp_server.services.ports.outbox import DeliveryReport, LeasedMessage, MessageState
from otp_server.services.ports.processes import (
    AttemptRefusal,
    AttemptReplayed,
    AttemptWait,
    ClaimRefusal,
    Counted,
    Settled,
    Started,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.challenge_type import Plan
    from otp_server.domain.process import Process, SealedContact
    from otp_server.services.ports.outbox import FirstLease
    from otp_server.services.ports.processes import (
        CountOutcome,
        NewAttempt,
        NewProcess,
        Verdict,
    )
    from otp_server.stores.tried import Tried

# Processes.

SERVER = Actor("server")

_ENDED = {
    FailureReason.EXHAUSTED: AttemptRefusal.EXHAUSTED,
    FailureReason.SUPERSEDED: AttemptRefusal.SUPERSEDED,
    FailureReason.UNDELIVERABLE: AttemptRefusal.UNDELIVERABLE,
}


_OPEN = (ProcessStatus.NEW, ProcessStatus.SENT)


def is_open_at(process: Process | Tried, at_ms: int) -> bool:
    """Whether a code of it may be accepted at ``at_ms``."""
    return process.status in _OPEN and at_ms < process.expires_at_ms


def is_acceptable(process: Process | Tried, verdict: Verdict) -> bool:
    """Whether a right verdict may be accepted: it is of this generation, and the process open."""
    counted = verdict.counted
    return (
        process.uuid == counted.uuid
        and process.generation == counted.generation
        and is_open_at(process, verdict.at_ms)
    )


def refusal_of(process: Process | Tried, at_ms: int, *, counted: bool) -> AttemptRefusal | None:
    """Why an attempt at ``at_ms`` must not be compared; None: as far as the process goes, it may.

    An attempt that is ``counted`` already may be the last one allowed.
    """
    if process.status in _OPEN:
        if not process.created_at_ms - CLOCK_SKEW_MS <= at_ms < process.expires_at_ms:
            return AttemptRefusal.EXPIRED
        used_up = are_attempts_used_up(process) and not counted
        return AttemptRefusal.EXHAUSTED if used_up else None
    if process.failure is not None:
        return _ENDED[FailureReason(process.failure)]
    accepted = process.status == ProcessStatus.ACCEPTED
    return AttemptRefusal.ACCEPTED if accepted else AttemptRefusal.EXPIRED


def budget_refusal(
    failures: int, last_at_ms: int, at_ms: int
) -> AttemptRefusal | AttemptWait | None:
    """Why a contact with so many failures, the last of them then, may not be tried at ``at_ms``."""
    if failures >= FAILURES_MAX:
        return AttemptRefusal.LOCKED
    wait_ms = wait_after_ms(failures)
    left_ms = last_at_ms + wait_ms - at_ms
    return AttemptWait(left_ms) if wait_ms and left_ms > 0 else None


def failure_given_back(failures: int, last_at_ms: int, at_ms: int) -> tuple[int, int]:
    """Failures of a contact, and the last of them, after one was none: a check found it right.

    Whoever proved to have the code at ``at_ms`` is not made to wait before using it.
    """
    left = failures - 1
    return left, min(last_at_ms, at_ms - wait_after_ms(left))


def are_attempts_used_up(process: Process | Tried) -> bool:
    """Whether the process has had all the attempts its plan allows."""
    return process.attempts >= process.plan.max_attempts


def is_route_used_up(process: Process | Tried) -> bool:
    """Whether the current route has had all the attempts it allows."""
    return process.route_attempts >= process.plan.routes[process.route].attempts


def route_contact(process: Process) -> SealedContact:
    """The contact of the current route; there is one, or the route was never taken."""
    channel = process.plan.routes[process.route].channel
    contact = process.phone if channel is Channel.SMS else process.email
    if contact is None:
        raise AssertionError(f"process {process.id} has no contact for its route")
    return contact


def first_contact(item: NewProcess) -> SealedContact:
    """The contact of a new process's first route.

    Raises:
        ValueError: it brings none, or counted what is not its own: a bug of the caller.
    """
    channel = item.plan.routes[item.route].channel
    phone, email = item.phone, item.email
    contact, other = (phone, email) if channel is Channel.SMS else (email, phone)
    if contact is None:
        raise ValueError(f"the process has no contact for its route {item.route}")
    for index in item.counted_indexes:
        if index != contact.index and (other is None or index != other.index):
            raise ValueError("the limits were charged for a contact that is not of the process")
    return contact


def next_route(process: Process | Tried, at_ms: int, usable: frozenset[Channel]) -> int | None:
    """The route after the current one over such a channel; None: none, or no time to use it."""
    if process.expires_at_ms - at_ms <= OUTBOX_MARGIN_MS:
        return None
    return process.plan.next_route(process.route, channels_of(process) & usable)


def is_to_move_on(process: Process | Tried, at_ms: int, usable: frozenset[Channel]) -> bool:
    """Whether the current route gives no more attempts, and there is a next one (18)."""
    return is_route_used_up(process) and next_route(process, at_ms, usable) is not None


def is_to_go_on(process: Process | Tried, at_ms: int, usable: frozenset[Channel]) -> bool:
    """Whether it fails or takes its next route, unless one of its attempts is compared yet."""
    used_up = are_attempts_used_up(process) or is_to_move_on(process, at_ms, usable)
    return used_up and is_open_at(process, at_ms)


def moved(process: Process, route: int, at_ms: int) -> Process:
    """The process on its next route: what was sent before is void."""
    return structs.replace(
        process,
        generation=process.generation + 1,
        route=route,
        route_status=RouteStatus.NEW,
        route_attempts=0,
        updated_at_ms=at_ms,
    )


def leaves(plan: Plan, route: int, channels: frozenset[Channel]) -> bool:
    """Whether a process on a route has a later one over another channel it has a contact for."""
    return plan.next_route(route, channels - {plan.routes[route].channel}) is not None


def channels_of(process: Process | NewProcess | Tried) -> frozenset[Channel]:
    """The channels the process has a contact for."""
    return _CHANNELS[process.phone is not None, process.email is not None]


_CHANNELS = {
    (by_phone, by_email): frozenset(
        channel for channel, given in ((Channel.SMS, by_phone), (Channel.EMAIL, by_email)) if given
    )
    for by_phone in (False, True)
    for by_email in (False, True)
}


# Attempts and claims.

ROUTE_WAIT = AttemptWait(ROUTE_WAIT_MS, route=True)
"""To an attempt on a route whose last ones are being compared: none of the route is left, and the
next route's code is made only if none of them is right."""


@dataclass(frozen=True, slots=True)
class TakenClaim:
    """A claim as stored. ``route`` is of a start; the rest after it is of an attempt."""

    fingerprint: bytes
    uuid: bytes
    route: int = 0
    generation: int = 0
    attempt: int = 0
    counted_at_ms: int = 0
    accepted: bool | None = None


def claim_says(taken: TakenClaim, item: NewAttempt) -> ClaimRefusal | AttemptReplayed | None:
    """What a claim taken before answers; None: its attempt was counted, and left alone since."""
    if item.claim is None or taken.fingerprint != item.claim.fingerprint or taken.uuid != item.uuid:
        return ClaimRefusal.MISMATCH
    if taken.accepted is not None:
        return AttemptReplayed(taken.accepted)
    if item.at_ms < taken.counted_at_ms + CLAIM_PATIENCE_MS:
        return ClaimRefusal.IN_FLIGHT
    return None


def settled_before(verdict: Verdict, *, accepted: bool) -> Settled:
    """What became of an attempt that was settled already, with this answer."""
    if accepted:
        return Settled.ACCEPTED
    return Settled.LATE if verdict.right else Settled.WRONG


def counted(
    process: Process | Tried, generation: int, attempt: int, *, resumed: bool = False
) -> Counted:
    """An attempt of the process."""
    plan, key_id = process.plan, process.key_id
    return Counted(
        process.id, process.uuid, process.tenant, plan, key_id, generation, attempt, resumed
    )


# Messages.


def leased(process: Process, message_id: int, lease: bytes, tries: int) -> LeasedMessage:
    """A message of the process's current generation."""
    return LeasedMessage(
        message_id=message_id,
        lease=lease,
        tries=tries,
        uuid=process.uuid,
        tenant=process.tenant,
        plan=process.plan,
        route=process.route,
        generation=process.generation,
        key_id=process.key_id,
        contact=route_contact(process),
        created_at_ms=process.created_at_ms,
        expires_at_ms=process.expires_at_ms,
        channels=channels_of(process),
    )


def first_leases(batch: Sequence[NewProcess]) -> list[FirstLease | None]:
    """The lease that the first message of each is stored with; None: it waits in the queue.

    None is for a message that a later item of the batch makes void, or that nobody may send.
    """
    leases: list[FirstLease | None] = []
    later: set[tuple[str, int, bytes]] = set()
    for item in reversed(batch):
        type_id = item.plan.type_id
        contacts = [(item.tenant, type_id, index) for index in item.counted_indexes]
        in_time = item.expires_at_ms - item.created_at_ms > OUTBOX_MARGIN_MS
        leases.append(item.lease if in_time and later.isdisjoint(contacts) else None)
        if item.supersedes:
            later.update(contacts)
    leases.reverse()
    return leases


def leased_first(item: NewProcess, message_id: int, lease: FirstLease) -> LeasedMessage:
    """The first message of a process that was stored with a lease."""
    return LeasedMessage(
        message_id=message_id,
        lease=lease.lease,
        tries=1,
        uuid=item.uuid,
        tenant=item.tenant,
        plan=item.plan,
        route=item.route,
        generation=1,
        key_id=item.key_id,
        contact=first_contact(item),
        created_at_ms=item.created_at_ms,
        expires_at_ms=item.expires_at_ms,
        channels=channels_of(item),
    )


def lost(message_id: int, lease: bytes, now_ms: int) -> DeliveryReport:
    """The report of a lease that ran out: its worker is gone, and nobody knows what it did."""
    return DeliveryReport(
        message_id=message_id,
        lease=lease,
        state=MessageState.UNCERTAIN,
        at_ms=now_ms,
        provider="",
        problem=SendProblem.UNKNOWN.value,
    )


def left(message_id: int, provider: str, now_ms: int) -> DeliveryReport:
    """The report of a queued message whose process goes elsewhere: its provider is down."""
    return DeliveryReport(
        message_id=message_id,
        lease=b"",
        state=MessageState.FAILED,
        at_ms=now_ms,
        provider=provider,
        problem=SendProblem.PROVIDER_DOWN.value,
    )


def require_reportable(report: DeliveryReport) -> None:
    """Raises ValueError for a state that is no report's: a bug of the caller."""
    if report.state in (MessageState.LEASED, MessageState.VOID):
        raise ValueError(f"no delivery ends as {report.state.value}")


# The audit trail.


def line(
    process: tuple[str, bytes], action: str, outcome: str, actor: Actor, at_ms: int
) -> AuditEntry:
    """The audit line of something that happened to the process of a tenant and uuid."""
    tenant, uuid = process
    address = actor.address or ""
    return AuditEntry(at_ms, tenant, actor.name, address, action, format_uuid(uuid), outcome)


def start_word(claimed: Started | ClaimRefusal) -> str:
    """How the trail calls a start that a claim answered."""
    return "replayed" if isinstance(claimed, Started) else claimed.value


CHECKED = "checked"
"""How the trail calls a right attempt that ended nothing: the code was looked at, not used."""


def attempt_word(outcome: CountOutcome) -> str:
    """How the trail calls what became of the wish to count an attempt."""
    match outcome:
        case Counted():
            return "resumed" if outcome.resumed else "counted"
        case AttemptWait():
            return "route_wait" if outcome.route else "wait"
        case AttemptReplayed():
            return "replayed"
        case _:
            return outcome.value


def delivery_line(process: tuple[str, bytes], report: DeliveryReport) -> AuditEntry:
    """The audit line of a message's report, with its reason."""
    outcome, actor = delivery_words(report)
    return line(process, "otp.deliver", outcome, actor, report.at_ms)


def delivery_words(report: DeliveryReport) -> tuple[str, Actor]:
    """What the trail says became of a message, and who did it."""
    outcome = report.state.value + (f":{report.problem}" if report.problem else "")
    return outcome, Actor(f"provider:{report.provider}") if report.provider else SERVER


def forgiven(tenant: str, index: bytes, actor: Actor, at_ms: int) -> AuditEntry:
    """The audit line of a contact's failures forgotten; it is named by its keyed index."""
    return AuditEntry(
        at_ms=at_ms,
        tenant=tenant,
        actor=actor.name,
        address=actor.address or "",
        action="contact.forgive",
        subject=f"contact:{index.hex()}",
        outcome="done",
    )
