"""The codes of the svc face over one store, with virtual time and no sockets but bound ids."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import trio

from otp_server.core import Keyring
from otp_server.delivery.breaker import BreakerOptions, CircuitBreaker
from otp_server.domain.account import Session, User, digest_of, new_session_id, tenant_of
from otp_server.domain.account_outcome import SecretSent
from otp_server.domain.challenge_type import Channel
from otp_server.errors import StoreUnavailable
from otp_server.services.accounts import AccountService, NewAccount
from otp_server.services.breached import BreachedPasswords
from otp_server.services.compose import MessageComposer
from otp_server.services.contacts import ContactVault
from otp_server.services.deliver import DeliveryOptions, DeliveryParts, DeliveryService
from otp_server.services.delivery_watch import DeliveryWatch
from otp_server.services.limit_hits import LimitHits
from otp_server.services.password_policy import PasswordPolicy
from otp_server.services.passwords import HashCost, PasswordHasher
from otp_server.services.ports.delivery import Provider
from otp_server.services.process_code import derive_code
from otp_server.services.process_upkeep import ProcessUpkeep
from otp_server.services.reset_calls import Change, Check, Send
from otp_server.services.reset_limits import ResetLimits, ResetWindows
from otp_server.services.resets import PasswordParts, ResetParts, ResetRules, ResetService
from otp_server.services.session_limits import SessionLimits, SessionWindows
from otp_server.services.sessions import SessionAsked, SessionService, SignInAsked
from otp_server.services.sockets import SocketRegistry
from otp_server.stores.memory import MemoryStore
from otp_server.telemetry import Metrics
from tests.support.queued_messages import ToldSender
from tests.support.world import KEY, PLENTY, TrioClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otp_server.domain.account_outcome import ChangeOutcome, CheckOutcome, SignInOutcome
    from otp_server.domain.process import Process
    from otp_server.services.ports import Store
    from otp_server.services.ports.resets import Reset

HOST = "app.example"
ORGANISATION = "main"
TENANT = tenant_of(ORGANISATION)
EMAIL = "jana@example.org"
OTHER_EMAIL = "petr@example.org"
OLD = "the old but good password"
NEW = "a new and better password"
ADDRESS = "192.0.2.1"
CONTRACT = ((6, 60_000), (18, 3_600_000), (24, 86_400_000))
UNLIMITED = ResetWindows(
    account=PLENTY,
    sends_address=PLENTY,
    wrong_address=PLENTY,
    sends_in_all=PLENTY,
    keys_max=1000,
)
CHEAP = HashCost(passes=1, memory_kib=8)
BREACHED = BreachedPasswords()


@dataclass
class Client:
    """A web client: its session, and the socket that is bound to it."""

    session: Session
    session_id: str
    socket_id: str
    ended: list[str] = field(default_factory=list)
    """Which of its sockets were told that their session ended."""


@dataclass
class ResetWorld:
    """Services over one store. Replace a part before using it."""

    store: Store = field(default_factory=MemoryStore)
    windows: ResetWindows = UNLIMITED
    reveal_accounts: bool = True
    attempts_max: int = 5
    code_ttl_s: int = 600
    delivery_wait_s: float = 0.0
    keys: Sequence[tuple[str, bytes]] = (("k1", KEY),)
    contact_keys: Sequence[tuple[str, bytes]] = (("c1", KEY[::-1]),)
    clock: TrioClock = field(default_factory=TrioClock)
    hasher: PasswordHasher = field(default_factory=lambda: PasswordHasher(CHEAP))
    sockets: SocketRegistry = field(default_factory=SocketRegistry)

    def __post_init__(self) -> None:
        self.metrics = Metrics()
        self.wakes = 0
        self.keyring = Keyring(self.keys)
        self.vault = ContactVault(self.contact_keys)
        self.hits = LimitHits(self.metrics)
        self.watch = DeliveryWatch()
        self.policy = PasswordPolicy(BREACHED)
        self.limits = ResetLimits(self.windows, hits=self.hits)
        self.upkeep = ProcessUpkeep(self.store, self.clock, self.hits, self.metrics, keep_days=30)
        self.mail = ToldSender()
        self.delivery = DeliveryService(
            {Channel.EMAIL: Provider(self.mail, CircuitBreaker(BreakerOptions()))},
            DeliveryParts(
                self.store,
                MessageComposer(self.keyring, self.vault),
                self.clock,
                self.metrics,
                DeliveryOptions(),
                self.watch,
            ),
        )
        self.build()

    def build(self) -> None:
        """The services over the parts as they are now."""
        self.accounts = AccountService(
            self.store,
            vault=self.vault,
            clock=self.clock,
            hasher=self.hasher,
            policy=self.policy,
        )
        unlimited = SessionWindows(
            account=PLENTY, address=PLENTY, sessions=PLENTY, sessions_in_all=PLENTY
        )
        self.sessions = SessionService(
            self.store,
            clock=self.clock,
            accounts=self.accounts,
            limits=SessionLimits(unlimited, hits=self.hits, clock=self.clock),
            sockets=self.sockets,
        )
        self.resets = ResetService(
            ResetParts(
                store=self.store,
                clock=self.clock,
                keyring=self.keyring,
                vault=self.vault,
                accounts=self.accounts,
                sockets=self.sockets,
                limits=self.limits,
                rules=ResetRules(
                    message_stored=self._wake,
                    reveal_accounts=self.reveal_accounts,
                    code_ttl_s=self.code_ttl_s,
                    attempts_max=self.attempts_max,
                    delivery_wait_s=self.delivery_wait_s,
                    channels=frozenset({Channel.EMAIL}),
                ),
            ),
            passwords=PasswordParts(self.hasher, self.policy, self.sessions),
            watch=self.watch,
        )

    def over(self, store: Any) -> ResetWorld:  # noqa: ANN401 - a store with something wrong
        """The same world, its services (not its delivery) over another view of the store."""
        self.store = store
        self.build()
        return self

    def _wake(self) -> None:
        self.wakes += 1
        self.delivery.notify()

    # Accounts and clients.

    async def add_user(self, email: str = EMAIL, **given: object) -> User:
        account = NewAccount(email, **{"password": OLD, "firstname": "Jana", **given})
        return await self.accounts.add(account)

    async def client(self, host: str = HOST, organisation: str = ORGANISATION) -> Client:
        """A client that is not signed in, with an open socket."""
        begun = await self.sessions.begin(host, organisation, ADDRESS)
        assert isinstance(begun, tuple), begun
        return self.with_socket(begun[1], begun[0])

    async def signed_in(self, email: str = EMAIL, password: str = OLD) -> Client:
        """A client that is."""
        outcome = await self.sign_in(email, password)
        assert not hasattr(outcome, "kind"), outcome
        return self.with_socket(outcome.session, outcome.session_id)

    async def sign_in(self, email: str = EMAIL, password: str = OLD) -> SignInOutcome:
        return await self.sessions.sign_in(
            SignInAsked(None, HOST, ORGANISATION, ADDRESS, email, password)
        )

    async def is_password(self, password: str, email: str = EMAIL) -> bool:
        """Whether it is the account's now; nothing else changes."""
        [user] = await self.store.find_users([self.accounts.key_by_email(ORGANISATION, email)])
        assert user is not None
        return self.hasher.verify_now(await self.store.find_password(user.uid), password)

    async def is_alive(self, session_id: str, host: str = HOST) -> bool:
        [session] = await self.sessions.find_many([SessionAsked(host, session_id)])
        return session is not None

    def with_socket(self, session: Session, session_id: str) -> Client:
        ended: list[str] = []
        socket_id = self.sockets.bind(session.digest, lambda: ended.append(socket_id))
        return Client(session, session_id, socket_id, ended)

    # Calls.

    async def send(self, client: Client, email: str = EMAIL, **given: object) -> SecretSent:
        """Send one that must be sent."""
        [outcome] = await self.resets.send_many([send(client, email, **given)])
        assert isinstance(outcome, SecretSent), outcome
        return outcome

    async def try_send(self, client: Client, email: str = EMAIL, **given: object) -> str:
        """The outcome in a word."""
        [outcome] = await self.resets.send_many([send(client, email, **given)])
        return kind(outcome)

    async def check(
        self, client: Client, secret: str, code: str | int, **given: object
    ) -> CheckOutcome:
        [outcome] = await self.resets.check_many([check(client, secret, code, **given)])
        return outcome

    async def change(
        self, client: Client, secret: str, code: str | int, **given: object
    ) -> ChangeOutcome:
        [outcome] = await self.resets.change_many([change(client, secret, code, **given)])
        return outcome

    # What the store knows.

    async def reset(self, secret: str) -> Reset:
        [reset] = await self.store.find_resets([digest_of(secret)])
        assert reset is not None
        return reset

    async def process(self, secret: str) -> Process:
        reset = await self.reset(secret)
        process = await self.store.find_process(reset.tenant, reset.uuid)
        assert process is not None
        return process

    async def code_of(self, secret: str) -> str:
        """The right code."""
        return derive_code(self.keyring, await self.process(secret)).reveal()

    async def attempts_of(self, secret: str) -> int:
        """How many of its attempts are used."""
        return (await self.process(secret)).attempts

    async def failures(self, email: str = EMAIL) -> int:
        index = self.vault.index(TENANT, Channel.EMAIL, email)
        return await self.store.contact_failures(TENANT, index)

    async def trail(self, action: str) -> list[tuple[str, str]]:
        """``(actor, outcome)`` of the audit entries of an action."""
        return [
            (entry.actor, entry.outcome)
            for _, entry, _, _ in await self.store.audit_after(0, 10_000)
            if entry.action == action
        ]


