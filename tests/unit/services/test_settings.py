"""Settings as callers change them, and the plans made of them (requirements 64-70)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from otp_server.domain.audit import Actor
from otp_server.domain.challenge_type import (
    ChallengeRoute,
    ChallengeType,
    Channel,
    CodeType,
    Template,
)
from otp_server.domain.settings_rules import SettingsBounds
from otp_server.errors import AlreadyExists, InUse, InvalidFields, StaleSetting
from otp_server.services import settings as module
from otp_server.services.settings import PlanCache, SettingsService
from otp_server.stores.memory import MemoryStore

if TYPE_CHECKING:
    from otp_server.domain.challenge_type import Plan, Setting
    from otp_server.services.ports.settings import S

ACTOR = Actor("client:a", "192.0.2.1")
TEMPLATE = {"name": "words", "channel": "sms", "text": "${answer}"}


class SetClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.ms


class WatchedStore(MemoryStore):
    """Counts loaded plans, and can overtake a save."""

    def __init__(self) -> None:
        super().__init__()
        self.loads = 0
        self.overtake = 0

    async def load_plan(self, tenant: str, type_name: str) -> tuple[int, Plan | None]:
        self.loads += 1
        return await super().load_plan(tenant, type_name)

    async def save_setting(self, setting: S, actor: Actor) -> S:
        if self.overtake:
            self.overtake -= 1
            held = await self.get_setting(type(setting), setting.tenant, setting.id)
            assert held is not None
            await super().save_setting(held, Actor("other"))
        return await super().save_setting(setting, actor)


class Stage:
    """A service and its cache over one store."""

    def __init__(self, bounds: SettingsBounds | None = None) -> None:
        self.store = WatchedStore()
        self.clock = SetClock()
        self.plans = PlanCache(self.store, clock=self.clock, plans_max=3)
        self.service = SettingsService(
            self.store, clock=self.clock, bounds=bounds, plans=self.plans
        )

    async def create(  # the record's kind is the argument's
        self,
        kind: Any,  # noqa: ANN401 - so a test may read its fields
        tenant: str = "t",
        **fields: Any,  # noqa: ANN401 - as a caller may send
    ) -> Any:  # noqa: ANN401 - so a test may read its fields
        return await self.service.create(kind, tenant, fields, ACTOR)


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_a_type_is_created_with_its_defaults(stage: Stage) -> None:
    made = await stage.create(ChallengeType, name="login")
    now_ms = stage.clock.ms
    expected = ChallengeType(made.id, "t", "login", CodeType.NUMERIC, 6, 3600, 5, now_ms, now_ms)
    assert made == expected
    assert await stage.service.get(ChallengeType, "t", made.id) == expected
    assert await stage.service.list_all(ChallengeType, "t", limit=10, offset=0) == [expected]


async def test_put_sets_all_and_patch_some(stage: Stage) -> None:
    made = await stage.create(ChallengeType, name="login", ttl=120, max_attempts=3)
    stage.clock.ms += 5
    patched = await stage.service.change(
        ChallengeType, "t", made.id, {"code_type": "alphabetic"}, ACTOR
    )
    assert patched is not None
    assert (patched.code_type, patched.ttl, patched.max_attempts) == (CodeType.ALPHABETIC, 120, 3)
    assert (patched.created_at_ms, patched.updated_at_ms) == (made.created_at_ms, stage.clock.ms)
    put = await stage.service.replace(ChallengeType, "t", made.id, {"name": "other"}, ACTOR)
    assert put is not None
    assert (put.name, put.code_type, put.ttl) == ("other", CodeType.NUMERIC, 3600)
    assert (put.id, put.version) == (made.id, 3)


async def test_a_patch_is_judged_with_what_it_leaves(stage: Stage) -> None:
    made = await stage.create(ChallengeType, name="t", code_type="alphanumeric", code_length=4)
    with pytest.raises(InvalidFields) as refusal:
        await stage.service.change(ChallengeType, "t", made.id, {"code_type": "numeric"}, ACTOR)
    assert list(refusal.value.fields) == ["code_length"]


@pytest.mark.parametrize(
    ("kind", "fields", "named"),
    [
        (ChallengeType, {"name": "init", "ttl": 1}, {"name", "ttl"}),
        (ChallengeType, {"name": "x", "id": 7}, {"id"}),
        (ChallengeRoute, {}, {"challenge_type_id", "channel", "template_id"}),
        (Template, {"name": "x", "channel": "sms", "text": "none"}, {"text"}),
    ],
)
async def test_what_does_not_fit_is_named_and_not_stored(
    stage: Stage, kind: type[Any], fields: dict[str, Any], named: set[str]
) -> None:
    with pytest.raises(InvalidFields) as refusal:
        await stage.create(kind, **fields)
    assert refusal.value.fields.keys() == named
    assert await stage.service.list_all(kind, "t", limit=10, offset=0) == []


async def test_a_reference_that_names_nothing_is_a_field(stage: Stage) -> None:
    of_mine = await stage.create(ChallengeType, name="login")
    words = await stage.create(Template, **TEMPLATE)
    of_another = await stage.create(ChallengeType, tenant="u", name="login")
    base = {"challenge_type_id": of_mine.id, "channel": "sms", "template_id": words.id}
    for fields, field in (
        ({"challenge_type_id": 999}, "challenge_type_id"),
        ({"challenge_type_id": of_another.id}, "challenge_type_id"),
        ({"template_id": 999}, "template_id"),
        ({"channel": "email"}, "template_id"),
    ):
        with pytest.raises(InvalidFields) as refusal:
            await stage.create(ChallengeRoute, **{**base, **fields})
        assert list(refusal.value.fields) == [field]
    route = await stage.create(ChallengeRoute, **base)
    with pytest.raises(InvalidFields) as refusal:
        await stage.service.change(ChallengeRoute, "t", route.id, {"template_id": 999}, ACTOR)
    assert list(refusal.value.fields) == ["template_id"]


async def test_names_are_unique_and_what_is_needed_stays(stage: Stage) -> None:
    made = await stage.create(ChallengeType, name="login")
    with pytest.raises(AlreadyExists):
        await stage.create(ChallengeType, name="login")
    words = await stage.create(Template, **TEMPLATE)
    await stage.create(
        ChallengeRoute, challenge_type_id=made.id, channel="sms", template_id=words.id
    )
    with pytest.raises(InUse):
        await stage.service.delete(ChallengeType, "t", made.id, ACTOR)
    with pytest.raises(InUse):
        await stage.service.delete(Template, "t", words.id, ACTOR)
    email = {"channel": "email", "subject": "s"}
    with pytest.raises(InUse):
        await stage.service.change(Template, "t", words.id, email, ACTOR)


@pytest.mark.parametrize(
    ("kind", "fields"), [(ChallengeType, {"name": "login"}), (Template, TEMPLATE)]
)
async def test_other_tenants_are_not_there(
    stage: Stage, kind: type[Any], fields: dict[str, Any]
) -> None:
    made = await stage.create(kind, **fields)
    assert await stage.service.get(kind, "u", made.id) is None
    assert await stage.service.replace(kind, "u", made.id, fields, ACTOR) is None
    assert await stage.service.change(kind, "u", made.id, {}, ACTOR) is None
    assert not await stage.service.delete(kind, "u", made.id, ACTOR)
    assert await stage.service.delete(kind, "t", made.id, ACTOR)
    assert not await stage.service.delete(kind, "t", made.id, ACTOR)


async def test_a_change_that_was_overtaken_is_made_on_top(stage: Stage) -> None:
    made = await stage.create(ChallengeType, name="login")
    stage.store.overtake = module._TRIES - 1
    changed = await stage.service.change(ChallengeType, "t", made.id, {"ttl": 60}, ACTOR)
    assert changed is not None
    assert (changed.ttl, changed.version) == (60, module._TRIES + 1)
    stage.store.overtake = module._TRIES
    with pytest.raises(StaleSetting):
        await stage.service.change(ChallengeType, "t", made.id, {"ttl": 90}, ACTOR)


async def test_parallel_changes_of_unlike_fields_all_happen(
    stage: Stage, autojump_clock: trio.testing.MockClock
) -> None:
    made = await stage.create(ChallengeType, name="login")

    async def change(fields: dict[str, Any]) -> None:
        await stage.service.change(ChallengeType, "t", made.id, fields, ACTOR)

    changes: list[dict[str, Any]] = [{"ttl": 60}, {"max_attempts": 9}, {"code_length": 8}]
    async with trio.open_nursery() as nursery:
        for fields in changes:
            nursery.start_soon(change, fields)
    held = await stage.service.get(ChallengeType, "t", made.id)
    assert held is not None
    assert (held.ttl, held.max_attempts, held.code_length) == (60, 9, 8)


async def test_the_installation_bounds_what_tenants_set() -> None:
    stage = Stage(SettingsBounds(ttl_max_s=600, channels=frozenset({Channel.EMAIL})))
    made = await stage.create(ChallengeType, name="login")
    assert made.ttl == 600
    with pytest.raises(InvalidFields) as refusal:
        await stage.create(ChallengeType, name="long", ttl=601)
    assert list(refusal.value.fields) == ["ttl"]
    with pytest.raises(InvalidFields) as refusal:
        await stage.create(ChallengeRoute, challenge_type_id=made.id, channel="sms", template_id=1)
    assert list(refusal.value.fields) == ["channel"]


async def test_an_empty_tenant_gets_examples_that_work_and_no_other_does(stage: Stage) -> None:
    assert await stage.service.ensure_examples("t")
    assert not await stage.service.ensure_examples("t")
    for name, channels in (
        ("email-verification", [Channel.EMAIL]),
        ("phone-verification", [Channel.SMS, Channel.EMAIL]),
    ):
        _, plan = await stage.plans.plan_of("t", name)
        assert plan is not None
        assert [route.channel for route in plan.routes] == channels
        assert (plan.code_type, plan.code_length, plan.ttl) == (CodeType.NUMERIC, 6, 600)
    await stage.create(Template, tenant="u", **TEMPLATE)
    assert not await stage.service.ensure_examples("u")


async def test_a_plan_is_loaded_once_a_second(stage: Stage) -> None:
    await stage.service.ensure_examples("t")
    first = await stage.plans.plan_of("t", "email-verification")
    stage.clock.ms += 999
    assert await stage.plans.plan_of("t", "email-verification") == first
    assert stage.store.loads == 1
    stage.clock.ms += 1
    assert await stage.plans.plan_of("t", "email-verification") == first
    assert stage.store.loads == 2


async def test_a_plan_that_is_not_there_is_asked_for_again(stage: Stage) -> None:
    for _ in range(2):
        _, plan = await stage.plans.plan_of("t", "login")
        assert plan is None
    assert stage.store.loads == 2
    other = SettingsService(stage.store, clock=stage.clock)
    await other.create(ChallengeType, "t", {"name": "login"}, ACTOR)
    _, plan = await stage.plans.plan_of("t", "login")
    assert plan is not None


async def test_a_stale_plan_is_forgotten_on_demand(stage: Stage) -> None:
    elsewhere = SettingsService(stage.store, clock=stage.clock)
    made = await elsewhere.create(ChallengeType, "t", {"name": "login"}, ACTOR)
    version, _ = await stage.plans.plan_of("t", "login")
    await elsewhere.change(ChallengeType, "t", made.id, {"ttl": 60}, ACTOR)
    assert (await stage.plans.plan_of("t", "login"))[0] == version
    stage.plans.forget("t", "login")
    newer, plan = await stage.plans.plan_of("t", "login")
    assert plan is not None
    assert (newer > version, plan.ttl) == (True, 60)


async def test_a_change_here_is_seen_here_at_once(stage: Stage) -> None:
    made = await stage.create(ChallengeType, name="login")
    await stage.create(ChallengeType, tenant="u", name="login")
    for tenant in ("t", "u"):
        await stage.plans.plan_of(tenant, "login")
    await stage.service.change(ChallengeType, "t", made.id, {"ttl": 60}, ACTOR)
    loads = stage.store.loads
    _, plan = await stage.plans.plan_of("t", "login")
    assert plan is not None
    assert plan.ttl == 60
    await stage.plans.plan_of("u", "login")
    assert stage.store.loads == loads + 1
    await stage.service.delete(ChallengeType, "t", made.id, ACTOR)
    assert (await stage.plans.plan_of("t", "login"))[1] is None


async def test_the_cache_is_bounded(stage: Stage) -> None:
    for at in range(5):
        await stage.create(ChallengeType, name=f"type{at}")
    for at in range(5):
        await stage.plans.plan_of("t", f"type{at}")
    assert len(stage.plans._plans) == 3


def test_every_kind_has_its_rules() -> None:
    kinds: list[type[Setting]] = [ChallengeType, ChallengeRoute, Template]
    assert list(module._CHECKS) == kinds
