"""Attempts in SQL that were compared: what a batch of verdicts does, in few statements.

What a function promises is the sentence of its namesake in ``services/ports/processes.py``. As
``attempt_statements`` does, two statements read what a batch needs, each verdict is judged in
order, and a few statements write. A verdict that makes a process fail or move on is rare: it has
what waits written, and the process read anew.
"""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING, Any

import apsw
from msgspec import structs

from otp_server.domain.challenge_type import Channel
from otp_server.domain.process import ProcessStatus
from otp_server.services.ports.processes import Settled
from otp_server.stores import process_rules as rules
from otp_server.stores.sqlite import claim_statements as claims
from otp_server.stores.sqlite import outbox_queue, process_statements
from otp_server.stores.sqlite.attempt_statements import ATTEMPTS_AT_ONCE, give_failure_back
from otp_server.stores.sqlite.process_rows import PROCESS_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from otp_server.domain.process import Process
    from otp_server.services.ports.processes import Verdict
    from otp_server.stores.sqlite.process_rows import ProcessWork

    Accept = Callable[["_Settling", Verdict, bool], bool]

_READ = (
    f"SELECT {PROCESS_COLUMNS}"  # noqa: S608 - our own words
    " FROM carray(?) AS given CROSS JOIN processes AS p ON p.id = given.value"
    " CROSS JOIN plans ON plans.id = p.plan_id"
)
_READ_OPEN = (
    "SELECT o.process_id, o.attempt FROM carray(?) AS given"
    " CROSS JOIN open_attempts AS o ON o.process_id = given.value"
)
_CLOSE = "DELETE FROM open_attempts WHERE process_id = ? AND attempt = ?"
_CLOSE_ALL = "DELETE FROM open_attempts WHERE process_id IN (SELECT value FROM carray(?))"
_ACCEPT = (
    "UPDATE processes SET status = 'accepted', attempts = attempts - 1,"
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
    order = sorted(range(len(batch)), key=lambda place: not batch[place].right)
    answers: dict[int, Settled] = {}
    for start in range(0, len(order), ATTEMPTS_AT_ONCE):
        places = order[start : start + ATTEMPTS_AT_ONCE]
        settling = _Settling(work, {batch[place].counted.process_id for place in places})
        for place in places:
            answers[place] = settling.settle(batch[place], accept, accepted)
        settling.write()
    return [answers[place] for place in range(len(batch))]


class _Settling:
    """What is known of the processes of a batch, and what is not written yet."""

    def __init__(self, work: ProcessWork, process_ids: Collection[int]) -> None:
        self._work = work
        self._processes: dict[int, Process] = {}
        self._open: dict[int, set[int]] = {}  # attempts by process
        self._closed: dict[int, list[int]] = {}  # to be written: attempts by process
        self._accepted: dict[int, tuple[int, Channel]] = {}  # by process: when, on which route
        self._read(process_ids)

    def _read(self, process_ids: Collection[int]) -> None:
        """Nothing about them may wait to be written."""
        which = apsw.carray(array("q", process_ids))
        execute = self._work.connection.execute
        rows: list[tuple[Any, ...]] = execute(_READ, (which,)).fetchall()
        for row in rows:
            process = self._work.process_of(row)
            self._processes[process.id] = process
        opened: list[tuple[Any, ...]] = execute(_READ_OPEN, (which,)).fetchall()
        for process_id, attempt in opened:
            self._open.setdefault(process_id, set()).add(attempt)

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
            settled = Settled.ACCEPTED
        else:
            settled = Settled.LATE if verdict.right else Settled.WRONG
            self._go_on(verdict)
        self._answer_claim(verdict, settled)
        told = (counted.tenant, counted.uuid)
        word = accepted if settled is Settled.ACCEPTED else settled.value
        self._work.tell(told, "otp.attempt", word, verdict.actor, verdict.at_ms)
        return settled

    def _close(self, process_id: int, attempt: int) -> bool:
        """The attempt is not compared any more; whether it was."""
        left = self._open.get(process_id)
        if left is None or attempt not in left:
            return False
        left.remove(attempt)
        self._closed.setdefault(process_id, []).append(attempt)
        return True

    def _acceptable(self, verdict: Verdict) -> Process | None:
        """The process, if what is right may be accepted."""
        process = self._processes.get(verdict.counted.process_id)
        return process if process and rules.is_acceptable(process, verdict) else None

    def accept(self, verdict: Verdict, _: bool) -> bool:  # noqa: FBT001 - as settle calls
        """Accept the process: True for one caller, since the next one finds it accepted."""
        process = self._acceptable(verdict)
        if process is None:
            return False
        rules.route_contact(process)  # there is one, or nothing is accepted
        channel = process.plan.routes[process.route].channel
        self._accepted[process.id] = verdict.at_ms, channel
        self._processes[process.id] = structs.replace(process, status=ProcessStatus.ACCEPTED)
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
            process = self._processes[counted.process_id]
            contact = rules.route_contact(process)
            give_failure_back(self._work, process.tenant, contact.index, verdict.at_ms)
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

    def _answer_claim(self, verdict: Verdict, settled: Settled) -> None:
        """Keep the answer for a repetition; of a late one the process's end is the answer."""
        if verdict.claim is None:
            return
        connection = self._work.connection
        if settled is Settled.LATE:
            process = self._processes.get(verdict.counted.process_id)
            if process is None or not rules.is_open_at(process, verdict.at_ms):
                claims.release(connection, verdict.counted, verdict.claim)
                return
        accepted = settled is Settled.ACCEPTED
        claims.answer(connection, verdict.counted, verdict.claim, accepted=accepted)

    def write(self) -> None:
        """Write what was closed and accepted, of different instants one after the other."""
        self._write_closed()
        by_time: dict[int, list[int]] = {}
        for process_id, (at_ms, _) in self._accepted.items():
            by_time.setdefault(at_ms, []).append(process_id)
        for at_ms, ids in by_time.items():
            self._write_accepted(ids, at_ms)
        self._accepted.clear()

    def _write_closed(self) -> None:
        whole = [process_id for process_id in self._closed if not self._open[process_id]]
        if whole:
            self._work.connection.execute(_CLOSE_ALL, (apsw.carray(array("q", whole)),))
            for process_id in whole:
                del self._closed[process_id]
        for process_id, attempts in self._closed.items():  # of the rest others are compared yet
            pairs = [(process_id, attempt) for attempt in attempts]
            self._work.connection.executemany(_CLOSE, pairs)
        self._closed.clear()

    def _write_accepted(self, ids: Sequence[int], at_ms: int) -> None:
        connection = self._work.connection
        which = apsw.carray(array("q", ids))
        connection.execute(_ACCEPT, (which, at_ms))
        if connection.changes() != len(ids):
            raise AssertionError("a process that was open is not")  # nothing of it is kept
        for channel, forgive in _FORGIVE.items():
            forgiven = [each for each in ids if self._accepted[each][1] is channel]
            if forgiven:
                connection.execute(forgive, (apsw.carray(array("q", forgiven)),))
        outbox_queue.void_all_queued(connection, ids, at_ms)
        os.sched_yield()
