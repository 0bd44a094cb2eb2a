"""Handshake and init: what a process would be, and starting it.

For each init, in this order:

1. its fields, the type's plan, the contacts in normal form, a route that one of them can use,
   the rules of countries and line types (``services/start_reading.py``),
2. a provider that can be tried now: routes whose provider is down are passed over,
3. every limit and guard is asked; if all agree, all are charged (``services/start_limits.py``),
4. the store: process, first message and journal in one commit, or the first answer of its claim,
5. what was charged for a start that did not come about is given back,
6. what steps 1 to 3 declined may repeat an earlier call: then it is answered as that was, whatever
   became of the settings, the providers and the limits meanwhile.

A plan that turns out old is loaded again and everything is judged anew. Nothing is sent here.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, TypeVar

import msgspec

from otp_server.domain.audit import Actor
from otp_server.domain.challenge_type import Channel
from otp_server.domain.idempotency import parse_key
from otp_server.domain.outcome import Reason
from otp_server.domain.process_id import format_uuid, new_uuid
from otp_server.domain.process_outcome import HandshakeAnswer, ProcessRefused, StartAnswer
from otp_server.errors import ErrorKind, StoreUnavailable
from otp_server.services.guards import block_of
from otp_server.services.idempotency import claim_refused
from otp_server.services.ports.processes import ClaimRefusal, NewProcess, StalePlan, Started
from otp_server.services.start_journal import walk_starts
from otp_server.services.start_limits import Charged, SmsStart, Wish
from otp_server.services.start_reading import (
    Declined,
    Handshake,
    Start,
    StartReader,
    StartRules,
)
from otp_server.services.store_wait import store_wait
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otp_server.clock import Clock
    from otp_server.domain.process import Entity, SealedContact
    from otp_server.domain.process_outcome import HandshakeOutcome, Quotas, StartingOutcome
    from otp_server.services.contacts import ContactVault
    from otp_server.services.first_messages import FirstMessages
    from otp_server.services.ports.processes import IdempotencyClaim, ProcessStore
    from otp_server.services.ports.processes import StartOutcome as StoredStart
    from otp_server.services.settings import PlanCache
    from otp_server.services.start_limits import ProcessLimits
    from otp_server.services.start_reading import Ready

ROUNDS = 4
"""How often an init is tried while its tenant's settings change under it."""
_OPERATION = "init"
_MS = 1000
_SMS, _EMAIL = Channel.SMS, Channel.EMAIL

__all__ = ["Handshake", "Start", "StartRules", "StartService"]

O = TypeVar("O")  # noqa: E741 - an outcome

log = get_logger(__name__)


class _Entered(msgspec.Struct, frozen=True, gc=False):
    """A start that the limits let in; ``place`` is the one of its outcome."""

    place: int
    charged: Charged
    made: NewProcess


class _Unknown(Enum):
    """The store did not answer in time: it may have done it, so nothing is given back."""

    UNKNOWN = "unknown"


