"""A handshake or an init as it was asked, judged up to where the limits begin.

Fields, the type's plan, the contacts in normal form, a route that one of them can use, the rules of
countries and line types, a provider that can be tried now. What is wrong is told by field. Where
it is not the request's form, the request may have been answered before: it is ``Declined``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import msgspec
import trio

from otp_server.domain.challenge_type import Channel
from otp_server.domain.outcome import Reason
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.domain.settings_rules import TTL_MAX_S
from otp_server.errors import ErrorKind, StoreUnavailable
from otp_server.services.contact_entry import FIELD_OF, read_with_kind
from otp_server.services.first_messages import FirstMessages
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
    from otp_server.services.contact_entry import Problems
    from otp_server.services.idempotency import Claims
    from otp_server.services.settings import PlanCache

_READ_AT_ONCE = 32

O = TypeVar("O")  # noqa: E741 - an outcome

log = get_logger(__name__)


class Handshake(msgspec.Struct, frozen=True, gc=False):
    """What an init would do. ``phone`` and ``email`` as somebody wrote them."""

    tenant: str
    client_id: str
    address: str
    type_name: str
    phone: str | None = None
    email: str | None = None
    entities: tuple[Entity, ...] = ()

    def __repr__(self) -> str:
        """Without contacts, entities and keys."""
        name = type(self).__name__
        return f"<{name} of {self.type_name!r} by {self.client_id} of {self.tenant!r}>"

    @property
    def hitter(self) -> Hitter:
        """Who asks, for the trail of limits."""
        return Hitter(self.tenant, f"client:{self.client_id}", self.address)


class Start(Handshake, frozen=True, gc=False):
    """An init; ``claim_key`` is its Idempotency-Key as it was sent."""

    claim_key: str | None = None


@dataclass(frozen=True, slots=True)
class StartRules:
    """What starts go by, beside limits.

    ``key_id`` is the key of new codes; none lives longer than ``ttl_max_s``, even of a type that
    was made when it might. ``can_send`` says whether a channel's provider can be
    tried now (its breaker); ``message_stored`` wakes who delivers; ``first_messages`` are leased to
    them from the start where they have room. None of them blocks.
    """

    key_id: str
    claims: Claims
    phones: PhoneRules
    default_country: str | None
    can_send: Callable[[Channel], bool]
    message_stored: Callable[[], None]
    ttl_max_s: int = TTL_MAX_S
    first_messages: Callable[[], FirstMessages] = FirstMessages


@dataclass(frozen=True, slots=True)
class Declined:
    """A request that can be read and starts nothing now; an earlier one like it may have."""

    refused: ProcessRefused
    contacts: Mapping[Channel, str] = field(repr=False)


class Way(msgspec.Struct, frozen=True, gc=False):
    """What starts of one type have in common whose contacts are of the same channels.

    ``version`` is the one of the settings. ``usable`` are the channels whose contacts may get the
    code, sorted; ``route`` is the position of the first route, ``channel`` the one it is over, and
    ``life_s`` how long a process lives.
    """

    version: int
    plan: Plan
    usable: tuple[Channel, ...]
    route: int
    channel: Channel
    life_s: int


class Ready(msgspec.Struct, frozen=True, gc=False):
    """A request that is in order."""

    contacts: Mapping[Channel, str]
    way: Way

    def __repr__(self) -> str:
        """Without contacts."""
        return f"<Ready by {self.way!r}>"


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
        plans: dict[tuple[str, str], _Planned] = {}
        for n, i in enumerate(which, 1):
            if not n % _READ_AT_ONCE:
                await trio.lowlevel.checkpoint()  # parsing contacts takes its time
            one = asked[i]
            problems = _form_problems(one)
            if problems:
                outcomes[i] = invalid(problems)
                continue
            named = one.tenant, one.type_name
            planned = plans.get(named)
            if planned is None:
                try:
                    version, plan = await self._plans.plan_of(*named)
                except StoreUnavailable as error:
                    log.warning("a plan was not loaded", why=str(error))
                    outcomes[i] = ProcessRefused(ErrorKind.UNAVAILABLE, Reason.STORE)
                    continue
                planned = plans[named] = _Planned(version, plan, self._rules)
            item = self._read_one(one, planned)
            if isinstance(item, Ready):
                ready.append((i, item))
            elif isinstance(item, Declined):
                outcomes[i] = item.refused
                declined.append((i, item))
            else:
                outcomes[i] = item
        return ready, declined

    def _read_one(self, asked: Handshake, planned: _Planned) -> Ready | Declined | ProcessRefused:
        contacts, problems, kind = read_with_kind(
            asked.phone, asked.email, self._rules.default_country
        )
        plan = planned.plan
        if plan is None:
            unknown = ProcessRefused(ErrorKind.TYPE_NOT_FOUND, Reason.TYPE_UNKNOWN)
            return unknown if problems else Declined(unknown, contacts)
        if problems:
            return invalid(problems)
        channels = tuple(contacts)
        looked = planned.looked.get(channels) or planned.look(plan, channels)
        problems = looked.problems
        if kind is not None and looked.by_sms:
            problem = self._rules.phones.problem_of(kind)
            if problem is not None:
                problems = {**problems, FIELD_OF[Channel.SMS]: [problem.text]}
        if problems:
            return Declined(invalid(problems), contacts)
        if looked.way is None:
            down = ProcessRefused(ErrorKind.OTP_DELIVERY_FAILED, Reason.PROVIDERS_DOWN)
            return Declined(down, contacts)
        return Ready(contacts, looked.way)


class _Planned:
    """A type's plan during one batch, and the ways it has to contacts, each looked for once."""

    def __init__(self, version: int, plan: Plan | None, rules: StartRules) -> None:
        self.plan = plan
        self._version = version
        self._rules = rules
        self.looked: dict[tuple[Channel, ...], _Looked] = {}
        """The ways that were looked for, by the channels of the contacts."""

    def look(self, plan: Plan, channels: tuple[Channel, ...]) -> _Looked:
        """Look whether ``plan``, this type's, has a way to contacts of these channels."""
        given = frozenset(channels)
        usable = given & {route.channel for route in plan.routes}
        open_channels = frozenset(filter(self._rules.can_send, usable))
        route, way = plan.next_route(-1, open_channels), None
        if route is not None:
            channel, life_s = plan.routes[route].channel, min(plan.ttl, self._rules.ttl_max_s)
            way = Way(self._version, plan, tuple(sorted(usable)), route, channel, life_s)
        looked = _Looked(route_problems(plan, given), Channel.SMS in usable, way)
        self.looked[channels] = looked
        return looked


class _Looked(msgspec.Struct, frozen=True, gc=False):
    """``way`` is None without a route whose provider can be tried."""

    problems: Problems
    by_sms: bool
    way: Way | None


def _form_problems(asked: Handshake) -> Problems:
    """What is wrong with the fields, whatever the tenant's settings are."""
    problems: Problems = {}
    if asked.phone is None and asked.email is None:
        problems = contact_problems()
    if asked.entities and (wrong := entity_problems(asked.entities)):
        problems |= wrong
    if isinstance(asked, Start) and asked.claim_key is not None:
        problems |= claim_problems(asked.claim_key)
    return problems
