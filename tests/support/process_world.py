"""The use cases of OTP processes over one store, with virtual time and no sockets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import trio
from msgspec import structs

from otp_server.core import Keyring
from otp_server.domain.audit import Actor
from otp_server.domain.challenge_type import (
    EVERY_CHANNEL,
    ChallengeRoute,
    ChallengeType,
    Channel,
    CodeType,
    Template,
)
from otp_server.domain.contact import PhoneRules
from otp_server.domain.process_id import parse_uuid
from otp_server.domain.process_outcome import ProcessRefused, StartAnswer
from otp_server.domain.settings_rules import TTL_MAX_S
from otp_server.services.attempts import Attempt, AttemptRules, AttemptService
from otp_server.services.contacts import ContactVault
from otp_server.services.guards import GuardRules, SmsGuards
from otp_server.services.idempotency import Claims
from otp_server.services.limit_hits import LimitHits
from otp_server.services.ports.outbox import DeliveryReport, MessageState
from otp_server.services.process_code import derive_code
from otp_server.services.process_upkeep import ProcessUpkeep
from otp_server.services.search import SearchRules, SearchService
from otp_server.services.settings import PlanCache
from otp_server.services.start_limits import LimitWindows, ProcessLimits
from otp_server.services.starts import Start, StartRules, StartService
from otp_server.stores.memory import MemoryStore
from otp_server.telemetry import Metrics
from tests.support.world import KEY, PLENTY, TrioClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from otp_server.domain.process import Process
    from otp_server.domain.process_outcome import AttemptOutcome, StartingOutcome
    from otp_server.services.ports import Store

C = TypeVar("C")
O = TypeVar("O")  # noqa: E741 - an outcome

TENANT = "acme"
OPERATOR = Actor("operator")
PHONE = "+491701234567"
OTHER_PHONE = "+491701234999"
EMAIL = "person@example.com"
CONTRACT = ((6, 60_000), (18, 3_600_000), (24, 86_400_000))
UNLIMITED = LimitWindows(
    contact=PLENTY,
    tenant=PLENTY,
    everybody=PLENTY,
    calls=PLENTY,
    wrong_address=PLENTY,
    wrong_client=PLENTY,
    keys_max=1000,
)
SMS, MAIL = Channel.SMS, Channel.EMAIL


@dataclass
class ProcessWorld:
    """Services over one store. Replace a part before using it."""

    store: Store = field(default_factory=MemoryStore)
    windows: LimitWindows = UNLIMITED
    guard_rules: GuardRules | None = None
    keys: Sequence[tuple[str, bytes]] = (("k1", KEY),)
    contact_keys: Sequence[tuple[str, bytes]] = (("c1", KEY[::-1]),)
    phones: PhoneRules = field(default_factory=PhoneRules)
    masked: bool = False
    clock: TrioClock = field(default_factory=TrioClock)
    down: set[Channel] = field(default_factory=set)
    """The channels whose provider cannot be tried now."""
    provided: frozenset[Channel] = EVERY_CHANNEL
    ttl_max_s: int = TTL_MAX_S

    def __post_init__(self) -> None:
        self.metrics = Metrics()
        self.wakes = 0
        self.keyring = Keyring(self.keys)
        self.vault = ContactVault(self.contact_keys)
        self.plans = PlanCache(self.store, clock=self.clock)
        self.hits = LimitHits(self.metrics)
        self.guards = None if self.guard_rules is None else SmsGuards(self.guard_rules)
        self.limits = ProcessLimits(self.windows, hits=self.hits, guards=self.guards)
        claims = Claims(self.contact_keys[-1][1], kept_ms=86_400_000)
        self.starts = StartService(
            self.store,
            clock=self.clock,
            plans=self.plans,
            vault=self.vault,
            limits=self.limits,
            rules=StartRules(
                key_id=self.keyring.key_ids[0],
                claims=claims,
                phones=self.phones,
                default_country=None,
                can_send=lambda channel: channel not in self.down,
                message_stored=self._wake,
                ttl_max_s=self.ttl_max_s,
            ),
        )
        self.attempts = AttemptService(
            self.store,
            clock=self.clock,
            keyring=self.keyring,
            limits=self.limits,
            rules=AttemptRules(claims, self._wake, self.provided),
        )
        self.search = SearchService(
            self.store,
            clock=self.clock,
            plans=self.plans,
            vault=self.vault,
            rules=SearchRules(masked=self.masked),
        )
        self.upkeep = ProcessUpkeep(
            self.store, self.clock, self.hits, self.metrics, keep_days=30, channels=self.provided
        )

    def _wake(self) -> None:
        self.wakes += 1

    async def add_type(
        self,
        name: str = "login",
        routes: Sequence[tuple[Channel, int]] = ((SMS, 5),),
        *,
        tenant: str = TENANT,
        max_attempts: int = 5,
        ttl: int = 3600,
        code_type: CodeType = CodeType.NUMERIC,
    ) -> ChallengeType:
        """A type with a route for each ``(channel, attempts)``, in that order."""
        kind = await self.store.add_setting(
            ChallengeType(
                id=0,
                tenant=tenant,
                name=name,
                code_type=code_type,
                code_length=6,
                ttl=ttl,
                max_attempts=max_attempts,
                created_at_ms=0,
                updated_at_ms=0,
            ),
            OPERATOR,
        )
        for order, (channel, attempts) in enumerate(routes):
            words = await self.store.add_setting(
                Template(
                    id=0,
                    tenant=tenant,
                    name=f"{name} {order}",
                    channel=channel,
                    subject="" if channel is SMS else "Code",
                    text="${answer}",
                    created_at_ms=0,
                    updated_at_ms=0,
                ),
                OPERATOR,
            )
            await self.store.add_setting(
                ChallengeRoute(
                    id=0,
                    tenant=tenant,
                    challenge_type_id=kind.id,
                    order=order,
                    channel=channel,
                    template_id=words.id,
                    attempts=attempts,
                    created_at_ms=0,
                    updated_at_ms=0,
                ),
                OPERATOR,
            )
        return kind

    async def start(self, start: Start | None = None) -> StartAnswer:
        """Start one that must start."""
        [outcome] = await self.starts.start_many([start or init()])
        assert isinstance(outcome, StartAnswer), outcome
        return outcome

    async def refusal(self, start: Start) -> ProcessRefused:
        """Start one that must be refused."""
        [outcome] = await self.starts.start_many([start])
        assert isinstance(outcome, ProcessRefused), outcome
        return outcome

    async def starts_counted(self) -> int:
        """What the journal of the limits holds."""
        return len(await self.store.starts_since(0))

    async def process(self, uuid: str, tenant: str = TENANT) -> Process:
        raw = parse_uuid(uuid)
        assert raw is not None
        process = await self.store.find_process(tenant, raw)
        assert process is not None
        return process

    async def code_of(self, uuid: str, tenant: str = TENANT) -> str:
        """The right code now: of the process's current generation."""
        process = await self.process(uuid, tenant)
        return derive_code(self.keyring, process).reveal()

    async def try_code(self, uuid: str, code: str, **changed: str) -> AttemptOutcome:
        [outcome] = await self.attempts.attempt_many(
            [structs.replace(attempt(uuid, code), **changed)]
        )
        return outcome

    async def try_right(self, uuid: str) -> AttemptOutcome:
        return await self.try_code(uuid, await self.code_of(uuid))

    async def try_wrong(self, uuid: str) -> AttemptOutcome:
        return await self.try_code(uuid, wrong(await self.code_of(uuid)))

    async def hand_over(
        self, channel: Channel, state: MessageState, limit: int = 100
    ) -> list[bytes]:
        """A worker's turn: every message due ends in ``state``; of which processes they are."""
        now_ms = self.clock.now_ms()
        leased = await self.store.claim_messages(
            channel, now_ms=now_ms, lease_until_ms=now_ms + 30_000, limit=limit
        )
        await self.store.report_deliveries(
            [
                DeliveryReport(each.message_id, each.lease, state, now_ms, "test", "unknown")
                for each in leased
            ]
        )
        return [each.uuid for each in leased]

    async def trail(self, action: str) -> list[tuple[str, str, str]]:
        """``(actor, subject, outcome)`` of the audit entries of an action."""
        return [
            (entry.actor, entry.subject, entry.outcome)
            for _, entry, _, _ in await self.store.audit_after(0, 10_000)
            if entry.action == action
        ]


