"""What a store must do for OTP processes.

An attempt takes two transactions: ``count_attempts`` makes it durable before anybody compares, and
``settle_attempts`` writes down what the comparison said. Killed in between, the attempt stays
counted. Every method writes its audit entries in the same transaction.

An ``IdempotencyClaim`` makes the repetition of a call give the first one's answer (71). Claims are
kept until their ``expires_at_ms``; the same tenant, client, operation and key is the same call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import msgspec

from otp_server.domain.challenge_type import EVERY_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.audit import Actor
    from otp_server.domain.challenge_type import Channel, Plan
    from otp_server.domain.process import Delivery, Entity, Process, SealedContact
    from otp_server.services.ports.outbox import FirstLease, LeasedMessage


@dataclass(frozen=True, slots=True)
class IdempotencyClaim:
    """A caller's ``Idempotency-Key``, and the digest of what it asks (its fingerprint)."""

    client_id: str
    operation: str
    key: str
    fingerprint: bytes
    expires_at_ms: int


class ClaimRefusal(StrEnum):
    """Why a claim was not taken."""

    MISMATCH = "mismatch"
    """The key was used for something else."""
    IN_FLIGHT = "in_flight"
    """The first call with it has not ended yet."""


class NewProcess(msgspec.Struct, frozen=True, gc=False):
    """A process to start. ``route`` is the position of its first route in the plan.

    ``settings_version`` is the one the plan was loaded with. ``counted_indexes`` are those of its
    contacts' indexes that this start was charged to in the limits: the journal of
    ``starts_since``. ``supersedes``: whether it ends older ones of its type and contacts.
    ``lease`` is one that its first message may be stored with.
    """

    uuid: bytes
    tenant: str
    plan: Plan
    settings_version: int
    phone: SealedContact | None
    email: SealedContact | None
    counted_indexes: tuple[bytes, ...]
    entities: tuple[Entity, ...]
    route: int
    key_id: str
    created_at_ms: int
    expires_at_ms: int
    actor: Actor
    claim: IdempotencyClaim | None = None
    supersedes: bool = True
    lease: FirstLease | None = None

    def __repr__(self) -> str:
        """Without contacts and entities."""
        return f"<NewProcess {self.uuid.hex()} of {self.tenant!r} by route {self.route}>"


class Started(msgspec.Struct, frozen=True, gc=False):
    """The process exists; its first message waits in the outbox, or is leased (``message``).

    ``replayed``: it was started by an earlier call with the same claim, and is the one of
    ``uuid``; nothing was changed now. ``route`` is the position the answer named. ``message`` is
    the first message when it was stored leased: whoever gave the lease may send it.
    """

    uuid: bytes
    plan: Plan
    route: int
    replayed: bool = False
    message: LeasedMessage | None = None


class StalePlan(StrEnum):
    """The tenant's settings changed since the plan was loaded: load it again."""

    STALE = "stale"


StartOutcome = Started | StalePlan | ClaimRefusal


class NewAttempt(msgspec.Struct, frozen=True, gc=False):
    """An attempt to count. ``usable``: the channels that have a provider."""

    uuid: bytes
    tenant: str
    at_ms: int
    actor: Actor
    claim: IdempotencyClaim | None = None
    usable: frozenset[Channel] = EVERY_CHANNEL


class Counted(msgspec.Struct, frozen=True, gc=False):
    """The attempt is counted; compare with the code of exactly this ``generation``.

    ``attempt`` numbers it within the process, from 1, and no other ever. ``resumed``: an earlier
    call with the same claim had counted it and was cut before it could settle; it was not counted
    again.
    """

    process_id: int
    uuid: bytes
    tenant: str
    plan: Plan
    key_id: str
    generation: int
    attempt: int
    resumed: bool = False


