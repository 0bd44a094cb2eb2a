"""Accounts and sessions over one store, with virtual time and cheap hashes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otp_server.domain.account import MAIN_ORGANISATION
from otp_server.services.account_upkeep import AccountUpkeep
from otp_server.services.accounts import AccountService, NewAccount
from otp_server.services.breached import BreachedPasswords
from otp_server.services.contacts import ContactVault
from otp_server.services.limit_hits import LimitHits
from otp_server.services.password_policy import PasswordPolicy
from otp_server.services.passwords import HashCost, PasswordHasher
from otp_server.services.session_limits import SessionLimits, SessionWindows
from otp_server.services.sessions import (
    SessionAsked,
    SessionRules,
    SessionService,
    SignInAsked,
)
from otp_server.services.sockets import SocketRegistry
from otp_server.stores.memory import MemoryStore
from otp_server.telemetry import Metrics
from tests.support.world import KEY, PLENTY, TrioClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.account import Session, User
    from otp_server.domain.account_outcome import SignInOutcome
    from otp_server.services.ports import Store

CHEAP = HashCost(passes=1, memory_kib=8)
ADDRESS = "192.0.2.1"
HOST = "a.example"
EMAIL = "jane.doe@example.com"
PASSWORD = "plum tractor 7 violet"
FREE = SessionWindows(
    account=PLENTY, address=PLENTY, sessions=PLENTY, sessions_in_all=PLENTY, keys_max=1000
)


class CountingHasher(PasswordHasher):
    """A cheap one that notes what it was asked: whether the hash was somebody's."""

    def __init__(self) -> None:
        super().__init__(CHEAP)
        self.compared: list[bool] = []
        self.hashed = 0

    def hash_now(self, password: str) -> str:
        self.hashed += 1
        return super().hash_now(password)

    def verify_now(self, stored: str | None, password: str) -> bool:
        self.compared.append(stored is not None)
        return super().verify_now(stored, password)


@dataclass
class AccountWorld:
    """Services over one store. Replace a part before using it."""

    store: Store = field(default_factory=MemoryStore)
    windows: SessionWindows = FREE
    rules: SessionRules = field(default_factory=SessionRules)
    contact_keys: Sequence[tuple[str, bytes]] = (("c1", KEY[::-1]),)
    clock: TrioClock = field(default_factory=TrioClock)
    hasher: CountingHasher = field(default_factory=CountingHasher)
    breached_file: str = ""

    def __post_init__(self) -> None:
        self.metrics = Metrics()
        self.hits = LimitHits(self.metrics)
        self.vault = ContactVault(self.contact_keys)
        self.policy = PasswordPolicy(BreachedPasswords(self.breached_file))
        self.accounts = AccountService(
            self.store,
            vault=self.vault,
            clock=self.clock,
            hasher=self.hasher,
            policy=self.policy,
        )
        self.sockets = SocketRegistry()
        self.limits = SessionLimits(self.windows, hits=self.hits, clock=self.clock)
        self.sessions = SessionService(
            self.store,
            clock=self.clock,
            accounts=self.accounts,
            limits=self.limits,
            sockets=self.sockets,
            rules=self.rules,
        )
        self.upkeep = AccountUpkeep(self.store, self.clock, self.metrics)

    async def add(self, email: str = EMAIL, **changed: str | None) -> User:
        """An account of Jane Doe's with PASSWORD."""
        given: dict[str, str | None] = {
            "firstname": "Jane",
            "lastname": "Doe",
            "organisation": MAIN_ORGANISATION,
            "password": PASSWORD,
        }
        return await self.accounts.add(NewAccount(email, **{**given, **changed}))

    async def begin(self, host: str = HOST) -> tuple[str, Session]:
        """An anonymous session that must begin."""
        begun = await self.sessions.begin(host, MAIN_ORGANISATION, ADDRESS)
        assert isinstance(begun, tuple), begun
        return begun

    async def find(self, session_id: str | None, host: str = HOST) -> Session | None:
        [found] = await self.sessions.find_many([SessionAsked(host, session_id)])
        return found

    async def sign_in(
        self,
        email: str = EMAIL,
        password: str = PASSWORD,
        *,
        session: Session | None = None,
        address: str = ADDRESS,
        socket_id: str | None = None,
    ) -> SignInOutcome:
        return await self.sessions.sign_in(
            SignInAsked(session, HOST, MAIN_ORGANISATION, address, email, password, socket_id)
        )

    async def trail(self) -> list[tuple[str, str, str, str]]:
        """``(actor, subject, action, outcome)`` of the audit."""
        return [
            (entry.actor, entry.subject, entry.action, entry.outcome)
            for _, entry, _, _ in await self.store.audit_after(0, 10_000)
        ]