def init(type_name: str = "login", **changed: object) -> Start:
    """An init for PHONE."""
    given: dict[str, object] = {
        "tenant": TENANT,
        "client_id": "client",
        "address": "192.0.2.1",
        "type_name": type_name,
    }
    if not {"phone", "email"} & changed.keys():
        given["phone"] = PHONE
    return Start(**{**given, **changed})


def attempt(uuid: str, code: str, claim_key: str | None = None) -> Attempt:
    return Attempt(TENANT, "client", "192.0.2.1", uuid, code, claim_key)


def wrong(code: str) -> str:
    """Another code of the same alphabet."""
    last = code[-1]
    if last.isdigit():
        return code[:-1] + str((int(last) + 1) % 10)
    return code[:-1] + ("B" if last != "B" else "C")


async def at_once(
    call: Callable[[Sequence[C]], Awaitable[Sequence[O]]], commands: Sequence[C]
) -> list[O]:
    """Each command in a task of its own; the outcomes as they come."""
    outcomes: list[O] = []

    async def one(command: C) -> None:
        outcomes.extend(await call([command]))

    async with trio.open_nursery() as nursery:
        for command in commands:
            nursery.start_soon(one, command)
    return outcomes


def kinds(outcomes: Sequence[StartingOutcome | AttemptOutcome]) -> list[str]:
    """Each outcome in a word: a refusal's token, or its class."""
    return [
        outcome.kind.token if hasattr(outcome, "kind") else type(outcome).__name__.lower()
        for outcome in outcomes
    ]
