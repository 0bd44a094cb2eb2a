"""Attempts in SQL: counted in one transaction; ``settle_statements`` settles them in another.

What a function promises is the sentence of its namesake in ``services/ports/processes.py``. An
attempt that is counted and not settled yet is a row of ``open_attempts``.

One statement reads what a batch needs, and a few write what it changed, whatever its size. In
between each item is judged in order and meets what those before it used up: processes and failures
of contacts are kept up to date here. What is counted for a process waits to be written once, so
before it is counted for again that is written. Claims and moves are rare and have statements of
their own.

Large statements, because each ends in a fight for the GIL; but not without end, and with a yield
after each set of them, as in ``issue_statements``.
"""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING, Any, Final

import apsw

from otp_server.domain.challenge_type import Channel
from otp_server.services.ports.processes import AttemptRefusal
from otp_server.stores import process_rules as rules
from otp_server.stores.sqlite import claim_statements as claims
from otp_server.stores.sqlite import process_statements
from otp_server.stores.tried import Tried

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.audit import Actor
    from otp_server.domain.challenge_type import Plan
    from otp_server.services.ports.processes import (
        AttemptWait,
        Counted,
        CountOutcome,
        NewAttempt,
    )
    from otp_server.stores.process_rules import TakenClaim
    from otp_server.stores.sqlite.process_rows import ProcessWork

ATTEMPTS_AT_ONCE: Final = 128
"""Attempts counted, or settled, by one set of statements."""