class AttemptRefusal(StrEnum):
    """Why an attempt was not counted, and must not be compared."""

    NOT_FOUND = "not_found"
    EXPIRED = "expired"
    ACCEPTED = "accepted"
    EXHAUSTED = "exhausted"
    SUPERSEDED = "superseded"
    UNDELIVERABLE = "undeliverable"
    LOCKED = "locked"
    """The contact's failure budget is used up."""


@dataclass(frozen=True, slots=True)
class AttemptWait:
    """Not before so many milliseconds.

    The contact had many wrong codes in a row; or, with ``route``, the attempts of the current
    route are used up and one of them is still being compared.
    """

    retry_after_ms: int
    route: bool = False


@dataclass(frozen=True, slots=True)
class AttemptReplayed:
    """The claim's first call has ended, with this answer."""

    accepted: bool


CountOutcome = Counted | AttemptRefusal | AttemptWait | AttemptReplayed | ClaimRefusal


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What the comparison of a counted attempt said. ``usable`` is as in its ``NewAttempt``."""

    counted: Counted
    right: bool
    at_ms: int
    actor: Actor
    claim: IdempotencyClaim | None = None
    usable: frozenset[Channel] = EVERY_CHANNEL


class Settled(StrEnum):
    """What became of a counted attempt."""

    ACCEPTED = "accepted"
    WRONG = "wrong"
    LATE = "late"
    """Right, but the process had ended, or moved to a new code, in between."""


@dataclass(frozen=True, slots=True)
class ProcessQuery:
    """A search; all conditions hold at once; None: whatever it is."""

    tenant: str
    type_id: int
    phone_index: bytes | None = None
    email_index: bytes | None = None
    entities: tuple[Entity, ...] = ()
    limit: int = 100
    offset: int = 0


@dataclass(frozen=True, slots=True)
class StartRecord:
    """One start as the limits count it; ``process_id`` tells where the next page begins."""

    tenant: str
    type_id: int
    index: bytes
    at_ms: int
    process_id: int = field(default=0, compare=False)


ID_MAX = 2**63 - 1
STARTS_PAGE = 5000
"""Processes of one page of ``starts_since``: some MB, whatever the day was like."""


class ProcessStore(Protocol):
    """Processes, attempts, search."""

    async def start_processes(self, batch: Sequence[NewProcess]) -> list[StartOutcome]:
        """In order: store the process with its first message in the outbox.

        An open process of the same tenant and type fails as superseded, and its messages not yet
        taken are void, when a contact is counted (``counted_indexes``) for it and for the new one,
        which ``supersedes``: a contact that can get no code ends no process. With a claim
        that was taken before: the first call's answer, or a refusal; then nothing is stored.
        StalePlan when the settings version is not the tenant's current one. AlreadyExists for a
        ``uuid`` used before.

        A first message is stored with the ``lease`` of its item, unless less than
        ``OUTBOX_MARGIN_MS`` is left to it or a later item of the batch is for a contact of the
        same type that both counted: then it is queued.

        Cancellation: nothing is stored, or all of it, its leases undone before the next claim.
        """

    async def count_attempts(self, batch: Sequence[NewAttempt]) -> list[CountOutcome]:
        """In order: count the attempt against process, route and contact, or say why not.

        Counted are only attempts that may be compared: the process is open at ``at_ms``, has
        fewer attempts than its plan allows, and the contact of its current route has failures
        left in its budget and is not made to wait (``domain/budget.py``). A refused attempt
        changes nothing but the audit trail, and its claim is not taken; one of a process that is
        not there leaves no line in the trail either.

        A route that the process can leave for a next one gives no more attempts than its own.
        Where they are used up, an attempt waits (``ROUTE_WAIT_MS``) while one of them is being
        compared: that one may be right. While none is, such as after a crash, the process first
        moves to its next route, as after ``settle_attempts``, and the attempt is counted there.

        A claim taken by an attempt that never settled answers IN_FLIGHT until
        ``CLAIM_PATIENCE_MS`` after it was counted; then the attempt is resumed, if the process is
        still open, with the generation it was counted with.
        """

    async def settle_attempts(self, batch: Sequence[Verdict]) -> list[Settled]:
        """In order, right ones first: write down what the comparison said.

        Right, and the process open, of the same generation and not past its time: it is
        accepted, the attempt is given back to process and route, the contact's failures are
        forgotten and messages not yet taken are void. Exactly one can win.

        Not so, and no other attempt of the process is still being compared: when its attempts are
        used up it fails as exhausted; else when the route's are, it moves to its next route, if
        it has one over a ``usable`` channel, with a new generation and a message in the outbox
        (not within ``OUTBOX_MARGIN_MS`` of the end).

        The claim keeps the answer; that of a late one of an ended process is given up, since the
        process's end answers a repetition the same. Settling one attempt again, when it was
        resumed, gives the first answer and changes nothing.
        """

    async def recall_starts(
        self, batch: Sequence[tuple[str, IdempotencyClaim]], now_ms: int
    ) -> list[Started | ClaimRefusal | None]:
        """What starts of a tenant with a claim would be answered by earlier ones; None: by none.

        Changes nothing, so a repetition is answered where a new start would be refused.
        """

    async def find_process(self, tenant: str, uuid: bytes) -> Process | None:
        """One process; None when this tenant has none of that uuid."""

    async def search_processes(self, query: ProcessQuery) -> list[tuple[Process, list[Delivery]]]:
        """Newest first, each with its deliveries in order. Never scans the table."""

    async def starts_since(
        self, at_ms: int, *, after_id: int = ID_MAX, limit: int = STARTS_PAGE
    ) -> list[StartRecord]:
        """The starts after ``at_ms``, oldest first: what the limits are charged with at start.

        Those of ``limit`` processes at most, of one instant by id. The next page is asked for with
        ``at_ms`` and ``process_id`` of the last record; the last page is empty.
        """

    async def contact_failures(self, tenant: str, index: bytes) -> int:
        """The contact's wrong codes in a row."""

    async def forgive_contact(self, tenant: str, index: bytes, actor: Actor, at_ms: int) -> bool:
        """Forget its failures; whether it had any."""

    async def key_ids_in_use(self, now_ms: int) -> set[str]:
        """The keys that codes of open processes are derived under."""

    async def sealing_key_ids_in_use(self, now_ms: int) -> set[str]:
        """The keys that contacts of open processes, and of all accounts, are sealed under."""

    async def mark_key(self, purpose: str, fingerprint: str, *, anew: bool = False) -> str:
        """Remember which key serves a purpose; gives the fingerprint that is remembered then.

        It is the first one ever told, until another is told ``anew``.
        """

    async def sweep_processes(
        self,
        now_ms: int,
        *,
        forget_before_ms: int,
        usable: frozenset[Channel] = EVERY_CHANNEL,
    ) -> int:
        """End what is over, forget processes created before that instant and claims expired now.

        Open processes past their time are expired. Attempts not settled ``CLAIM_PATIENCE_MS``
        after they were counted, which a crash left behind, are taken for wrong: their processes
        fail as exhausted or move on over ``usable`` channels, as after ``settle_attempts``. With
        a process go its entities, its messages, its reset and the claim of its start; plans that no
        process keeps go too.
        Failures of a contact stay until they are forgiven; when they are so few that they make
        nobody wait, until ``FAILURES_KEPT_MS`` after the last. Gives how many it touched; bounded
        work a call: call again while it gives a number.
        """


__all__ = [
    "ID_MAX",
    "STARTS_PAGE",
    "AttemptRefusal",
    "AttemptReplayed",
    "AttemptWait",
    "ClaimRefusal",
    "CountOutcome",
    "Counted",
    "IdempotencyClaim",
    "NewAttempt",
    "NewProcess",
    "ProcessQuery",
    "ProcessStore",
    "Settled",
    "StalePlan",
    "StartOutcome",
    "StartRecord",
    "Started",
    "Verdict",
]
