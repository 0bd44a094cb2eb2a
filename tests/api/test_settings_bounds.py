"""How many settings a tenant may have, over real HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otp_server.stores import open_store
from otp_server.stores.bounds import ROUTES_MAX, SETTINGS_MAX
from tests.support.back_end import BackEnd
from tests.support.rest_world import RestWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ROUTES, TEMPLATES = "/api/otp/crud/challenge-types-routes", "/api/otp/crud/templates"


@pytest.fixture
async def back_end(tmp_path: Path) -> AsyncIterator[BackEnd]:
    store = await open_store("memory:", tmp_path)
    world = RestWorld(store)
    token = await world.token()
    async with world.serve() as http:
        yield BackEnd(http, token)
    await store.aclose()


async def refused(back_end: BackEnd, path: str, body: object) -> tuple[int, str, str]:
    response = await back_end.call("POST", path, body)
    error = response.json()["error"]
    return response.status_code, error["code"], error["message"]


async def test_a_type_has_so_many_routes(back_end: BackEnd) -> None:
    made = await back_end.add_type("many", [("sms", 1)] * ROUTES_MAX)
    [template, *_] = await back_end.data("GET", TEMPLATES)
    route = {
        "challenge_type_id": made["id"],
        "channel": template["channel"],
        "template_id": template["id"],
    }
    told = f"There may be at most {ROUTES_MAX} routes of a type."
    assert await refused(back_end, ROUTES, route) == (422, "INVALID_FIELDS", told)
    other = await back_end.add_type("few", [])
    await back_end.data("POST", ROUTES, {**route, "challenge_type_id": other["id"]})


async def test_a_tenant_has_so_many_templates(back_end: BackEnd) -> None:
    words = {"channel": "sms", "text": "${answer}"}
    held = len(await back_end.data("GET", TEMPLATES))
    for n in range(SETTINGS_MAX - held):
        await back_end.data("POST", TEMPLATES, {**words, "name": str(n)})
    told = f"There may be at most {SETTINGS_MAX} templates."
    more = {**words, "name": "more"}
    assert await refused(back_end, TEMPLATES, more) == (422, "INVALID_FIELDS", told)
