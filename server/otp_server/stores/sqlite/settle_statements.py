"""Attempts in SQL that were compared: what a batch of verdicts does, in few statements.

What a function promises is the sentence of its namesake in ``services/ports/processes.py``. As
``attempt_statements`` does, one statement reads what a batch needs, each verdict is judged in
order, and a few statements write. A verdict that makes a process fail or move on is rare: it has
what waits written, and the process read anew.
"""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING, Any, Final

import apsw

from otp_server.domain.challenge_type import Channel
from otp_server.domain.process import ProcessStatus
from otp_server.services.ports.processes import Settled
from otp_server.stores import process_rules as rules
from otp_server.stores.sqlite import claim_statements as claims
from otp_server.stores.sqlite import outbox_queue, process_statements
from otp_server.stores.sqlite.attempt_statements import ATTEMPTS_AT_ONCE, give_failure_back
from otp_server.stores.tried import Tried

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from otp_server.services.ports.processes import Counted, IdempotencyClaim, Verdict
    from otp_server.stores.sqlite.process_rows import ProcessWork

    Accept = Callable[["_Settling", Verdict, bool], bool]

_READ = (
    "SELECT p.id, p.uuid, p.status, p.failure, p.phone_index, p.email_index, p.attempts,"
    " p.key_id, p.generation, p.route, p.route_attempts, p.created_at_ms, p.expires_at_ms,"
    " p.given_back, o.attempt"
    " FROM carray(?) AS given CROSS JOIN processes AS p ON p.id = given.value"
    " LEFT JOIN open_attempts AS o ON o.process_id = p.id"
)
"""A row for each open attempt of a process, or one; tenant and plan never change, so a verdict
knows them."""
_CLOSE = "DELETE FROM open_attempts WHERE process_id = ? AND attempt = ?"
_CLOSE_ALL = "DELETE FROM open_attempts WHERE process_id IN (SELECT value FROM carray(?))"
_ACCEPT = (
    "UPDATE processes SET status = 'accepted', open = 0, attempts = attempts - 1,"
    " route_attempts = route_attempts - 1, updated_at_ms = ?2"
    " WHERE id IN (SELECT value FROM carray(?1))"
    " AND status IN ('new', 'sent') AND expires_at_ms > ?2"
)
_GIVE_BACK = (
    "UPDATE processes SET attempts = attempts - ?5, route_attempts = route_attempts - ?5,"
    " given_back = given_back + ?5"
    " WHERE id = ?2 AND uuid = ?3 AND generation = ?4"
    " AND status IN ('new', 'sent') AND expires_at_ms > ?1"
)
_FORGIVE = {
    channel: (
        "DELETE FROM contact_failures WHERE (contact_index, tenant) IN ("  # noqa: S608 - our own words
        f"SELECT p.{contact}_index, p.tenant"
        " FROM carray(?) AS given CROSS JOIN processes AS p ON p.id = given.value)"
    )
    for channel, contact in ((Channel.SMS, "phone"), (Channel.EMAIL, "email"))
}
_ACCEPTED: Final = ProcessStatus.ACCEPTED.value
_LATE: Final = Settled.LATE, Settled.LATE.value
_WRONG: Final = Settled.WRONG, Settled.WRONG.value


def settle_attempts(work: ProcessWork, batch: Sequence[Verdict]) -> list[Settled]:
    """Right ones first, each in the order given."""
    return _settle_all(work, batch, _Settling.accept)


def settle_checks(work: ProcessWork, batch: Sequence[Verdict]) -> list[Settled]:
    """Right ones first; the caller has looked that they are of resets."""
    return _settle_all(work, batch, _Settling.give_back, accepted=rules.CHECKED)


def settle_late(work: ProcessWork, verdict: Verdict) -> Settled:
    """One that comes too late to be accepted, whatever its process says."""
    [settled] = _settle_all(work, [verdict], lambda *_: False)
    return settled


def _settle_all(
    work: ProcessWork,
    batch: Sequence[Verdict],
    accept: Accept,
    *,
    accepted: str = Settled.ACCEPTED.value,
) -> list[Settled]:
    """``accept`` does what a right one does; it is told whether the attempt was open.

    ``accepted`` is the trail's word for one that it accepts.
    """
    order = [place for place, verdict in enumerate(batch) if verdict.right]
    order += [place for place, verdict in enumerate(batch) if not verdict.right]
    answers: dict[int, Settled] = {}
    for start in range(0, len(order), ATTEMPTS_AT_ONCE):
        places = order[start : start + ATTEMPTS_AT_ONCE]
        settling = _Settling(work, [batch[place].counted for place in places])
        for place in places:
            answers[place] = settling.settle(batch[place], accept, accepted)
        settling.write()
    return [answers[place] for place in range(len(batch))]


