"""Attempts of the memory store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import structs

from otp_server.domain.process import ProcessStatus
from otp_server.services.ports.processes import AttemptRefusal, Settled
from otp_server.stores import process_rules as rules
from otp_server.stores.memory.process_state import MemoryProcessState, claim_name
from otp_server.stores.process_rules import TakenClaim

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


class MemoryAttempts(MemoryProcessState):
    """Counting and settling, and the failures of contacts."""

    async def count_attempts(self, batch: Sequence[NewAttempt]) -> list[CountOutcome]:
        """See :class:`otp_server.services.ports.ProcessStore`; so for all below."""
        await self._enter()
        outcomes: list[CountOutcome] = []
        for item in batch:
            outcome = self._count(item)
            outcomes.append(outcome)
            if outcome is not AttemptRefusal.NOT_FOUND:
                word = rules.attempt_word(outcome)
                self._tell((item.tenant, item.uuid), "otp.attempt", word, item.actor, item.at_ms)
        return outcomes

    def _count(self, item: NewAttempt) -> CountOutcome:
        taken = self._taken_claim(item)
        said = None if taken is None else rules.claim_says(taken, item)
        if said is not None:
            return said
        process = self._find_process(item.tenant, item.uuid)
        if process is None:
            return AttemptRefusal.NOT_FOUND
        refusal = rules.refusal_of(process, item.at_ms, counted=taken is not None)
        if refusal is not None:
            return refusal
        if taken is not None:
            return self._resume(item, process, taken)
        return self._charge(item, process)

    def _charge(self, item: NewAttempt, process: Process) -> Counted | AttemptRefusal | AttemptWait:
        """Count it, unless its route or the contact's budget says."""
        if rules.is_to_move_on(process, item.at_ms, item.usable):
            if self._open_attempts.get(process.id):
                return rules.ROUTE_WAIT
            moved = self._take_next_route(process, item.actor, item.at_ms, item.usable)
            process = moved or process
        contact = process.tenant, rules.route_contact(process).index
        failures, last_at_ms = self._failures.get(contact, (0, item.at_ms))
        held = rules.budget_refusal(failures, last_at_ms, item.at_ms)
        if held is not None:
            return held
        self._failures[contact] = failures + 1, max(last_at_ms, item.at_ms)
        process = self._processes[process.id] = structs.replace(
            process,
            attempts=process.attempts + 1,
            route_attempts=process.route_attempts + 1,
            updated_at_ms=item.at_ms,
        )
        number = process.attempts + self._given_back.get(process.id, 0)
        self._open_attempts.setdefault(process.id, {})[number] = item.at_ms
        if item.claim is not None:
            taken = TakenClaim(
                item.claim.fingerprint,
                item.uuid,
                generation=process.generation,
                attempt=number,
                counted_at_ms=item.at_ms,
            )
            name = claim_name(item.tenant, item.claim)
            self._claims[name] = taken, item.claim.expires_at_ms
        return rules.counted(process, process.generation, number)

    def _resume(self, item: NewAttempt, process: Process, taken: TakenClaim) -> Counted:
        self._open_attempts.setdefault(process.id, {})[taken.attempt] = item.at_ms
        if item.claim is not None:
            name = claim_name(item.tenant, item.claim)
            again = replace(taken, counted_at_ms=item.at_ms)
            self._claims[name] = again, self._claims[name][1]
        return rules.counted(process, taken.generation, taken.attempt, resumed=True)

    def _taken_claim(self, item: NewAttempt) -> TakenClaim | None:
        if item.claim is None:
            return None
        taken, expires_at_ms = self._claims.get(claim_name(item.tenant, item.claim), (None, 0))
        return taken if expires_at_ms > item.at_ms else None

    async def settle_attempts(self, batch: Sequence[Verdict]) -> list[Settled]:
        """Right ones first."""
        await self._enter()
        order = sorted(range(len(batch)), key=lambda place: not batch[place].right)
        answers = {place: self._settle(batch[place], self._accept_attempt) for place in order}
        return [answers[place] for place in range(len(batch))]

    def _settle(
        self,
        verdict: Verdict,
        accept: Callable[[Verdict, bool], bool],
        *,
        accepted: str = Settled.ACCEPTED.value,
    ) -> Settled:
        """``accept`` does what a right one does; it is told whether the attempt was open.

        ``accepted`` is the trail's word for one that it accepts.
        """
        counted = verdict.counted
        claimed = self._claim_of(verdict)
        if claimed is not None and claimed.accepted is not None:
            return rules.settled_before(verdict, accepted=claimed.accepted)
        opened = self._open_attempts.get(counted.process_id, {}).pop(counted.attempt, None)
        if verdict.right and accept(verdict, opened is not None):
            settled = Settled.ACCEPTED
        else:
            settled = Settled.LATE if verdict.right else Settled.WRONG
            self._go_on(counted.process_id, verdict.actor, verdict.at_ms, verdict.usable)
        if claimed is not None:
            self._answer_claim(verdict, claimed, settled)
        told = counted.tenant, counted.uuid
        word = accepted if settled is Settled.ACCEPTED else settled.value
        self._tell(told, "otp.attempt", word, verdict.actor, verdict.at_ms)
        return settled

    def _acceptable(self, verdict: Verdict) -> Process | None:
        """The process, if what is right may be accepted."""
        process = self._processes.get(verdict.counted.process_id)
        return process if process and rules.is_acceptable(process, verdict) else None

    def _accept_attempt(self, verdict: Verdict, _: bool) -> bool:  # noqa: FBT001 - as _settle calls
        process = self._acceptable(verdict)
        if process is None:
            return False
        accepted = structs.replace(
            process, attempts=process.attempts - 1, route_attempts=process.route_attempts - 1
        )
        self._end_process(accepted, ProcessStatus.ACCEPTED, None, verdict.at_ms)
        self._failures.pop((process.tenant, rules.route_contact(process).index), None)
        return True

    def _pass_attempt(self, verdict: Verdict, opened: bool) -> bool:  # noqa: FBT001 - as above
        """What a right check does: the attempt is given back, once."""
        process = self._acceptable(verdict)
        if process is None or not opened:
            return process is not None
        self._processes[process.id] = structs.replace(
            process, attempts=process.attempts - 1, route_attempts=process.route_attempts - 1
        )
        self._given_back[process.id] = self._given_back.get(process.id, 0) + 1
        contact = process.tenant, rules.route_contact(process).index
        failures, last_at_ms = self._failures.pop(contact, (0, 0))
        if failures > 1:
            self._failures[contact] = rules.failure_given_back(failures, last_at_ms, verdict.at_ms)
        return True

    def _claim_of(self, verdict: Verdict) -> TakenClaim | None:
        """The claim, if it still is of this attempt."""
        if verdict.claim is None:
            return None
        name = claim_name(verdict.counted.tenant, verdict.claim)
        taken, _ = self._claims.get(name, (None, 0))
        of = verdict.counted.uuid, verdict.counted.attempt
        return taken if taken is not None and (taken.uuid, taken.attempt) == of else None

    def _answer_claim(self, verdict: Verdict, claimed: TakenClaim, settled: Settled) -> None:
        if verdict.claim is None:
            return
        name = claim_name(verdict.counted.tenant, verdict.claim)
        process = self._processes.get(verdict.counted.process_id)
        over = process is None or not rules.is_open_at(process, verdict.at_ms)
        if settled is Settled.LATE and over:
            del self._claims[name]
        else:
            answered = replace(claimed, accepted=settled is Settled.ACCEPTED)
            self._claims[name] = answered, self._claims[name][1]

    async def contact_failures(self, tenant: str, index: bytes) -> int:
        """A look-up."""
        await self._enter()
        return self._failures.get((tenant, index), (0, 0))[0]

    async def forgive_contact(self, tenant: str, index: bytes, actor: Actor, at_ms: int) -> bool:
        """Drop the count."""
        await self._enter()
        if self._failures.pop((tenant, index), None) is None:
            return False
        self._append_audit([rules.forgiven(tenant, index, actor, at_ms)])
        return True
