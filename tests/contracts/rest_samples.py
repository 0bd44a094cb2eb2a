"""Small OTP processes for the tests of stores. Numbers stand for themselves.

A process ``n`` has the uuid ``uuid(n)``; a contact ``n`` is one of a phone and one of an e-mail,
by turns of the channel. Times are milliseconds after ``T0``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from uuid import UUID

from otp_server.domain.audit import Actor
from otp_server.domain.challenge_type import Channel, CodeType, Plan, PlanRoute
from otp_server.domain.process import Entity, SealedContact
from otp_server.services.ports.outbox import DeliveryReport, MessageState
from otp_server.services.ports.processes import (
    Counted,
    IdempotencyClaim,
    NewAttempt,
    NewProcess,
    ProcessQuery,
    Started,
    Verdict,
)

if TYPE_CHECKING:
    from otp_server.domain.process import Process
    from otp_server.services.ports import Store
    from otp_server.services.ports.outbox import LeasedMessage
    from otp_server.services.ports.processes import CountOutcome, Settled

TENANT = "acme"
T0 = 1_000_000
TTL = 600_000
LEASE = 30_000
CALLER = Actor("client:one", "192.0.2.1")
SMS, EMAIL = Channel.SMS, Channel.EMAIL


def uuid(n: int) -> bytes:
    return hashlib.sha256(f"process {n}".encode()).digest()[:16]


def spelled(n: int) -> str:
    """The uuid of a process as the audit trail names it."""
    return str(UUID(bytes=uuid(n)))


def contact(channel: Channel, n: int) -> SealedContact:
    index = hashlib.sha256(f"{channel} {n}".encode()).digest()
    return SealedContact(index, b"sealed " + index[:5])


def phone(n: int) -> bytes:
    """The index of a phone."""
    return contact(SMS, n).index


def email(n: int) -> bytes:
    """The index of an e-mail address."""
    return contact(EMAIL, n).index


def plan(*channels: Channel, type_id: int = 1, max_attempts: int = 5, attempts: int = 1) -> Plan:
    """A route for each channel, by SMS alone when none is given, ``attempts`` for each route."""
    return Plan(
        type_id=type_id,
        type_name=f"type-{type_id}",
        code_type=CodeType.NUMERIC,
        code_length=6,
        ttl=TTL // 1000,
        max_attempts=max_attempts,
        routes=tuple(
            PlanRoute(channel, 30 + place, attempts, "", f"{channel} {place}: ${{answer}}")
            for place, channel in enumerate(channels or (SMS,))
        ),
    )


BOTH = plan(SMS, EMAIL)
"""Two routes with an attempt each, five attempts in all."""


def new_process(
    n: int,
    *,
    of: Plan | None = None,
    to: int | None = 1,
    mail: int | None = None,
    at: int = 0,
    ttl: int = TTL,
    tenant: str = TENANT,
    entities: tuple[Entity, ...] = (),
    claim: IdempotencyClaim | None = None,
    key_id: str = "k1",
    version: int = 0,
) -> NewProcess:
    """Process ``n`` for the phone ``to`` and the address ``mail``, at ``T0 + at``.

    Its first route is the first it has a contact for; the limits were charged for all contacts.
    """
    of = plan() if of is None else of
    phone = None if to is None else contact(SMS, to)
    address = None if mail is None else contact(EMAIL, mail)
    usable = {c for c, known in ((SMS, phone), (EMAIL, address)) if known is not None}
    first = of.next_route(-1, frozenset(usable))
    assert first is not None
    return NewProcess(
        uuid=uuid(n),
        tenant=tenant,
        plan=of,
        settings_version=version,
        phone=phone,
        email=address,
        counted_indexes=tuple(c.index for c in (phone, address) if c is not None),
        entities=entities,
        route=first,
        key_id=key_id,
        created_at_ms=T0 + at,
        expires_at_ms=T0 + at + ttl,
        actor=CALLER,
        claim=claim,
    )


def claim(
    key: str = "key", *, asks: str = "this", operation: str = "attempt", until: int = 10**7
) -> IdempotencyClaim:
    """A key used for what ``asks``, kept until ``T0 + until``."""
    return IdempotencyClaim("one", operation, key, asks.encode(), T0 + until)


def attempt(
    n: int, *, at: int = 0, tenant: str = TENANT, claim: IdempotencyClaim | None = None
) -> NewAttempt:
    return NewAttempt(uuid(n), tenant, T0 + at, CALLER, claim)


def verdict(
    counted: Counted, *, right: bool, at: int = 0, claim: IdempotencyClaim | None = None
) -> Verdict:
    return Verdict(counted, right, T0 + at, CALLER, claim)


def query(
    *entities: Entity,
    type_id: int = 1,
    phone: bytes | None = None,
    email: bytes | None = None,
    tenant: str = TENANT,
    limit: int = 100,
    offset: int = 0,
) -> ProcessQuery:
    return ProcessQuery(tenant, type_id, phone, email, entities, limit, offset)


def client(n: int) -> Entity:
    return Entity("client", str(n))


def report(
    message: LeasedMessage,
    state: MessageState,
    *,
    at: int = 0,
    problem: str | None = None,
    not_before: int = 0,
) -> DeliveryReport:
    return DeliveryReport(
        message_id=message.message_id,
        lease=message.lease,
        state=state,
        at_ms=T0 + at,
        provider="acme-sms",
        problem=problem,
        reference="ref",
        not_before_ms=T0 + not_before,
    )


# Whole steps.


async def start(store: Store, *items: NewProcess) -> None:
    """They must start."""
    outcomes = await store.start_processes(items)
    assert [type(outcome) for outcome in outcomes] == [Started] * len(items), outcomes


async def count(store: Store, n: int, **how: object) -> CountOutcome:
    [outcome] = await store.count_attempts([attempt(n, **how)])  # type: ignore[arg-type]  # as given
    return outcome


async def counted(store: Store, n: int, **how: object) -> Counted:
    """It must be counted."""
    outcome = await count(store, n, **how)
    assert isinstance(outcome, Counted), outcome
    return outcome


async def settle(store: Store, of: Counted, *, right: bool, at: int = 0) -> Settled:
    [settled] = await store.settle_attempts([verdict(of, right=right, at=at)])
    return settled


async def wrong(store: Store, n: int, *, at: int = 0) -> None:
    """A wrong attempt from beginning to end."""
    await settle(store, await counted(store, n, at=at), right=False, at=at)


async def lease(
    store: Store, channel: Channel = SMS, *, at: int = 0, limit: int = 100
) -> list[LeasedMessage]:
    """For ``LEASE`` milliseconds."""
    return await store.claim_messages(
        channel, now_ms=T0 + at, lease_until_ms=T0 + at + LEASE, limit=limit
    )


async def deliver(store: Store, state: MessageState, *, at: int = 0) -> None:
    """What is due over SMS ends so."""
    messages = await lease(store, at=at)
    assert messages
    reports = [report(message, state, at=at) for message in messages]
    assert await store.report_deliveries(reports) == [True] * len(messages)


async def found(store: Store, n: int, tenant: str = TENANT) -> Process:
    """It must be there."""
    process = await store.find_process(tenant, uuid(n))
    assert process is not None
    return process


async def states(store: Store, n: int) -> list[str]:
    """The states of its messages, in order."""
    process = await found(store, n)
    for hit, deliveries in await store.search_processes(
        query(type_id=process.plan.type_id, tenant=process.tenant, limit=10_000)
    ):
        if hit.uuid == process.uuid:
            assert hit == process
            return [delivery.state for delivery in deliveries]
    raise AssertionError("the search did not find it")


async def trail(store: Store) -> list[tuple[str, str]]:
    """What the audit trail says: actions and outcomes, in order."""
    return [(entry.action, entry.outcome) for _, entry, _, _ in await store.audit_after(0, 10**6)]
