"""The svc face over one store, served over real HTTP: every service and the delivery worker.

Sockets are bound in the registry itself; messages end up in a postbox.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2
import trio

from otp_server.api.docs import docs_operations
from otp_server.api.mount import mount
from otp_server.api.svc.operations import SvcOptions, SvcServices, svc_operations
from otp_server.api.web import WebOptions, make_app
from otp_server.app.http import HttpSide
from otp_server.core import Keyring
from otp_server.delivery.breaker import CircuitBreaker
from otp_server.domain.account import digest_of
from otp_server.domain.challenge_type import Channel
from otp_server.services.address_calls import AddressCalls
from otp_server.services.compose import MessageComposer
from otp_server.services.deliver import DeliveryOptions, DeliveryParts, DeliveryService
from otp_server.services.delivery_watch import DeliveryWatch
from otp_server.services.ports.delivery import Provider, Sent
from otp_server.services.reset_limits import ResetLimits, ResetWindows
from otp_server.services.resets import PasswordParts, ResetParts, ResetRules, ResetService
from tests.support.account_world import FREE, AccountWorld
from tests.support.http_stage import client_of
from tests.support.world import KEY, PLENTY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from otp_server.api.operation import Operation
    from otp_server.services.ports import Store
    from otp_server.services.ports.delivery import Message, SendOutcome
    from otp_server.services.session_limits import SessionWindows

BODY_BYTES_MAX = 65_536
_CODE = re.compile(r"(?<![0-9])[0-9]{6}(?![0-9])")


class Postbox:
    """A provider that takes every message, unless it is told otherwise."""

    name = "postbox"
    concurrency = 8
    deadline_s = 10.0

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.outcome: SendOutcome | None = Sent()
        """None: it never answers."""
        self._arrived = trio.Event()

    async def send(self, message: Message) -> SendOutcome:
        self.messages.append(message)
        self._arrived.set()
        self._arrived = trio.Event()
        if self.outcome is None:
            await trio.sleep_forever()
        assert self.outcome is not None
        return self.outcome

    async def aclose(self) -> None:
        pass

    async def wait(self, count: int) -> list[Message]:
        """The messages, as soon as there are so many."""
        while len(self.messages) < count:
            await self._arrived.wait()
        return self.messages


def code_in(message: Message) -> str:
    """The code of a mail; no other number of six digits is in it."""
    [code] = _CODE.findall(message.text)
    return str(code)


@dataclass
class SvcWorld:
    """Everything of the face over ``store``."""

    store: Store
    reveal_accounts: bool = True
    attempts_max: int = 5
    delivery_wait_s: float = 5.0
    account_limit: Sequence[tuple[int, int]] = tuple(PLENTY)
    wrong_limit: Sequence[tuple[int, int]] = tuple(PLENTY)
    sends_limit: Sequence[tuple[int, int]] = tuple(PLENTY)
    calls_limit: Sequence[tuple[int, int]] = tuple(PLENTY)
    sessions_limit: SessionWindows = FREE
    options: SvcOptions = field(default_factory=SvcOptions)

    def __post_init__(self) -> None:
        base = AccountWorld(self.store, windows=self.sessions_limit)
        self.base, self.clock, self.metrics = base, base.clock, base.metrics
        self.sockets, self.accounts, self.sessions = base.sockets, base.accounts, base.sessions
        self.keyring = Keyring([("k1", KEY)])
        self.watch = DeliveryWatch()
        self.postbox = Postbox()
        self.delivery = DeliveryService(
            {Channel.EMAIL: Provider(self.postbox, CircuitBreaker())},
            DeliveryParts(
                self.store,
                MessageComposer(self.keyring, base.vault),
                self.clock,
                self.metrics,
                DeliveryOptions(),
                self.watch,
            ),
        )
        windows = ResetWindows(
            account=self.account_limit,
            sends_address=self.sends_limit,
            wrong_address=self.wrong_limit,
            sends_in_all=PLENTY,
        )
        parts = ResetParts(
            store=self.store,
            clock=self.clock,
            keyring=self.keyring,
            vault=base.vault,
            accounts=self.accounts,
            sockets=self.sockets,
            limits=ResetLimits(windows, hits=base.hits),
            rules=ResetRules(
                message_stored=self.delivery.notify,
                reveal_accounts=self.reveal_accounts,
                attempts_max=self.attempts_max,
                delivery_wait_s=self.delivery_wait_s,
                channels=frozenset({Channel.EMAIL}),
            ),
        )
        passwords = PasswordParts(base.hasher, base.policy, self.sessions)
        self.resets = ResetService(parts, passwords=passwords, watch=self.watch)
        calls = AddressCalls(self.calls_limit, 1000, hits=base.hits, clock=self.clock)
        services = SvcServices(
            self.resets, self.sessions, self.accounts, self.sockets, calls, self.clock
        )
        self.operations: list[Operation[Any, Any]] = svc_operations(services, self.options)
        self.app = make_app("svc", WebOptions(BODY_BYTES_MAX, []), self.metrics)
        mounted = [*self.operations, *docs_operations(self.operations, version="0")]
        mount(self.app, mounted)
        self.side = HttpSide(self.app, mounted, None, self.metrics, lambda: False)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[httpx2.AsyncClient]:
        """The application on a real socket, the worker, and a client without cookies of its own."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.delivery.run)
            async with client_of(self.side) as http:
                yield http
            nursery.cancel_scope.cancel()

    def bind(self, session_id: str) -> str:
        """An open socket of a session: its socket_id."""
        return self.sockets.bind(digest_of(session_id), lambda: None)
