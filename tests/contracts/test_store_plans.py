"""The port's sentences about plans and about a tenant's first settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from otp_server.domain.challenge_type import (
    ChallengeRoute,
    ChallengeType,
    Channel,
    Plan,
    PlanRoute,
    Template,
)
from otp_server.errors import AlreadyExists
from tests.contracts.setting_samples import (
    ADMIN,
    TENANT,
    add_type_with_route,
    challenge_type,
    route,
    template,
)
from tests.support.changed_values import replace

if TYPE_CHECKING:
    from otp_server.services.ports import Store

KINDS: tuple[type[Any], ...] = (ChallengeType, ChallengeRoute, Template)


def examples(tenant: str = TENANT) -> list[tuple[ChallengeType, list[Template]]]:
    """Two types: one over two channels, one over one."""
    return [
        (
            challenge_type("phone", tenant=tenant, at=5),
            [
                template("b", tenant=tenant, at=5),
                template("a", Channel.EMAIL, tenant=tenant, at=5),
            ],
        ),
        (
            challenge_type("mail", tenant=tenant, at=5),
            [template("c", Channel.EMAIL, tenant=tenant, at=5)],
        ),
    ]


async def test_a_plan_holds_the_type_and_its_words(store: Store) -> None:
    of, by, via = await add_type_with_route(store)
    _, plan = await store.load_plan(TENANT, "login")
    words = PlanRoute(
        channel=Channel.SMS, template_id=by.id, attempts=via.attempts, subject="", text=by.text
    )
    assert plan == Plan(
        type_id=of.id,
        type_name="login",
        code_type=of.code_type,
        code_length=6,
        ttl=3600,
        max_attempts=5,
        routes=(words,),
    )


async def test_routes_come_by_order_those_without_last_ties_by_id(store: Store) -> None:
    of = await store.add_setting(challenge_type(), ADMIN)
    named = {name: await store.add_setting(template(name), ADMIN) for name in "abcdef"}
    orders = (("a", None), ("b", 2), ("c", 0), ("d", None), ("e", 1), ("f", 0))
    for name, order in orders:
        await store.add_setting(route(of, named[name], order=order), ADMIN)
    _, plan = await store.load_plan(TENANT, "login")
    assert plan is not None
    assert [r.text[0] for r in plan.routes] == ["c", "f", "e", "b", "a", "d"]


async def test_a_plan_is_of_its_tenant_and_type(store: Store) -> None:
    mine, _, _ = await add_type_with_route(store)
    await add_type_with_route(store, "other")
    await store.add_setting(challenge_type("bare"), ADMIN)
    _, plan = await store.load_plan(TENANT, "login")
    assert plan is not None
    assert (plan.type_id, len(plan.routes)) == (mine.id, 1)
    _, bare = await store.load_plan(TENANT, "bare")
    assert bare is not None
    assert bare.routes == ()
    for tenant, name in ((TENANT, "nobody"), ("nobody", "login"), (TENANT, "LOGIN")):
        assert (await store.load_plan(tenant, name))[1] is None


async def test_the_version_grows_with_each_change_of_the_tenants(store: Store) -> None:
    seen: list[int] = []

    async def look() -> None:
        seen.append((await store.load_plan(TENANT, "login"))[0])

    await look()
    of = await store.add_setting(challenge_type(), ADMIN)
    await look()
    by = await store.add_setting(template(), ADMIN)
    await look()
    via = await store.add_setting(route(of, by), ADMIN)
    await look()
    await store.save_setting(replace(by, text="neu ${answer}"), ADMIN)
    await look()
    await store.delete_setting(ChallengeRoute, TENANT, via.id, ADMIN, 5)
    await look()
    assert seen == sorted(set(seen))
    assert await store.load_plan("other", "login") == (0, None)
    await store.add_examples("other", lambda: examples("other"))
    await look()
    assert seen[-1] == seen[-2]
    assert (await store.load_plan("other", "login"))[0] > 0


# Examples.


async def test_a_new_tenant_gets_its_first_settings(store: Store) -> None:
    assert await store.add_examples(TENANT, examples) is True
    _, phone = await store.load_plan(TENANT, "phone")
    _, mail = await store.load_plan(TENANT, "mail")
    assert phone is not None
    assert mail is not None
    assert [(r.channel.value, r.text, r.attempts) for r in phone.routes] == [
        ("sms", "b: ${answer}", 1),
        ("email", "a: ${answer}", 1),
    ]
    assert [r.text for r in mail.routes] == ["c: ${answer}"]
    routes = await store.list_settings(ChallengeRoute, TENANT, limit=9, offset=0)
    assert [(r.created_at_ms, r.updated_at_ms, r.version) for r in routes] == [(5, 5, 1)] * 3
    trail = [entry for _, entry, _, _ in await store.audit_after(0, 100)]
    assert {(e.at_ms, e.tenant, e.actor, e.address, e.action) for e in trail} == {
        (5, TENANT, "server", "", "settings.add")
    }
    assert len(trail) == 8


@pytest.mark.parametrize("kind", KINDS)
async def test_whoever_has_a_setting_gets_no_examples(store: Store, kind: type[Any]) -> None:
    added = await add_type_with_route(store, "other")
    if kind is ChallengeRoute:  # it cannot be there alone
        tenant = "other"
    else:
        tenant = TENANT
        [mine] = [setting for setting in added if type(setting) is kind]
        await store.add_setting(replace(mine, tenant=TENANT), ADMIN)
    made: list[int] = []

    def make() -> list[tuple[ChallengeType, list[Template]]]:
        made.append(1)
        return examples(tenant)

    before = await store.load_plan(tenant, "phone")
    assert await store.add_examples(tenant, make) is False
    assert made == []
    assert await store.load_plan(tenant, "phone") == before


async def test_examples_are_added_whole_or_not_at_all(store: Store) -> None:
    def twice() -> list[tuple[ChallengeType, list[Template]]]:
        return examples() + examples()

    with pytest.raises(AlreadyExists):
        await store.add_examples(TENANT, twice)
    for kind in KINDS:
        assert await store.list_settings(kind, TENANT, limit=9, offset=0) == []
    assert await store.audit_after(0, 9) == []
    assert await store.add_examples(TENANT, examples) is True


async def test_of_many_that_bring_examples_one_does(store: Store) -> None:
    outcomes: list[bool] = []

    async def bring() -> None:
        outcomes.append(await store.add_examples(TENANT, examples))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(bring)
    assert outcomes.count(True) == 1
    assert len(await store.list_settings(ChallengeType, TENANT, limit=9, offset=0)) == 2
