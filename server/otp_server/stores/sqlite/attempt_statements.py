"""Attempts in SQL: counted in one transaction, settled in another.

What a function promises is the sentence of its namesake in ``services/ports/processes.py``. An
attempt that is counted and not settled yet is a row of ``open_attempts``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otp_server.services.ports.processes import AttemptRefusal, Settled
from otp_server.stores import process_rules as rules
from otp_server.stores.sqlite import claim_statements as claims
from otp_server.stores.sqlite import outbox_queue, process_statements

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otp_server.domain.audit import Actor
    from otp_server.domain.process import Process
    from otp_server.services.ports.processes import (
        AttemptWait,
        Counted,
        CountOutcome,
        NewAttempt,
        Verdict,
    )
    from otp_server.stores.process_rules import TakenClaim
    from otp_server.stores.sqlite.process_rows import ProcessWork

    Accept = Callable[[ProcessWork, Verdict, bool], bool]

_COUNT = (
    "UPDATE processes SET attempts = attempts + 1, route_attempts = route_attempts + 1,"
    " updated_at_ms = ? WHERE id = ? RETURNING attempts + given_back"
)
_OPEN_ATTEMPT = "INSERT OR REPLACE INTO open_attempts (process_id, attempt, at_ms) VALUES (?, ?, ?)"
_CLOSE_ATTEMPT = "DELETE FROM open_attempts WHERE process_id = ? AND attempt = ?"
_ACCEPTABLE = (
    " WHERE id = ?2 AND uuid = ?3 AND generation = ?4"
    " AND status IN ('new', 'sent') AND expires_at_ms > ?1"
)
_ACCEPT = (
    "UPDATE processes SET status = 'accepted', attempts = attempts - 1,"  # noqa: S608 - our own words
    f" route_attempts = route_attempts - 1, updated_at_ms = ?1{_ACCEPTABLE}"
)
_GIVE_BACK = (
    "UPDATE processes SET attempts = attempts - ?5, route_attempts = route_attempts - ?5,"  # noqa: S608 - our own words
    f" given_back = given_back + ?5{_ACCEPTABLE}"
)
_FAILURES = (
    "SELECT failures, last_at_ms FROM contact_failures WHERE contact_index = ? AND tenant = ?"
)
_CHARGE = (
    "INSERT INTO contact_failures (tenant, contact_index, failures, last_at_ms)"
    " VALUES (?, ?, 1, ?) ON CONFLICT (contact_index, tenant) DO UPDATE"
    " SET failures = failures + 1, last_at_ms = max(last_at_ms, excluded.last_at_ms)"
)
_LOWER = (
    "UPDATE contact_failures SET failures = ?, last_at_ms = ?"
    " WHERE contact_index = ? AND tenant = ?"
)
_FORGIVE = "DELETE FROM contact_failures WHERE contact_index = ? AND tenant = ?"


# Counting.


def count_attempts(work: ProcessWork, batch: Sequence[NewAttempt]) -> list[CountOutcome]:
    """In order, so an item meets what those before it used up."""
    outcomes: list[CountOutcome] = []
    for item in batch:
        outcome = _count(work, item)
        outcomes.append(outcome)
        if outcome is not AttemptRefusal.NOT_FOUND:  # anybody can make up a uuid
            word = rules.attempt_word(outcome)
            work.tell((item.tenant, item.uuid), "otp.attempt", word, item.actor, item.at_ms)
    return outcomes


def _count(work: ProcessWork, item: NewAttempt) -> CountOutcome:
    taken = None
    if item.claim is not None:
        taken = claims.find(work.connection, item.tenant, item.claim, item.at_ms)
    said = None if taken is None else rules.claim_says(taken, item)
    if said is not None:
        return said
    process = work.by_uuid(item.tenant, item.uuid)
    if process is None:
        return AttemptRefusal.NOT_FOUND
    refusal = rules.refusal_of(process, item.at_ms, counted=taken is not None)
    if refusal is not None:
        return refusal
    if taken is not None:
        return _resume(work, item, process, taken)
    return _charge(work, item, process)


def _charge(
    work: ProcessWork, item: NewAttempt, process: Process
) -> Counted | AttemptRefusal | AttemptWait:
    """Count it for the process, its route and its contact, unless the last two say no."""
    if rules.is_to_move_on(process, item.at_ms, item.usable):
        if process_statements.has_open_attempts(work, process.id):
            return rules.ROUTE_WAIT
        moved = process_statements.take_next_route(
            work, process, item.actor, item.at_ms, item.usable
        )
        process = moved or process
    contact = rules.route_contact(process)
    row: Any = work.connection.execute(_FAILURES, (contact.index, process.tenant)).fetchone()
    failures, last_at_ms = (0, item.at_ms) if row is None else row
    held = rules.budget_refusal(failures, last_at_ms, item.at_ms)
    if held is not None:
        return held
    number: int = work.connection.execute(_COUNT, (item.at_ms, process.id)).get
    work.connection.execute(_CHARGE, (process.tenant, contact.index, item.at_ms))
    counted = rules.counted(process, process.generation, number)
    work.connection.execute(_OPEN_ATTEMPT, (process.id, counted.attempt, item.at_ms))
    if item.claim is not None:
        claims.take_for_attempt(work.connection, item.claim, counted, item.at_ms)
    return counted


def _resume(work: ProcessWork, item: NewAttempt, process: Process, taken: TakenClaim) -> Counted:
    if item.claim is not None:
        claims.resume(work.connection, item.tenant, item.claim, item.at_ms)
    work.connection.execute(_OPEN_ATTEMPT, (process.id, taken.attempt, item.at_ms))
    return rules.counted(process, taken.generation, taken.attempt, resumed=True)


# Settling.


def settle_attempts(work: ProcessWork, batch: Sequence[Verdict]) -> list[Settled]:
    """Right ones first, each in the order given."""
    return _settle_all(work, batch, _accept)


def settle_checks(work: ProcessWork, batch: Sequence[Verdict]) -> list[Settled]:
    """Right ones first; the caller has looked that they are of resets."""
    return _settle_all(work, batch, _give_back, accepted=rules.CHECKED)


def settle_late(work: ProcessWork, verdict: Verdict) -> Settled:
    """One that comes too late to be accepted, whatever its process says."""
    return _settle(work, verdict, lambda *_: False)


def _settle_all(
    work: ProcessWork,
    batch: Sequence[Verdict],
    accept: Accept,
    *,
    accepted: str = Settled.ACCEPTED.value,
) -> list[Settled]:
    order = sorted(range(len(batch)), key=lambda place: not batch[place].right)
    answers = {place: _settle(work, batch[place], accept, accepted=accepted) for place in order}
    return [answers[place] for place in range(len(batch))]


def _settle(
    work: ProcessWork,
    verdict: Verdict,
    accept: Accept,
    *,
    accepted: str = Settled.ACCEPTED.value,
) -> Settled:
    """``accept`` does what a right one does; it is told whether the attempt was open.

    ``accepted`` is the trail's word for one that it accepts.
    """
    counted = verdict.counted
    if verdict.claim is not None:
        before = claims.answer_of(work.connection, counted, verdict.claim)
        if before is not None:  # the same attempt, resumed, was faster
            return rules.settled_before(verdict, accepted=before)
    work.connection.execute(_CLOSE_ATTEMPT, (counted.process_id, counted.attempt))
    opened = work.connection.changes() == 1
    if verdict.right and accept(work, verdict, opened):
        settled = Settled.ACCEPTED
    else:
        settled = Settled.LATE if verdict.right else Settled.WRONG
        process_statements.go_on(
            work, counted.process_id, verdict.actor, verdict.at_ms, verdict.usable
        )
    _answer_claim(work, verdict, settled)
    told = (counted.tenant, counted.uuid)
    word = accepted if settled is Settled.ACCEPTED else settled.value
    work.tell(told, "otp.attempt", word, verdict.actor, verdict.at_ms)
    return settled


def _accept(work: ProcessWork, verdict: Verdict, _: bool) -> bool:  # noqa: FBT001 - as _settle calls
    """The guarded update: True for one caller."""
    counted = verdict.counted
    work.connection.execute(
        _ACCEPT, (verdict.at_ms, counted.process_id, counted.uuid, counted.generation)
    )
    if work.connection.changes() != 1:
        return False
    process = work.by_id(counted.process_id)
    if process is not None:
        contact = rules.route_contact(process)
        work.connection.execute(_FORGIVE, (contact.index, process.tenant))
        outbox_queue.void_queued(work.connection, process.id, verdict.at_ms)
    return True


def _give_back(work: ProcessWork, verdict: Verdict, opened: bool) -> bool:  # noqa: FBT001 - as above
    """What a right check does: the attempt is given back, once, and its contact's failure."""
    counted = verdict.counted
    work.connection.execute(
        _GIVE_BACK,
        (verdict.at_ms, counted.process_id, counted.uuid, counted.generation, int(opened)),
    )
    if work.connection.changes() != 1:
        return False
    process = work.by_id(counted.process_id)
    if process is not None and opened:
        which = rules.route_contact(process).index, process.tenant
        row: Any = work.connection.execute(_FAILURES, which).fetchone()
        failures, last_at_ms = (0, 0) if row is None else row
        if failures > 1:
            left = rules.failure_given_back(failures, last_at_ms, verdict.at_ms)
            work.connection.execute(_LOWER, (*left, *which))
        else:
            work.connection.execute(_FORGIVE, which)
    return True


def _answer_claim(work: ProcessWork, verdict: Verdict, settled: Settled) -> None:
    """Keep the answer for a repetition; of a late one the process's end is the answer."""
    if verdict.claim is None:
        return
    if settled is Settled.LATE:
        process = work.by_id(verdict.counted.process_id)
        if process is None or not rules.is_open_at(process, verdict.at_ms):
            claims.release(work.connection, verdict.counted, verdict.claim)
            return
    accepted = settled is Settled.ACCEPTED
    claims.answer(work.connection, verdict.counted, verdict.claim, accepted=accepted)


# Failures of contacts.


def contact_failures(work: ProcessWork, tenant: str, index: bytes) -> int:
    """A look-up."""
    row = work.connection.execute(_FAILURES, (index, tenant)).fetchone()
    return 0 if row is None else int(row[0])


def forgive_contact(work: ProcessWork, tenant: str, index: bytes, actor: Actor, at_ms: int) -> bool:
    """Delete the count."""
    work.connection.execute(_FORGIVE, (index, tenant))
    if work.connection.changes() == 0:
        return False
    work.trail.append(rules.forgiven(tenant, index, actor, at_ms))
    return True
