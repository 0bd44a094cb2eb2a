"""A tenant's settings: challenge types, their routes, templates; and the plans made of them.

What callers send goes through the rules (``domain/settings_rules.py``) and only what fits reaches
the store. Two changes at once both happen, one after the other: a change that was overtaken is
read, checked and tried again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from otp_server.domain.challenge_type import ChallengeRoute, ChallengeType, Template
from otp_server.domain.examples import examples
from otp_server.domain.settings_rules import (
    SettingsBounds,
    check_route,
    check_template,
    check_type,
    fields_of,
)
from otp_server.errors import InvalidFields, MissingReference, StaleSetting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otp_server.clock import Clock
    from otp_server.domain.audit import Actor
    from otp_server.domain.challenge_type import Plan
    from otp_server.domain.settings_rules import Checked, Problems
    from otp_server.services.ports import SettingsStore

S = TypeVar("S", ChallengeType, ChallengeRoute, Template)

_TRIES = 5
_PLANS_MAX = 10_000
_PLAN_AGE_MAX_MS = 1000
_CHECKS: dict[type, Callable[[Mapping[str, object], SettingsBounds], tuple[Checked, Problems]]] = {
    ChallengeType: check_type,
    ChallengeRoute: check_route,
    Template: check_template,
}


class PlanCache:
    """Plans by tenant and type, read again after a second, so that a hot start reads nothing.

    A start with an old plan is told so by the store (``StalePlan``): :meth:`forget` it and ask
    again. A type that is not there is never remembered.
    """

    def __init__(
        self,
        store: SettingsStore,
        *,
        clock: Clock,
        plans_max: int = _PLANS_MAX,
        age_max_ms: int = _PLAN_AGE_MAX_MS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._plans_max = plans_max
        self._age_max_ms = age_max_ms
        self._plans: dict[tuple[str, str], tuple[int, int, Plan]] = {}

    async def plan_of(self, tenant: str, type_name: str) -> tuple[int, Plan | None]:
        """The tenant's settings version and the type's plan; None when there is no such type.

        Raises StoreUnavailable.
        """
        key = (tenant, type_name)
        now_ms = self._clock.now_ms()
        held = self._plans.get(key)
        if held is not None and now_ms - held[0] < self._age_max_ms:
            return held[1], held[2]
        version, plan = await self._store.load_plan(tenant, type_name)
        self._plans.pop(key, None)
        if plan is not None:
            if len(self._plans) >= self._plans_max:
                del self._plans[next(iter(self._plans))]
            self._plans[key] = (now_ms, version, plan)
        return version, plan

    def forget(self, tenant: str, type_name: str) -> None:
        """Load this plan anew when it is asked for next."""
        self._plans.pop((tenant, type_name), None)

    def forget_tenant(self, tenant: str) -> None:
        """The same for all plans of a tenant."""
        for key in [key for key in self._plans if key[0] == tenant]:
            del self._plans[key]


class SettingsService:
    """Reads and changes settings of all three kinds; the kind is the record's class.

    Raises, where a change cannot be: ``InvalidFields`` (also for a reference that names nothing),
    ``AlreadyExists`` (``name``), ``TooMany``, ``InUse``, ``StoreUnavailable``; and ``StaleSetting``
    when others overtook it again and again.
    """

    def __init__(
        self,
        store: SettingsStore,
        *,
        clock: Clock,
        bounds: SettingsBounds | None = None,
        plans: PlanCache | None = None,
    ) -> None:
        """``plans`` forgets a tenant's plans when its settings change here."""
        self._store = store
        self._clock = clock
        self._bounds = SettingsBounds() if bounds is None else bounds
        self._plans = plans

    async def list_all(self, kind: type[S], tenant: str, *, limit: int, offset: int) -> list[S]:
        """A page of a kind, by id."""
        return await self._store.list_settings(kind, tenant, limit=limit, offset=offset)

    async def get(self, kind: type[S], tenant: str, setting_id: int) -> S | None:
        """One; None when this tenant has none of that id."""
        return await self._store.get_setting(kind, tenant, setting_id)

    async def create(
        self, kind: type[S], tenant: str, fields: Mapping[str, object], actor: Actor
    ) -> S:
        """Store a new one; fields that are not given have their defaults."""
        now_ms = self._clock.now_ms()
        made = kind(
            id=0,
            tenant=tenant,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
            **self._checked(kind, fields),
        )
        try:
            stored = await self._store.add_setting(made, actor)
        except MissingReference as error:
            raise _as_field(error) from error
        self._forget(tenant)
        return stored

    async def replace(
        self,
        kind: type[S],
        tenant: str,
        setting_id: int,
        fields: Mapping[str, object],
        actor: Actor,
    ) -> S | None:
        """Set all fields (PUT): those not given get their defaults. None when there is none."""
        return await self._save(kind, tenant, setting_id, lambda _: fields, actor)

    async def change(
        self,
        kind: type[S],
        tenant: str,
        setting_id: int,
        fields: Mapping[str, object],
        actor: Actor,
    ) -> S | None:
        """Set the given fields (PATCH): the others stay. None when there is none."""
        return await self._save(
            kind, tenant, setting_id, lambda held: {**fields_of(held), **fields}, actor
        )

    async def delete(self, kind: type[S], tenant: str, setting_id: int, actor: Actor) -> bool:
        """Delete it; False when there is none. InUse while something needs it."""
        gone = await self._store.delete_setting(
            kind, tenant, setting_id, actor, self._clock.now_ms()
        )
        self._forget(tenant)
        return gone

    async def ensure_examples(self, tenant: str) -> bool:
        """Give a tenant that has no setting at all its first ones; whether it had none."""
        now_ms = self._clock.now_ms()  # a store may ask for them in another thread
        added = await self._store.add_examples(tenant, lambda: examples(tenant, now_ms))
        self._forget(tenant)
        return added

    async def _save(
        self,
        kind: type[S],
        tenant: str,
        setting_id: int,
        wanted: Callable[[S], Mapping[str, object]],
        actor: Actor,
    ) -> S | None:
        for _ in range(_TRIES):
            held = await self._store.get_setting(kind, tenant, setting_id)
            if held is None:
                return None
            checked = self._checked(kind, wanted(held))
            changed = replace(held, updated_at_ms=self._clock.now_ms(), **checked)
            try:
                saved = await self._store.save_setting(changed, actor)
            except StaleSetting:
                continue
            except MissingReference as error:
                raise _as_field(error) from error
            self._forget(tenant)
            return saved
        raise StaleSetting("others changed it at the same time: try again")

    def _checked(self, kind: type[S], fields: Mapping[str, object]) -> dict[str, Any]:
        checked, problems = _CHECKS[kind](fields, self._bounds)
        if problems:
            raise InvalidFields(problems)
        return checked

    def _forget(self, tenant: str) -> None:
        if self._plans is not None:
            self._plans.forget_tenant(tenant)


def _as_field(error: MissingReference) -> InvalidFields:
    return InvalidFields({error.field: ["names nothing of this tenant that fits here"]})