def send(client: Client, email: str = EMAIL, **given: object) -> Send:
    return replace(Send(client.session, client.socket_id, ADDRESS, email), **given)


def check(client: Client, secret: str, code: str | int, **given: object) -> Check:
    call = Check(client.session, client.socket_id, ADDRESS, EMAIL, secret, code)
    return replace(call, **given)


def change(client: Client, secret: str, code: str | int, **given: object) -> Change:
    call = Change(client.session, client.socket_id, ADDRESS, EMAIL, secret, code, NEW)
    return replace(call, **given)


def kind(outcome: object) -> str:
    """In a word: a refusal's token, or the outcome's class."""
    return outcome.kind.token if hasattr(outcome, "kind") else type(outcome).__name__


class StoreCalls:
    """A store that notes what is asked of it, and does at a call what a test wants.

    ``before`` and ``after`` are told the name of each call; what they raise its caller hears.
    """

    def __init__(
        self,
        store: Store,
        *,
        before: Callable[[str], None] = lambda _: None,
        after: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._before = before
        self._after = after
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any method of the store
        method = getattr(self._store, name)

        async def call(*args: Any, **given: object) -> Any:  # noqa: ANN401 - what the method is given
            self.calls.append(name)
            self._before(name)
            answer = await method(*args, **given)
            self._after(name)
            return answer

        return call


class FailingCall:
    """Fails the ``number``-th call, from 1."""

    def __init__(self, number: int) -> None:
        self._left = number

    def __call__(self, name: str) -> None:
        self._left -= 1
        if self._left == 0:
            raise StoreUnavailable(f"{name} fails, as the test wants")


def new_session(now_ms: int) -> tuple[str, Session]:
    """A session that no store knows."""
    session_id = new_session_id()
    session = Session(digest_of(session_id), ORGANISATION, HOST, None, now_ms, now_ms + 86_400_000)
    return session_id, session


async def all_at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Each in a task of its own; the answers as they come."""
    answers: list[Any] = []

    async def one(call: Callable[[], Any]) -> None:
        answers.append(await call())

    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(one, call)
    return answers
