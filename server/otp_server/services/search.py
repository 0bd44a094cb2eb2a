"""Search: the processes of a type, as an operator may see them (requirement 65).

Whoever may search sees contacts in full, or masked where the installation says so. Never shown, as
there is nothing to show: the code. A contact whose key is not configured any more is left out.

A search is the dearest thing a caller can ask, so few run at once, whoever asks: the others wait
until they are cancelled. None goes deeper than ``OFFSET_MAX``, since a page costs all before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from otp_server.domain.challenge_type import Channel
from otp_server.domain.contact import mask
from otp_server.domain.outcome import Reason
from otp_server.domain.process_id import format_uuid
from otp_server.domain.process_outcome import Found, ProcessRefused, ProcessView, RouteView
from otp_server.errors import ContactUnreadable, ErrorKind, StoreUnavailable
from otp_server.services.contact_entry import FIELD_OF, read_contacts
from otp_server.services.ports.processes import ProcessQuery
from otp_server.services.process_fields import entity_problems, invalid
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.clock import Clock
    from otp_server.domain.process import Delivery, Entity, Process, SealedContact
    from otp_server.domain.process_outcome import SearchOutcome
    from otp_server.services.contact_entry import Problems
    from otp_server.services.contacts import ContactVault
    from otp_server.services.ports.processes import ProcessStore
    from otp_server.services.settings import PlanCache

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
OFFSET_MAX = 10_000
TOO_DEEP = f"is at most {OFFSET_MAX}: ask for a contact or an entity instead of further pages"
SEARCHES_AT_ONCE = 2
_SHOWN_AT_ONCE = 50
"""Contacts of so many processes are opened before others have their turn."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A search; all conditions hold at once. Contacts as somebody wrote them."""

    tenant: str
    type_name: str
    phone: str | None = field(default=None, repr=False)
    email: str | None = field(default=None, repr=False)
    entities: tuple[Entity, ...] = field(default=(), repr=False)
    limit: int = LIMIT_DEFAULT
    offset: int = 0


@dataclass(frozen=True, slots=True)
class SearchRules:
    """``default_country`` as for starts; ``masked``: contacts are shown in part only."""

    default_country: str | None = None
    masked: bool = False


class SearchService:
    """Finds processes."""

    def __init__(
        self,
        store: ProcessStore,
        *,
        clock: Clock,
        plans: PlanCache,
        vault: ContactVault,
        rules: SearchRules,
    ) -> None:
        self._store = store
        self._clock = clock
        self._plans = plans
        self._vault = vault
        self._rules = rules
        self._places = trio.CapacityLimiter(SEARCHES_AT_ONCE)

    async def search_many(self, queries: Sequence[SearchQuery]) -> list[SearchOutcome]:
        """A page for each, the newest first. Raises nothing of the store.

        Cancellation: nothing; who waits for its turn waits no longer.
        """
        return [await self._answer(query) for query in queries]

    async def _answer(self, query: SearchQuery) -> SearchOutcome:
        try:
            return await self._search(query)
        except StoreUnavailable as error:
            log.warning("nothing searched", why=str(error))
            return ProcessRefused(ErrorKind.UNAVAILABLE, Reason.STORE)

    async def _search(self, query: SearchQuery) -> SearchOutcome:
        contacts, problems = read_contacts(
            query.phone, query.email, default_country=self._rules.default_country
        )
        problems |= entity_problems(query.entities) | _page_problems(query)
        if problems:
            return invalid(problems)
        _, plan = await self._plans.plan_of(query.tenant, query.type_name)
        if plan is None:
            return ProcessRefused(ErrorKind.TYPE_NOT_FOUND, Reason.TYPE_UNKNOWN)
        indexes = {
            channel: self._vault.index(query.tenant, channel, contact)
            for channel, contact in contacts.items()
        }
        wanted = ProcessQuery(
            tenant=query.tenant,
            type_id=plan.type_id,
            phone_index=indexes.get(Channel.SMS),
            email_index=indexes.get(Channel.EMAIL),
            entities=tuple(dict.fromkeys(query.entities)),
            limit=query.limit,
            offset=query.offset,
        )
        async with self._places:
            return Found(await self._page(wanted, query.type_name))

    async def _page(self, wanted: ProcessQuery, type_name: str) -> tuple[ProcessView, ...]:
        views: list[ProcessView] = []
        found = await self._store.search_processes(wanted)
        now_ms = self._clock.now_ms()
        for n, (process, deliveries) in enumerate(found):
            if n % _SHOWN_AT_ONCE == _SHOWN_AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
            views.append(self._view(process, deliveries, type_name, now_ms))
        return tuple(views)

    def _view(
        self, process: Process, deliveries: Sequence[Delivery], type_name: str, now_ms: int
    ) -> ProcessView:
        route = process.plan.routes[process.route]
        return ProcessView(
            id=process.id,
            uuid=format_uuid(process.uuid),
            type=type_name,
            status=process.status_at(now_ms),
            failure=process.failure,
            phone=self._shown(process.tenant, Channel.SMS, process.phone),
            email=self._shown(process.tenant, Channel.EMAIL, process.email),
            address=process.address,
            entities=process.entities,
            attempts=process.attempts,
            created_at_ms=process.created_at_ms,
            updated_at_ms=process.updated_at_ms,
            expires_at_ms=process.expires_at_ms,
            route=RouteView(
                process.route_status, route.channel, route.template_id, process.route_attempts
            ),
            deliveries=tuple(deliveries),
        )

    def _shown(self, tenant: str, channel: Channel, contact: SealedContact | None) -> str | None:
        if contact is None:
            return None
        try:
            opened = self._vault.unseal(tenant, channel, contact.sealed)
        except ContactUnreadable as error:
            log.warning("a contact is not shown", field=FIELD_OF[channel], why=str(error))
            return None
        return mask(opened) if self._rules.masked else opened


def _page_problems(query: SearchQuery) -> Problems:
    problems: Problems = {}
    if not 1 <= query.limit <= LIMIT_MAX:
        problems["limit"] = [f"1 to {LIMIT_MAX}"]
    if not 0 <= query.offset <= OFFSET_MAX:
        problems["offset"] = [TOO_DEEP if query.offset > 0 else "is not negative"]
    return problems
