"""The rest face over one store, served over real HTTP: every service, no worker, no process.

Messages are handed over by :meth:`RestWorld.deliver`, and codes are derived as the worker would.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from otp_server.api.docs import docs_operations
from otp_server.api.mount import mount
from otp_server.api.rest.oauth import oauth_operations
from otp_server.api.rest.operations import RestOptions, RestServices, rest_operations
from otp_server.api.web import WebOptions, make_app
from otp_server.app.http import HttpSide
from otp_server.core import Keyring
from otp_server.domain.challenge_type import Channel
from otp_server.domain.client import DEFAULT_TENANT, Scope
from otp_server.domain.contact import PhoneRules
from otp_server.domain.process_id import parse_uuid
from otp_server.domain.settings_rules import SettingsBounds
from otp_server.services.attempts import AttemptRules, AttemptService
from otp_server.services.call_limits import CallLimits
from otp_server.services.clients import ClientDirectory, ClientService
from otp_server.services.contacts import ContactVault
from otp_server.services.idempotency import Claims
from otp_server.services.limit_hits import LimitHits
from otp_server.services.ports.outbox import DeliveryReport, MessageState
from otp_server.services.process_code import derive_code
from otp_server.services.search import SearchRules, SearchService
from otp_server.services.settings import PlanCache, SettingsService
from otp_server.services.signing import TokenSigner
from otp_server.services.start_limits import LimitWindows, ProcessLimits
from otp_server.services.starts import StartRules, StartService
from otp_server.telemetry import Metrics
from tests.support.back_end import BackEnd
from tests.support.http_stage import client_of
from tests.support.world import KEY, TrioClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    import httpx2

    from otp_server.api.operation import Operation
    from otp_server.services.ports import Store

BODY_BYTES_MAX = 65_536
CONTRACT = ((6, 60_000), (18, 3_600_000), (24, 86_400_000))
PLENTY = ((1_000_000, 60_000),)
ALL_SCOPES = frozenset(Scope)


@dataclass
class RestWorld:
    """Everything of the face over ``store``."""

    store: Store
    contact_limit: Sequence[tuple[int, int]] = CONTRACT
    calls_limit: Sequence[tuple[int, int]] = PLENTY
    masked: bool = False
    closed_channels: set[Channel] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.clock = TrioClock()
        self.metrics = Metrics()
        keys = [("k1", KEY)]
        self.keyring = Keyring(keys)
        self.vault = ContactVault(keys)
        self.plans = PlanCache(self.store, clock=self.clock)
        windows = LimitWindows(
            contact=self.contact_limit,
            tenant=PLENTY,
            everybody=PLENTY,
            calls=self.calls_limit,
            wrong_address=PLENTY,
            wrong_client=PLENTY,
            keys_max=10_000,
        )
        hits = LimitHits(self.metrics)
        self.limits = ProcessLimits(windows, hits=hits, guards=None)
        self.calls = CallLimits(windows, hits=hits, clock=self.clock)
        claims = Claims(KEY, kept_ms=3_600_000)
        self.settings = SettingsService(
            self.store, clock=self.clock, bounds=SettingsBounds(), plans=self.plans
        )
        self.clients = ClientService(self.store, clock=self.clock, settings=self.settings)
        self.directory = ClientDirectory(
            self.store, signer=TokenSigner(keys), clock=self.clock, token_ttl_s=3600
        )
        rules = StartRules(
            key_id="k1",
            claims=claims,
            phones=PhoneRules(),
            default_country=None,
            can_send=lambda channel: channel not in self.closed_channels,
            message_stored=lambda: None,
        )
        self.starts = StartService(
            self.store,
            clock=self.clock,
            plans=self.plans,
            vault=self.vault,
            limits=self.limits,
            rules=rules,
        )
        self.attempts = AttemptService(
            self.store,
            clock=self.clock,
            keyring=self.keyring,
            limits=self.limits,
            rules=AttemptRules(claims, lambda: None),
        )
        self.searches = SearchService(
            self.store,
            clock=self.clock,
            plans=self.plans,
            vault=self.vault,
            rules=SearchRules(masked=self.masked),
        )
        services = RestServices(
            self.starts, self.attempts, self.searches, self.settings, self.calls, self.clock
        )
        self.operations: list[Operation[Any, Any]] = [
            *rest_operations(services, RestOptions()),
            *oauth_operations(self.directory, self.calls),
        ]
        web = WebOptions(BODY_BYTES_MAX, [])
        self.app = make_app("rest", web, self.metrics)
        mounted = [*self.operations, *docs_operations(self.operations, version="0")]
        mount(self.app, mounted, self.directory)
        self.side = HttpSide(self.app, mounted, self.directory, self.metrics, lambda: False)

    async def token(
        self, *, tenant: str = DEFAULT_TENANT, scopes: frozenset[Scope] = ALL_SCOPES
    ) -> str:
        """The token of a new client; its tenant has the examples."""
        client, _ = await self.clients.add("test", tenant=tenant, scopes=scopes)
        await self.directory.refresh()
        return self.directory.issue(client, scopes)[0]

    async def code_of(self, uuid: str, tenant: str = DEFAULT_TENANT) -> str:
        """The code of a process now, as the worker would send it."""
        found = parse_uuid(uuid)
        process = None if found is None else await self.store.find_process(tenant, found)
        assert process is not None
        return derive_code(self.keyring, process).reveal()

    async def deliver(
        self,
        state: MessageState = MessageState.SENT,
        problem: str | None = None,
        channels: Iterable[Channel] = tuple(Channel),
    ) -> int:
        """Hand over every message that is due, with this outcome; how many there were."""
        now_ms = self.clock.now_ms()
        count = 0
        for channel in channels:
            leased = await self.store.claim_messages(
                channel, now_ms=now_ms, lease_until_ms=now_ms + 60_000, limit=100
            )
            reports = [
                DeliveryReport(m.message_id, m.lease, state, now_ms, "test", problem)
                for m in leased
            ]
            await self.store.report_deliveries(reports)
            count += len(leased)
        return count

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[httpx2.AsyncClient]:
        """The application on a real socket, and a client for it."""
        async with client_of(self.side) as http:
            yield http

    @asynccontextmanager
    async def back_end(self, *, tenant: str = DEFAULT_TENANT) -> AsyncIterator[BackEnd]:
        """A back end with a token of all scopes."""
        token = await self.token(tenant=tenant)
        async with self.serve() as http:
            yield BackEnd(http, token)
