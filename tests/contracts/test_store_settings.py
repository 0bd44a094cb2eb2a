"""The port's sentences about types, routes and templates: storing, changing, deleting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from otp_server.domain.audit import Actor, AuditEntry
from otp_server.domain.challenge_type import (
    ChallengeRoute,
    ChallengeType,
    Channel,
    CodeType,
    Template,
)
from otp_server.errors import AlreadyExists, InUse, MissingReference, StaleSetting, TooMany
from otp_server.services.ports.processes import Started
from otp_server.stores.bounds import ROUTES_MAX, SETTINGS_MAX
from tests.contracts.rest_samples import new_process
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
    from collections.abc import Awaitable, Callable

    from otp_server.domain.challenge_type import Setting
    from otp_server.services.ports import Store

KINDS: tuple[type[Any], ...] = (ChallengeType, ChallengeRoute, Template)


async def state(store: Store) -> tuple[int, int, list[list[Setting]]]:
    """All that a refused change must leave as it was."""
    version, _ = await store.load_plan(TENANT, "login")
    trail = await store.audit_after(0, 1000)
    kept = [await store.list_settings(kind, TENANT, limit=100, offset=0) for kind in KINDS]
    return version, len(trail), kept


async def refused(
    store: Store, error: type[Exception], change: Callable[[], Awaitable[object]]
) -> Exception:
    """The change raises this and leaves everything as it was."""
    before = await state(store)
    with pytest.raises(error) as caught:
        await change()
    assert await state(store) == before
    return caught.value


# Adding and reading.


async def test_a_setting_keeps_every_field_and_gets_an_id(store: Store) -> None:
    of = replace(
        challenge_type("e-Mail.1", at=7),
        id=4711,
        code_type=CodeType.UNAMBIGUOUS,
        code_length=9,
        ttl=30,
        max_attempts=20,
        updated_at_ms=8,
    )
    stored_type = await store.add_setting(of, ADMIN)
    assert stored_type == replace(of, id=stored_type.id)
    by = replace(template("Brief", Channel.EMAIL, at=9), id=4711, text="Ihr Code: ${answer}\n✓")
    stored_template = await store.add_setting(by, ADMIN)
    assert stored_template == replace(by, id=stored_template.id)
    via = replace(route(stored_type, stored_template, order=0, attempts=20), id=4711)
    stored_route = await store.add_setting(via, ADMIN)
    assert stored_route == replace(via, id=stored_route.id)
    for stored in (stored_type, stored_template, stored_route):
        assert stored.id != 4711
        found = await store.get_setting(type(stored), TENANT, stored.id)
        assert found == stored
        assert type(found) is type(stored)
    got_type = await store.get_setting(ChallengeType, TENANT, stored_type.id)
    got_route = await store.get_setting(ChallengeRoute, TENANT, stored_route.id)
    assert got_type is not None
    assert got_route is not None
    assert type(got_type.code_type) is CodeType
    assert type(got_route.channel) is Channel


async def test_an_id_is_never_given_twice(store: Store) -> None:
    first = await store.add_setting(challenge_type("a"), ADMIN)
    await store.delete_setting(ChallengeType, TENANT, first.id, ADMIN, 5)
    second = await store.add_setting(challenge_type("b"), ADMIN)
    assert second.id > first.id


async def test_pages_go_by_id(store: Store) -> None:
    ids = [(await store.add_setting(challenge_type(name), ADMIN)).id for name in "dacbe"]
    assert ids == sorted(ids)

    async def page(limit: int, offset: int) -> list[int]:
        found = await store.list_settings(ChallengeType, TENANT, limit=limit, offset=offset)
        return [setting.id for setting in found]

    assert await page(2, 0) == ids[:2]
    assert await page(2, 2) == ids[2:4]
    assert await page(2, 4) == ids[4:]
    assert await page(2, 5) == []
    assert await page(10**30, 0) == ids
    assert await page(2, 10**30) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_not_there_is_none(store: Store, kind: type[Any]) -> None:
    await add_type_with_route(store)
    for unknown in (0, -1, 10**6, 10**30, -(10**30)):
        assert await store.get_setting(kind, TENANT, unknown) is None
        assert await store.delete_setting(kind, TENANT, unknown, ADMIN, 5) is False


@pytest.mark.parametrize("make", [challenge_type, template])
async def test_a_name_is_taken_in_its_tenant_only(
    store: Store, make: Callable[..., ChallengeType | Template]
) -> None:
    await store.add_setting(make("one"), ADMIN)
    await store.add_setting(make("One"), ADMIN)
    await store.add_setting(make("one", tenant="other"), ADMIN)
    error = await refused(store, AlreadyExists, lambda: store.add_setting(make("one"), ADMIN))
    assert isinstance(error, AlreadyExists)
    assert (error.what, error.value) == ("name", "one")


async def test_a_route_needs_a_type_and_a_template_of_its_channel(store: Store) -> None:
    _, _, via = await add_type_with_route(store)
    theirs_of, theirs_by, _ = await add_type_with_route(store, "other")
    for field, bad in (
        ("challenge_type_id", replace(via, challenge_type_id=10**6)),
        ("challenge_type_id", replace(via, challenge_type_id=theirs_of.id)),
        ("challenge_type_id", replace(via, challenge_type_id=10**30)),
        ("template_id", replace(via, template_id=10**6)),
        ("template_id", replace(via, template_id=theirs_by.id)),
        ("template_id", replace(via, channel=Channel.EMAIL)),
    ):
        for change in (store.add_setting, store.save_setting):
            error = await refused(store, MissingReference, lambda c=change, b=bad: c(b, ADMIN))  # type: ignore[misc] - bound at once
            assert isinstance(error, MissingReference)
            assert error.field == field


# Saving.


async def test_saving_replaces_and_counts_the_version(store: Store) -> None:
    of, by, via = await add_type_with_route(store)
    new_of = replace(of, name="signup", code_length=8, updated_at_ms=50)
    new_by = replace(by, text="neu ${answer}", updated_at_ms=51)
    new_via = replace(via, order=3, attempts=2, updated_at_ms=52)
    for new in (new_of, new_by, new_via):
        stored = await store.save_setting(new, ADMIN)
        assert stored == replace(new, version=2)
        assert await store.get_setting(type(new), TENANT, new.id) == stored
        again = await store.save_setting(stored, ADMIN)
        assert again == replace(new, version=3)


async def test_a_setting_may_keep_its_own_name_but_take_no_other(store: Store) -> None:
    first = await store.add_setting(challenge_type("first"), ADMIN)
    await store.add_setting(challenge_type("second"), ADMIN)
    first = await store.save_setting(replace(first, ttl=60), ADMIN)
    error = await refused(
        store, AlreadyExists, lambda: store.save_setting(replace(first, name="second"), ADMIN)
    )
    assert isinstance(error, AlreadyExists)
    assert (error.what, error.value) == ("name", "second")


@pytest.mark.parametrize("version", [0, 2])
async def test_another_version_is_stale(store: Store, version: int) -> None:
    for held in await add_type_with_route(store):
        stale = replace(held, version=version)
        await refused(store, StaleSetting, lambda s=stale: store.save_setting(s, ADMIN))  # type: ignore[misc] - bound at once


async def test_what_is_gone_is_stale(store: Store) -> None:
    held = await store.add_setting(challenge_type(), ADMIN)
    await store.delete_setting(ChallengeType, TENANT, held.id, ADMIN, 5)
    await refused(store, StaleSetting, lambda: store.save_setting(held, ADMIN))


async def test_of_many_that_save_one_version_one_wins(store: Store) -> None:
    held = await store.add_setting(template(), ADMIN)
    won: list[Template] = []
    stale: list[int] = []

    async def save(n: int) -> None:
        try:
            won.append(await store.save_setting(replace(held, text=f"{n} ${{answer}}"), ADMIN))
        except StaleSetting:
            stale.append(n)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for n in range(50):
                nursery.start_soon(save, n)
    assert (len(won), len(stale)) == (1, 49)
    assert await store.get_setting(Template, TENANT, held.id) == won[0]
    assert len(await store.audit_after(0, 100)) == 2


async def test_a_template_with_routes_keeps_its_channel(store: Store) -> None:
    _, by, via = await add_type_with_route(store)
    leaving = replace(by, channel=Channel.EMAIL, subject="Ihr Code")
    error = await refused(store, InUse, lambda: store.save_setting(leaving, ADMIN))
    assert isinstance(error, InUse)
    assert error.by == "routes"
    await store.delete_setting(ChallengeRoute, TENANT, via.id, ADMIN, 5)
    assert (await store.save_setting(leaving, ADMIN)).channel is Channel.EMAIL


# Deleting.


async def test_what_is_deleted_is_gone(store: Store) -> None:
    of, by, via = await add_type_with_route(store)
    for held in (via, by, of):
        assert await store.delete_setting(type(held), TENANT, held.id, ADMIN, 5) is True
        assert await store.get_setting(type(held), TENANT, held.id) is None
        assert await store.list_settings(type(held), TENANT, limit=9, offset=0) == []
        assert await store.delete_setting(type(held), TENANT, held.id, ADMIN, 5) is False
    assert (await store.load_plan(TENANT, "login"))[1] is None


async def test_a_type_or_template_with_a_route_stays(store: Store) -> None:
    of, by, _ = await add_type_with_route(store)
    for kind, needed in ((ChallengeType, of.id), (Template, by.id)):
        error = await refused(
            store,
            InUse,
            lambda k=kind, i=needed: store.delete_setting(k, TENANT, i, ADMIN, 5),  # type: ignore[misc] - bound at once
        )
        assert isinstance(error, InUse)
        assert error.by == "routes"


async def test_a_type_with_a_process_stays_without_routes_too(store: Store) -> None:
    of, _, via = await add_type_with_route(store)
    bare = await store.add_setting(challenge_type("bare"), ADMIN)
    version, plan = await store.load_plan(TENANT, "login")
    assert plan is not None
    started = await store.start_processes([new_process(1, of=plan, version=version)])
    assert isinstance(started[0], Started)
    await store.delete_setting(ChallengeRoute, TENANT, via.id, ADMIN, 5)
    error = await refused(
        store, InUse, lambda: store.delete_setting(ChallengeType, TENANT, of.id, ADMIN, 5)
    )
    assert isinstance(error, InUse)
    assert error.by == "processes"
    assert await store.delete_setting(ChallengeType, TENANT, bare.id, ADMIN, 5) is True


# Tenants.


async def test_tenants_see_and_change_only_their_own(store: Store) -> None:
    theirs = await add_type_with_route(store, "other")
    before = await state(store)
    for held in theirs:
        kind = type(held)
        assert await store.list_settings(kind, TENANT, limit=9, offset=0) == []
        assert await store.get_setting(kind, TENANT, held.id) is None
        assert await store.delete_setting(kind, TENANT, held.id, ADMIN, 5) is False
        with pytest.raises(StaleSetting):
            await store.save_setting(replace(held, tenant=TENANT), ADMIN)
        assert await store.get_setting(kind, "other", held.id) == held
    assert (await store.load_plan(TENANT, "login"))[1] is None
    assert await state(store) == before


# The trail.


async def test_every_change_writes_who_did_what(store: Store) -> None:
    of, by, via = await add_type_with_route(store)
    await store.save_setting(replace(of, updated_at_ms=20), Actor("client:b"))
    await store.delete_setting(ChallengeRoute, TENANT, via.id, ADMIN, 30)
    trail = [entry for _, entry, _, _ in await store.audit_after(0, 100)]
    nouns = [f"challenge_type:{of.id}", f"template:{by.id}", f"challenge_type_route:{via.id}"]
    expected = [
        *(
            AuditEntry(1, TENANT, ADMIN.name, "192.0.2.7", "settings.add", noun, "done")
            for noun in nouns
        ),
        AuditEntry(20, TENANT, "client:b", "", "settings.save", nouns[0], "done"),
        AuditEntry(30, TENANT, ADMIN.name, "192.0.2.7", "settings.delete", nouns[2], "done"),
    ]
    assert trail == expected


# Bounds.


async def test_a_type_has_so_many_routes_and_no_more(store: Store) -> None:
    of, by, via = await add_type_with_route(store)
    other = await store.add_setting(challenge_type("other"), ADMIN)
    elsewhere = await store.add_setting(route(other, by), ADMIN)
    for _ in range(ROUTES_MAX - 1):
        await store.add_setting(route(of, by), ADMIN)
    error = await refused(store, TooMany, lambda: store.add_setting(route(of, by), ADMIN))
    assert isinstance(error, TooMany)
    assert (error.what, error.limit) == ("routes of a type", ROUTES_MAX)
    moved = replace(elsewhere, challenge_type_id=of.id)
    await refused(store, TooMany, lambda: store.save_setting(moved, ADMIN))
    assert (await store.save_setting(replace(via, attempts=3), ADMIN)).attempts == 3
    assert await store.delete_setting(ChallengeRoute, TENANT, via.id, ADMIN, 5) is True
    assert (await store.save_setting(moved, ADMIN)).challenge_type_id == of.id


@pytest.mark.parametrize(
    ("make", "what"), [(challenge_type, "challenge types"), (template, "templates")]
)
async def test_a_tenant_has_so_many_of_a_kind_and_no_more(
    store: Store, make: Callable[..., Any], what: str
) -> None:
    first = await store.add_setting(make("0"), ADMIN)
    for n in range(1, SETTINGS_MAX):
        await store.add_setting(make(str(n)), ADMIN)
    error = await refused(store, TooMany, lambda: store.add_setting(make("more"), ADMIN))
    assert isinstance(error, TooMany)
    assert (error.what, error.limit) == (what, SETTINGS_MAX)
    assert (await store.save_setting(replace(first, name="again"), ADMIN)).version == 2
    assert (await store.add_setting(make("theirs", tenant="other"), ADMIN)).tenant == "other"


async def test_a_tenant_has_so_many_routes_in_all_and_no_more(store: Store) -> None:
    by = await store.add_setting(template(), ADMIN)
    for n in range(-(-SETTINGS_MAX // ROUTES_MAX)):
        of = await store.add_setting(challenge_type(str(n)), ADMIN)
        for _ in range(min(ROUTES_MAX, SETTINGS_MAX - n * ROUTES_MAX)):
            await store.add_setting(route(of, by), ADMIN)
    last = await store.add_setting(challenge_type("last"), ADMIN)
    error = await refused(store, TooMany, lambda: store.add_setting(route(last, by), ADMIN))
    assert isinstance(error, TooMany)
    assert (error.what, error.limit) == ("routes", SETTINGS_MAX)