_READ = (
    # the fields of Tried in their order, a plan's number and digest for the plan, then failures
    "SELECT p.id, p.uuid, p.tenant, p.plan_id, plans.digest, p.status, p.failure, p.phone_index,"
    " p.email_index, p.attempts, p.key_id, p.generation, p.route, p.route_attempts,"
    " p.created_at_ms, p.expires_at_ms, p.given_back,"
    " f.failures, f.last_at_ms, e.failures, e.last_at_ms"
    " FROM carray(?) AS given CROSS JOIN processes AS p ON p.id = given.value"
    " CROSS JOIN plans ON plans.id = p.plan_id"
    " LEFT JOIN contact_failures AS f ON f.contact_index = p.phone_index AND f.tenant = p.tenant"
    " LEFT JOIN contact_failures AS e ON e.contact_index = p.email_index AND e.tenant = p.tenant"
)
_COUNT = (
    "UPDATE processes SET attempts = attempts + 1, route_attempts = route_attempts + 1,"
    " updated_at_ms = ?2 WHERE id IN (SELECT value FROM carray(?1))"
)
_OPEN_ATTEMPTS = (
    "INSERT OR REPLACE INTO open_attempts (process_id, attempt, at_ms)"
    " SELECT p.id, p.attempts + p.given_back, ?2"
    " FROM carray(?1) AS given CROSS JOIN processes AS p ON p.id = given.value"
)
_CHARGE = {
    channel: (
        "INSERT INTO contact_failures (tenant, contact_index, failures, last_at_ms)"  # noqa: S608 - our own words
        f" SELECT p.tenant, p.{contact}_index, 1, ?2"
        " FROM carray(?1) AS given CROSS JOIN processes AS p ON p.id = given.value"
        " WHERE true ON CONFLICT (contact_index, tenant) DO UPDATE"
        " SET failures = failures + 1, last_at_ms = max(last_at_ms, excluded.last_at_ms)"
    )
    for channel, contact in ((Channel.SMS, "phone"), (Channel.EMAIL, "email"))
}
_REOPEN = "INSERT OR REPLACE INTO open_attempts (process_id, attempt, at_ms) VALUES (?, ?, ?)"
_FAILURES = (
    "SELECT failures, last_at_ms FROM contact_failures WHERE contact_index = ? AND tenant = ?"
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
    for start in range(0, len(batch), ATTEMPTS_AT_ONCE):
        outcomes += _Counting(work).count(batch[start : start + ATTEMPTS_AT_ONCE])
    return outcomes


class _Counting:
    """What is known of the processes and contacts of a batch, and what is not written yet."""

    def __init__(self, work: ProcessWork) -> None:
        self._work = work
        self._processes: dict[bytes, Tried] = {}  # by uuid
        self._failures: dict[tuple[str, bytes], tuple[int, int]] = {}  # how many, the last when
        self._counted: set[int] = set()  # processes of which something is not written
        self._waiting: dict[tuple[int, Channel], list[int]] = {}  # they: by when, and which route

    def count(self, batch: Sequence[NewAttempt]) -> list[CountOutcome]:
        """Judge each, and write."""
        self._read([item.uuid for item in batch])
        tell = self._work.trail.append
        outcomes: list[CountOutcome] = []
        for item in batch:
            outcome = self._count(item)
            outcomes.append(outcome)
            if outcome is not AttemptRefusal.NOT_FOUND:  # anybody can make up a uuid
                word = rules.attempt_word(outcome)
                named = item.tenant, item.uuid
                tell(rules.line(named, "otp.attempt", word, item.actor, item.at_ms))
        self._write()
        return outcomes

    def _read(self, uuids: Sequence[bytes]) -> None:
        """As they are before the batch."""
        work, processes, failures = self._work, self._processes, self._failures
        which = work.keys.bound(work.connection, uuids)
        rows: list[tuple[Any, ...]] = work.connection.execute(_READ, (which,)).fetchall()
        plans: dict[bytes, Plan] = {}  # most processes of a batch have the same
        for row in rows:
            number, uuid, tenant, plan_id, digest, *state = row[:-4]
            by_phone, phone_at_ms, by_email, email_at_ms = row[-4:]
            plan = plans.get(digest)
            if plan is None:
                plan = plans[digest] = work.plans.get(work.connection, plan_id, digest)
            process = processes[uuid] = Tried(number, uuid, tenant, plan, *state)
            if process.phone is not None and by_phone is not None:
                failures[tenant, process.phone] = by_phone, phone_at_ms
            if process.email is not None and by_email is not None:
                failures[tenant, process.email] = by_email, email_at_ms

    def _count(self, item: NewAttempt) -> CountOutcome:
        taken = None
        if item.claim is not None:
            taken = claims.find(self._work.connection, item.tenant, item.claim, item.at_ms)
        said = None if taken is None else rules.claim_says(taken, item)
        if said is not None:
            return said
        process = self._processes.get(item.uuid)
        if process is None or process.tenant != item.tenant:
            return AttemptRefusal.NOT_FOUND
        if process.id in self._counted:
            self._write()
        refusal = rules.refusal_of(process, item.at_ms, counted=taken is not None)
        if refusal is not None:
            return refusal
        if taken is not None:
            return _resume(self._work, item, process, taken)
        return self._charge(item, process)

    def _charge(self, item: NewAttempt, process: Tried) -> Counted | AttemptRefusal | AttemptWait:
        """Count it for the process, its route and its contact, unless the last two say no.

        Nothing of the process waits to be written.
        """
        at_ms = item.at_ms
        if rules.is_to_move_on(process, at_ms, item.usable):
            if process_statements.has_open_attempts(self._work, process.id):
                return rules.ROUTE_WAIT
            self._move(process, item)
        channel, index = process.contact()
        contact = process.tenant, index
        failures, last_at_ms = self._failures.get(contact, (0, at_ms))
        held = rules.budget_refusal(failures, last_at_ms, at_ms) if failures else None
        if held is not None:
            return held
        self._failures[contact] = failures + 1, max(last_at_ms, at_ms)
        self._counted.add(process.id)
        self._waiting.setdefault((at_ms, channel), []).append(process.id)
        process.attempts += 1
        process.route_attempts += 1
        number = process.attempts + process.given_back
        counted = rules.counted(process, process.generation, number)
        if item.claim is not None:
            claims.take_for_attempt(self._work.connection, item.claim, counted, at_ms)
        return counted

    def _move(self, process: Tried, item: NewAttempt) -> None:
        """To its next route, if it has one."""
        whole = self._work.by_id(process.id)
        if whole is None:
            raise AssertionError(f"process {process.id} was just read")
        moved = process_statements.take_next_route(
            self._work, whole, item.actor, item.at_ms, item.usable
        )
        if moved is not None:
            process.generation, process.route = moved.generation, moved.route
            process.route_attempts = moved.route_attempts

    def _write(self) -> None:
        """Write what was counted, of different instants one after the other."""
        execute = self._work.connection.execute
        for at_ms, channel in sorted(self._waiting):
            which = apsw.carray(array("q", self._waiting[at_ms, channel]))
            for statement in (_COUNT, _OPEN_ATTEMPTS, _CHARGE[channel]):
                execute(statement, (which, at_ms))
            os.sched_yield()
        self._counted.clear()
        self._waiting.clear()


def _resume(work: ProcessWork, item: NewAttempt, process: Tried, taken: TakenClaim) -> Counted:
    if item.claim is not None:
        claims.resume(work.connection, item.tenant, item.claim, item.at_ms)
    work.connection.execute(_REOPEN, (process.id, taken.attempt, item.at_ms))
    return rules.counted(process, taken.generation, taken.attempt, resumed=True)


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


def give_failure_back(work: ProcessWork, tenant: str, index: bytes, at_ms: int) -> None:
    """One of a contact's failures was none: a check found it right (``rules``)."""
    row: Any = work.connection.execute(_FAILURES, (index, tenant)).fetchone()
    failures, last_at_ms = (0, 0) if row is None else row
    if failures > 1:
        left = rules.failure_given_back(failures, last_at_ms, at_ms)
        work.connection.execute(_LOWER, (*left, index, tenant))
    else:
        work.connection.execute(_FORGIVE, (index, tenant))