class StartService:
    """Starts processes."""

    def __init__(
        self,
        store: ProcessStore,
        *,
        clock: Clock,
        plans: PlanCache,
        vault: ContactVault,
        limits: ProcessLimits,
        rules: StartRules,
    ) -> None:
        self._store = store
        self._clock = clock
        self._plans = plans
        self._vault = vault
        self._limits = limits
        self._rules = rules
        self._reader = StartReader(plans, rules)

    async def restore(self) -> int:
        """Charge the limits with the starts the store remembers; how many. Call once at start.

        Raises StoreUnavailable, and LimiterFull (``ProcessLimits.restore``).
        """
        now_ms = self._clock.now_ms()
        return await walk_starts(
            self._store,
            now_ms - self._limits.longest_window_ms,
            lambda page: self._limits.restore(page, now_ms),
        )

    async def handshake_many(self, asked: Sequence[Handshake]) -> list[HandshakeOutcome]:
        """What an init would answer now, refusals by limits too; charges nothing.

        Cancellation: nothing. Raises nothing of the store: its failures are outcomes.
        """
        outcomes: list[HandshakeOutcome | None] = [None] * len(asked)
        ready, _ = await self._reader.read_many(asked, range(len(asked)), outcomes)
        now_ms = self._clock.now_ms()
        for i, item in ready:
            one, way = asked[i], item.way
            foreseen = self._limits.foresee(self._wish(one, item, b""), now_ms)
            if isinstance(foreseen, ProcessRefused):
                outcomes[i] = foreseen
            else:
                outcomes[i] = HandshakeAnswer(one.type_name, way.channel, way.life_s, foreseen)
        return _all(outcomes)

    async def start_many(self, starts: Sequence[Start]) -> list[StartingOutcome]:
        """Start each, in one store transaction for the whole batch in the usual case.

        Cancellation: once an init is charged the rest runs to its end (``services/store_wait.py``),
        so that a leaving client leaves no charge without a process. Raises nothing of the store:
        its failures are outcomes; after one the process may exist where the store did not answer
        at all, and a repetition with the same Idempotency-Key tells.
        """
        outcomes: list[StartingOutcome | None] = [None] * len(starts)
        waiting: Sequence[int] = range(len(starts))
        for _ in range(ROUNDS):
            if not waiting:
                break
            ready, declined = await self._reader.read_many(starts, waiting, outcomes)
            waiting = await self._start(starts, ready, declined, outcomes)
        for i in waiting:
            outcomes[i] = ProcessRefused(ErrorKind.UNAVAILABLE, Reason.SETTINGS_MOVED)
        return _all(outcomes)

    def _wish(self, asked: Handshake, item: Ready, uuid: bytes) -> Wish:
        tenant, contacts, way = asked.tenant, item.contacts, item.way
        index, indexes, sms = self._vault.index, {}, None
        for channel in way.usable:  # one nearly always
            indexes[channel] = index(tenant, channel, contacts[channel])
        if _SMS in indexes:
            sms = SmsStart(uuid, block_of(tenant, contacts[_SMS]))
        return Wish(asked, way.plan.type_id, indexes, sms)

    async def _start(
        self,
        starts: Sequence[Start],
        ready: Sequence[tuple[int, Ready]],
        declined: list[tuple[int, Declined]],
        outcomes: list[StartingOutcome | None],
    ) -> list[int]:
        """Steps 3 to 6; gives those whose plan was old."""
        with self._rules.first_messages() as first:
            entered = self._enter(starts, ready, declined, outcomes, first)
            results = await self._ask_store([each.made for each in entered])
            leased = [
                result.message
                for result in results
                if isinstance(result, Started) and result.message is not None
            ]
            first.bring(leased)
        if len(leased) < len(entered):
            self._rules.message_stored()
        now_ms = self._clock.now_ms()
        again: list[int] = []
        for each, result in zip(entered, results, strict=True):
            place, charged = each.place, each.charged
            if isinstance(result, Started):  # nearly always
                if result.replayed:
                    self._limits.take_back(charged)
                outcomes[place] = _started(result, charged.charges.quotas(now_ms))
                continue
            if not isinstance(result, _Unknown):
                self._limits.take_back(charged)
            match result:
                case StalePlan():
                    start = starts[place]
                    self._plans.forget(start.tenant, start.type_name)
                    again.append(place)
                case ClaimRefusal():
                    outcomes[place] = claim_refused(result)
                case _:
                    outcomes[place] = ProcessRefused(ErrorKind.UNAVAILABLE, Reason.STORE)
        await self._recall(starts, declined, outcomes)  # nothing is owed to the limits any more
        return again

    async def _recall(
        self,
        starts: Sequence[Start],
        declined: Sequence[tuple[int, Declined]],
        outcomes: list[StartingOutcome | None],
    ) -> None:
        """Step 6; an outcome is left as it is where there was no earlier call."""
        now_ms = self._clock.now_ms()
        asked: list[tuple[int, tuple[str, IdempotencyClaim]]] = []
        for i, item in declined:
            start = starts[i]
            if start.claim_key is None:
                continue
            claim = self._claim(start, self._indexes(start.tenant, item.contacts), now_ms)
            if claim is not None:
                asked.append((i, (start.tenant, claim)))
        if not asked:
            return
        try:
            recalled = await self._store.recall_starts([one for _, one in asked], now_ms)
        except StoreUnavailable as error:
            log.warning("repeated inits were not recalled", count=len(asked), why=str(error))
            return
        for (i, _), before in zip(asked, recalled, strict=True):
            match before:
                case Started():
                    outcomes[i] = _started(before, None)
                case ClaimRefusal():
                    outcomes[i] = claim_refused(before)

    async def _ask_store(
        self, made: Sequence[NewProcess]
    ) -> Sequence[StoredStart | StoreUnavailable | _Unknown]:
        """Step 4: what the store says to each, or that it did not do it, or said nothing."""
        if not made:
            return []
        with store_wait():
            try:
                return await self._store.start_processes(made)
            except StoreUnavailable as error:
                log.warning("processes not started", count=len(made), why=str(error))
                return [error] * len(made)
        log.warning("processes perhaps not started", count=len(made))
        return [_Unknown.UNKNOWN] * len(made)

    def _enter(
        self,
        starts: Sequence[Start],
        ready: Sequence[tuple[int, Ready]],
        declined: list[tuple[int, Declined]],
        outcomes: list[StartingOutcome | None],
        first: FirstMessages,
    ) -> list[_Entered]:
        """Step 3, for all at one instant; those refused are declined too."""
        now_ms, key_id = self._clock.now_ms(), self._rules.key_id
        entered: list[_Entered] = []
        for i, item in ready:
            start, way, uuid = starts[i], item.way, new_uuid()
            wish = self._wish(start, item, uuid)
            charged = self._limits.begin_start(wish, now_ms)
            if isinstance(charged, ProcessRefused):
                outcomes[i] = charged
                declined.append((i, Declined(charged, item.contacts)))
            else:
                sealed, claim = self._sealed(start.tenant, item.contacts, wish.indexes), None
                if start.claim_key is not None:
                    claim = self._claim(start, {c: sealed[c].index for c in sealed}, now_ms)
                made = NewProcess(
                    uuid=uuid,
                    tenant=start.tenant,
                    plan=way.plan,
                    settings_version=way.version,
                    phone=sealed.get(_SMS),
                    email=sealed.get(_EMAIL),
                    counted_indexes=tuple(wish.indexes.values()),
                    entities=_distinct(start.entities),
                    route=way.route,
                    key_id=key_id,
                    created_at_ms=now_ms,
                    expires_at_ms=now_ms + way.life_s * _MS,
                    actor=Actor(f"client:{start.client_id}", start.address),
                    claim=claim,
                    lease=first.lease(way.channel),
                )
                entered.append(_Entered(i, charged, made))
        return entered

    def _sealed(
        self, tenant: str, contacts: Mapping[Channel, str], known: Mapping[Channel, bytes]
    ) -> dict[Channel, SealedContact]:
        """``known`` are indexes that were asked for before."""
        seal, sealed = self._vault.seal, {}
        for channel, contact in contacts.items():  # one nearly always
            sealed[channel] = seal(tenant, channel, contact, known.get(channel))
        return sealed

    def _claim(
        self, start: Start, indexes: Mapping[Channel, bytes], now_ms: int
    ) -> IdempotencyClaim | None:
        key = None if start.claim_key is None else parse_key(start.claim_key)
        if key is None:
            return None
        asked = [start.type_name.encode()]
        asked += [indexes.get(channel, b"") for channel in Channel]
        for entity in dict.fromkeys(start.entities):
            asked += [entity.type.encode(), entity.id.encode()]
        return self._rules.claims.claim(start.client_id, _OPERATION, key, now_ms, asked=asked)

    def _indexes(self, tenant: str, contacts: Mapping[Channel, str]) -> dict[Channel, bytes]:
        index = self._vault.index
        return {channel: index(tenant, channel, contact) for channel, contact in contacts.items()}


def _distinct(entities: tuple[Entity, ...]) -> tuple[Entity, ...]:
    return tuple(dict.fromkeys(entities)) if len(entities) > 1 else entities


def _started(result: Started, quotas: Quotas | None) -> StartAnswer:
    channel = result.plan.routes[result.route].channel
    return StartAnswer(format_uuid(result.uuid), channel, result.replayed, quotas)


def _all(outcomes: Sequence[O | None]) -> list[O]:
    done = [outcome for outcome in outcomes if outcome is not None]
    if len(done) != len(outcomes):
        raise AssertionError("a request was left without an answer")
    return done
