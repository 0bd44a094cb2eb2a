"""A handshake or an init as it was asked, judged up to where the limits begin.

Fields, the type's plan, the contacts in normal form, a route that one of them can use, the rules of
countries and line types, a provider that can be tried now. What is wrong is told by field. Where
it is not the request's form, the request may have been answered before: it is ``Declined``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import trio

from otp_server.domain.challenge_type import Channel
from otp_server.domain.outcome import Reason
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.domain.settings_rules import TTL_MAX_S
from otp_server.errors import ErrorKind, StoreUnavailable
from otp_server.services.contact_entry import FIELD_OF, read_contacts
from otp_server.services.limit_hits import Hitter
from otp_server.services.process_fields import (
    claim_problems,
    contact_problems,
    entity_problems,
    invalid,
    route_problems,
)
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from otp_server.domain.challenge_type import Plan
    from otp_server.domain.contact import PhoneRules
    from otp_server.domain.process import Entity
    from otp_server.services.idempotency import Claims
    from otp_server.services.settings import PlanCache

_READ_AT_ONCE = 16

O = TypeVar("O")  # noqa: E741 - an outcome

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Handshake:
    """What an init would do. ``phone`` and ``email`` as somebody wrote them."""

    tenant: str
    client_id: str
    address: str
    type_name: str
    phone: str | None = field(default=None, repr=False)
    email: str | None = field(default=None, repr=False)
    entities: tuple[Entity, ...] = field(default=(), repr=False)

    @property
    def hitter(self) -> Hitter:
        """Who asks, for the trail of limits."""
        return Hitter(self.tenant, f"client:{self.client_id}", self.address)


@dataclass(frozen=True, slots=True)
class Start(Handshake):
    """An init; ``claim_key`` is its Idempotency-Key as it was sent."""

    claim_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class StartRules:
    """What starts go by, beside limits.

    ``key_id`` is the key of new codes; none lives longer than ``ttl_max_s``, even of a type that
    was made when it might. ``can_send`` says whether a channel's provider can be
    tried now (its breaker); ``message_stored`` wakes who delivers. Neither blocks.
    """

    key_id: str
    claims: Claims
    phones: PhoneRules
    default_country: str | None
    can_send: Callable[[Channel], bool]
    message_stored: Callable[[], None]
    ttl_max_s: int = TTL_MAX_S


@dataclass(frozen=True, slots=True)
class Declined:
    """A request that can be read and starts nothing now; an earlier one like it may have."""

    refused: ProcessRefused
    contacts: Mapping[Channel, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ready:
    """A request that is in order.

    ``usable`` are the contacts that may get the code, ``route`` the position of its first route.
    """

    version: int
    plan: Plan
    contacts: Mapping[Channel, str] = field(repr=False)
    usable: frozenset[Channel]
    route: int


class StartReader:
    """Reads requests for starts."""

    def __init__(self, plans: PlanCache, rules: StartRules) -> None:
        self._plans = plans
        self._rules = rules

    async def read_many(
        self,
        asked: Sequence[Handshake],
        which: Sequence[int],
        outcomes: list[O | ProcessRefused | None],
    ) -> tuple[list[tuple[int, Ready]], list[tuple[int, Declined]]]:
        """Those of ``which`` that are in order, and those declined, by place.

        All refusals go into ``outcomes``. Cancellation: nothing. Raises nothing of the store.
        """
        ready: list[tuple[int, Ready]] = []
        declined: list[tuple[int, Declined]] = []
        for n, i in enumerate(which):
            if n % _READ_AT_ONCE == _READ_AT_ONCE - 1:
                await trio.lowlevel.checkpoint()  # parsing contacts takes its time
            try:
                item = await self._read_one(asked[i])
            except StoreUnavailable as error:
                log.warning("a plan was not loaded", why=str(error))
                item = ProcessRefused(ErrorKind.UNAVAILABLE, Reason.STORE)
            if isinstance(item, ProcessRefused):
                outcomes[i] = item
            elif isinstance(item, Declined):
                outcomes[i] = item.refused
                declined.append((i, item))
            else:
                ready.append((i, item))
        return ready, declined

    async def _read_one(self, asked: Handshake) -> Ready | Declined | ProcessRefused:
        problems = contact_problems(asked.phone, asked.email) | entity_problems(asked.entities)
        if isinstance(asked, Start):
            problems |= claim_problems(asked.claim_key)
        if problems:
            return invalid(problems)
        version, plan = await self._plans.plan_of(asked.tenant, asked.type_name)
        contacts, problems = read_contacts(
            asked.phone, asked.email, default_country=self._rules.default_country
        )
        if plan is None:
            unknown = ProcessRefused(ErrorKind.TYPE_NOT_FOUND, Reason.TYPE_UNKNOWN)
            return unknown if problems else Declined(unknown, contacts)
        return invalid(problems) if problems else self._fit(version, plan, contacts)

    def _fit(self, version: int, plan: Plan, contacts: Mapping[Channel, str]) -> Ready | Declined:
        """Whether the plan has a way to these contacts now."""
        channels = frozenset(contacts)
        problems = route_problems(plan, channels)
        usable = channels & {route.channel for route in plan.routes}
        if Channel.SMS in usable:
            problem = self._rules.phones.problem_of(contacts[Channel.SMS])
            if problem is not None:
                problems[FIELD_OF[Channel.SMS]] = [problem.text]
        if problems:
            return Declined(invalid(problems), contacts)
        open_channels = frozenset(channel for channel in usable if self._rules.can_send(channel))
        route = plan.next_route(-1, open_channels)
        if route is None:
            down = ProcessRefused(ErrorKind.OTP_DELIVERY_FAILED, Reason.PROVIDERS_DOWN)
            return Declined(down, contacts)
        return Ready(version, plan, contacts, usable, route)