class _Settling:
    """What is known of the processes of a batch, and what is not written yet."""

    def __init__(self, work: ProcessWork, counted: Iterable[Counted]) -> None:
        self._work = work
        self._counted = {each.process_id: each for each in counted}  # what names the process
        self._processes: dict[int, Tried] = {}
        self._open: dict[int, list[int]] = {}  # attempts by process
        self._closed: list[tuple[int, int]] = []  # to be written: processes, each with an attempt
        self._accepted: dict[tuple[int, Channel], list[int]] = {}  # by when, and on which route
        self._read(self._counted)

    def _read(self, process_ids: Iterable[int]) -> None:
        """Nothing about them may wait to be written."""
        which = apsw.carray(array("q", process_ids))
        rows: list[tuple[Any, ...]] = self._work.connection.execute(_READ, (which,)).fetchall()
        for number, uuid, *state, attempt in rows:
            opened = self._open.get(number)
            if opened is not None:
                opened.append(attempt)
                continue
            counted = self._counted[number]
            self._processes[number] = Tried(number, uuid, counted.tenant, counted.plan, *state)
            self._open[number] = [] if attempt is None else [attempt]

    def _again(self, process_id: int) -> None:
        """Write what waits; the process changed, and is read anew."""
        self.write()
        self._processes.pop(process_id, None)
        self._open.pop(process_id, None)
        self._read([process_id])

    def settle(self, verdict: Verdict, accept: Accept, accepted: str) -> Settled:
        """One verdict, after those before it."""
        counted = verdict.counted
        if verdict.claim is not None:
            before = claims.answer_of(self._work.connection, counted, verdict.claim)
            if before is not None:  # the same attempt, resumed, was faster
                return rules.settled_before(verdict, accepted=before)
        opened = self._close(counted.process_id, counted.attempt)
        if verdict.right and accept(self, verdict, opened):
            settled, word = Settled.ACCEPTED, accepted
        else:
            settled, word = _LATE if verdict.right else _WRONG
            self._go_on(verdict)
        if verdict.claim is not None:
            self._answer_claim(verdict, verdict.claim, settled)
        named = counted.tenant, counted.uuid
        line = rules.line(named, "otp.attempt", word, verdict.actor, verdict.at_ms)
        self._work.trail.append(line)
        return settled

    def _close(self, process_id: int, attempt: int) -> bool:
        """The attempt is not compared any more; whether it was."""
        left = self._open.get(process_id)
        if left is None or attempt not in left:
            return False
        left.remove(attempt)
        self._closed.append((process_id, attempt))
        return True

    def _acceptable(self, verdict: Verdict) -> Tried | None:
        """The process, if what is right may be accepted."""
        process = self._processes.get(verdict.counted.process_id)
        return process if process and rules.is_acceptable(process, verdict) else None

    def accept(self, verdict: Verdict, __: bool) -> bool:  # noqa: FBT001 - as settle calls
        """Accept the process: True for one caller, since the next one finds it accepted."""
        process = self._acceptable(verdict)
        if process is None:
            return False
        channel, _ = process.contact()  # there is one, or nothing is accepted
        self._accepted.setdefault((verdict.at_ms, channel), []).append(process.id)
        process.status = _ACCEPTED
        return True

    def give_back(self, verdict: Verdict, opened: bool) -> bool:  # noqa: FBT001 - as settle calls
        """What a right check does: the attempt is given back, once, and its contact's failure."""
        if self._acceptable(verdict) is None:
            return False
        self.write()
        counted, connection = verdict.counted, self._work.connection
        connection.execute(
            _GIVE_BACK,
            (verdict.at_ms, counted.process_id, counted.uuid, counted.generation, int(opened)),
        )
        self._again(counted.process_id)
        if opened:
            _, index = self._processes[counted.process_id].contact()
            give_failure_back(self._work, counted.tenant, index, verdict.at_ms)
        return True

    def _go_on(self, verdict: Verdict) -> None:
        """As ``process_statements.go_on``, which is asked only when there is something to do."""
        process_id = verdict.counted.process_id
        process = self._processes.get(process_id)
        if process is None or self._open.get(process_id):
            return
        if rules.is_to_go_on(process, verdict.at_ms, verdict.usable):
            self.write()
            process_statements.go_on(
                self._work, process_id, verdict.actor, verdict.at_ms, verdict.usable
            )
            self._again(process_id)

    def _answer_claim(self, verdict: Verdict, claim: IdempotencyClaim, settled: Settled) -> None:
        """Keep the answer for a repetition; of a late one the process's end is the answer."""
        connection = self._work.connection
        if settled is Settled.LATE:
            process = self._processes.get(verdict.counted.process_id)
            if process is None or not rules.is_open_at(process, verdict.at_ms):
                claims.release(connection, verdict.counted, claim)
                return
        accepted = settled is Settled.ACCEPTED
        claims.answer(connection, verdict.counted, claim, accepted=accepted)

    def write(self) -> None:
        """Write what was closed and accepted, of different instants one after the other."""
        if self._closed:
            self._write_closed()
        for (at_ms, channel), ids in self._accepted.items():
            self._write_accepted(ids, channel, at_ms)
        self._accepted.clear()

    def _write_closed(self) -> None:
        whole = {process_id for process_id, _ in self._closed if not self._open[process_id]}
        if whole:
            self._work.connection.execute(_CLOSE_ALL, (apsw.carray(array("q", whole)),))
        if len(whole) < len(self._closed):  # of the rest others are compared yet
            rest = [pair for pair in self._closed if pair[0] not in whole]
            self._work.connection.executemany(_CLOSE, rest)
        self._closed.clear()

    def _write_accepted(self, ids: Sequence[int], channel: Channel, at_ms: int) -> None:
        connection = self._work.connection
        which = apsw.carray(array("q", ids))
        connection.execute(_ACCEPT, (which, at_ms))
        if connection.changes() != len(ids):
            raise AssertionError("a process that was open is not")  # nothing of it is kept
        connection.execute(_FORGIVE[channel], (which,))
        outbox_queue.void_all_queued(connection, ids, at_ms)
        os.sched_yield()
