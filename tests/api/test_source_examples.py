"""Every example of the source document, replayed over real HTTP: request in, the same shape out.

``Shape`` values below are the source's answers; a value that is not known before stands as the
pattern or type it must be of. What is ours beside the source is named in ``OURS``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from otp_server.stores import open_store
from tests.support.rest_world import RestWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from tests.support.back_end import BackEnd

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d")
"""``2023-04-07T08:22:06+00:00``: seconds, and a numeric offset."""
NUMBER_TEXT = re.compile(r"[1-9]\d*")
OURS = {"failure", "deliveries"}
ENTITIES = [
    {"type": "client", "id": "338"},
    {"type": "process", "id": "13513451345-sdnfsfgnsfgn-13135"},
]
PHONE, EMAIL = "+447400123456", "email@example.com"
PREFIXES = ["", "/api"]


def check(answer: object, shape: object, where: str = "$") -> None:
    """The answer is of the shape: the same members in the same order, and values that fit."""
    match shape:
        case dict():
            assert isinstance(answer, dict), where
            assert list(answer) == list(shape), where
            for name, inner in shape.items():
                check(answer[name], inner, f"{where}.{name}")
        case list():
            assert isinstance(answer, list), where
            assert len(answer) == len(shape), where
            for n, inner in enumerate(shape):
                check(answer[n], inner, f"{where}[{n}]")
        case re.Pattern():
            assert isinstance(answer, str), where
            assert shape.fullmatch(answer), f"{where}: {answer!r}"
        case type():
            assert type(answer) is shape, f"{where}: {answer!r}"
        case _:
            assert (answer, type(answer)) == (shape, type(shape)), where


def ok(data: object) -> dict[str, object]:
    return {"status": "ok", "timestamp": int, "data": data}


@dataclass
class Stage:
    """A served face whose tenant has one type for each contact, as the source's samples do."""

    world: RestWorld
    back_end: BackEnd
    templates: Mapping[str, str]

    async def ask(
        self, method: str, path: str, body: object, shape: object, status: int = 200
    ) -> Any:  # noqa: ANN401 - JSON
        response = await self.back_end.call(method, path, body)
        answer = response.json()
        assert response.status_code == status, answer
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Cache-Control"] == "no-store"
        check(answer, shape)
        assert abs(answer["timestamp"] - self.world.clock.now_ms()) < 30_000
        return answer["data"]


@pytest.fixture(params=["memory:", "sqlite:otp.db"])
async def stage(
    request: pytest.FixtureRequest, each_http: None, tmp_path: Path
) -> AsyncIterator[Stage]:
    store = await open_store(request.param, tmp_path)
    world = RestWorld(store)
    async with world.back_end() as back_end:
        templates = await back_end.data("GET", "/api/otp/crud/templates")
        names = {template["name"]: str(template["id"]) for template in templates}
        yield Stage(world, back_end, names)
    await store.aclose()


CONTACTS = [
    ("email-verification", {"email": EMAIL}, "email"),
    ("phone-verification", {"mobilePhone": PHONE}, "sms"),
]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(("name", "contact", "channel"), CONTACTS)
@pytest.mark.parametrize("entities", [{}, {"entities": ENTITIES}], ids=["bare", "entities"])
async def test_handshake(
    stage: Stage,
    prefix: str,
    name: str,
    contact: dict[str, str],
    channel: str,
    entities: Any,  # noqa: ANN401 - JSON
) -> None:
    shape = ok({"type": name, "channel": channel, "availableIn": 600})
    body = {"type": name, **contact, **entities}
    await stage.ask("POST", f"{prefix}/otp/handshake", body, shape)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(("name", "contact", "channel"), CONTACTS)
async def test_init_and_confirmation(
    stage: Stage, prefix: str, name: str, contact: dict[str, str], channel: str
) -> None:
    body = {"type": name, **contact, "entities": ENTITIES}
    shape = ok({"uuid": UUID, "channel": channel})
    started = await stage.ask("POST", f"{prefix}/otp/init", body, shape)
    uuid = started["uuid"]
    code = await stage.world.code_of(uuid)
    wrong = str((int(code) + 1) % 10**6).zfill(6)
    attempt = f"{prefix}/otp/{uuid}/attempt"
    await stage.ask("PUT", attempt, {"code": wrong}, ok({"accepted": False}))
    code = await stage.world.code_of(uuid)
    await stage.ask("PUT", attempt, {"code": code}, ok({"accepted": True}))


def process(name: str, contact: dict[str, str], channel: str, template: str) -> dict[str, object]:
    """The source's sample of a process; its members in its order, ours after them."""
    return {
        "id": int,
        "uuid": UUID,
        "type": name,
        "status": "accepted",
        "phone": contact.get("mobilePhone"),
        "email": contact.get("email"),
        "ip": "127.0.0.1",
        "entities": ENTITIES,
        "attempts": 0,
        "createdAt": TIME,
        "updatedAt": TIME,
        "currentRoute": {
            "status": "sent",
            "channel": channel,
            "templateId": template,
            "attempts": 0,
        },
        "failure": None,
        "deliveries": [{"channel": channel, "status": "sent", "problem": None, "updatedAt": TIME}],
    }


TEMPLATES = {"email": "email-verification", "sms": "phone-verification-sms"}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(("name", "contact", "channel"), CONTACTS)
async def test_search(
    stage: Stage, prefix: str, name: str, contact: dict[str, str], channel: str
) -> None:
    body = {"type": name, **contact, "entities": ENTITIES}
    started = await stage.back_end.data("POST", "/otp/init", body)
    await stage.world.deliver()
    code = await stage.world.code_of(started["uuid"])
    await stage.back_end.data("PUT", f"/otp/{started['uuid']}/attempt", {"code": code})
    other = {"type": name, **contact, "entities": [{"type": "lead", "id": 5}]}
    await stage.back_end.data("POST", "/otp/init", other)

    template = stage.templates[TEMPLATES[channel]]
    assert NUMBER_TEXT.fullmatch(template)
    shape = ok([process(name, contact, channel, template)])
    [found] = await stage.ask("POST", f"{prefix}/otp/{name}", body, shape)
    assert found["uuid"] == started["uuid"]
    assert found.keys() - OURS == set(list(found)[:12])

    fields = {"type": name, **contact}
    fields |= {f"entities[{n}][{part}]": e[part] for n, e in enumerate(ENTITIES) for part in e}
    response = await stage.back_end.call("GET", f"{prefix}/otp/{name}", params=fields)
    assert response.status_code == 200
    check(response.json(), shape)
    assert response.json()["data"] == [found]
    plain_plus = "&".join(f"{name}={value}" for name, value in fields.items())
    response = await stage.back_end.call("GET", f"{prefix}/otp/{name}?{plain_plus}")
    assert response.json()["data"] == [found]  # a + that was not escaped is a + still


async def test_search_without_conditions(stage: Stage) -> None:
    first = await stage.back_end.data(
        "POST", "/otp/init", {"type": "email-verification", "email": "a@example.com"}
    )
    second = await stage.back_end.data(
        "POST", "/otp/init", {"type": "email-verification", "email": "b@example.com"}
    )
    newest_first = [second["uuid"], first["uuid"]]
    for found in (
        await stage.back_end.data("GET", "/otp/email-verification"),
        await stage.back_end.data("POST", "/otp/email-verification"),
        await stage.back_end.data("POST", "/otp/email-verification", {}),
        await stage.back_end.data("POST", "/otp/email-verification", {"type": None}),
    ):
        assert [one["uuid"] for one in found] == newest_first
    found = await stage.back_end.data("GET", "/otp/email-verification?limit=1&offset=1")
    assert [one["uuid"] for one in found] == [first["uuid"]]
    assert await stage.back_end.data("GET", "/otp/phone-verification") == []


async def test_an_entity_id_may_be_a_number(stage: Stage) -> None:
    body = {"type": "email-verification", "email": EMAIL, "entities": [{"type": "lead", "id": 5}]}
    await stage.back_end.data("POST", "/otp/init", body)
    for wanted in (5, "5"):
        search = {"entities": [{"type": "lead", "id": wanted}]}
        [found] = await stage.back_end.data("POST", "/otp/email-verification", search)
        assert found["entities"] == [{"type": "lead", "id": "5"}]
    search = {"entities": [{"type": "lead", "id": "5"}, {"type": "client", "id": "1"}]}
    assert await stage.back_end.data("POST", "/otp/email-verification", search) == []


TYPE = {
    "id": int,
    "name": "loan",
    "code_type": "numeric",
    "code_length": 6,
    "ttl": 3600,
    "max_attempts": 5,
    "created_at": TIME,
    "updated_at": TIME,
}


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_challenge_types(stage: Stage, prefix: str) -> None:
    folder = f"{prefix}/otp/crud/challenge-types"
    made = await stage.ask("POST", folder, {"name": "loan"}, ok(TYPE), 201)
    one = f"{folder}/{made['id']}"
    await stage.ask("GET", one, None, ok(made))
    listed = await stage.back_end.data("GET", folder)
    assert listed[-1] == made
    whole = {"code_type": "alphanumeric", "code_length": 8, "ttl": 120, "max_attempts": 3}
    stage.world.clock.shift_ms += 2000
    changed = await stage.ask("PUT", one, {"name": "loan", **whole}, ok({**TYPE, **whole}))
    assert changed["created_at"] == made["created_at"] < changed["updated_at"]
    await stage.ask("PATCH", one, {"ttl": 60}, ok({**TYPE, **whole, "ttl": 60}))
    await stage.ask("PUT", one, {"name": "loan"}, ok(TYPE))  # what is left out has its default
    await stage.ask("DELETE", one, None, ok(None))
    assert (await stage.back_end.call("GET", one)).status_code == 404


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_challenge_types_routes(stage: Stage, prefix: str) -> None:
    folder = f"{prefix}/otp/crud/challenge-types-routes"
    loan = await stage.back_end.data("POST", "/api/otp/crud/challenge-types", {"name": "loan"})
    template = int(stage.templates["phone-verification-sms"])
    needed = {"challenge_type_id": loan["id"], "channel": "sms", "template_id": template}
    shape = {
        "id": int,
        "challenge_type_id": loan["id"],
        "order": None,
        "channel": "sms",
        "template_id": template,
        "attempts": 1,
        "created_at": TIME,
        "updated_at": TIME,
    }
    made = await stage.ask("POST", folder, needed, ok(shape), 201)
    one = f"{folder}/{made['id']}"
    whole = {**needed, "order": 2, "attempts": 3}
    await stage.ask("PUT", one, whole, ok({**shape, "order": 2, "attempts": 3}))
    await stage.ask("PATCH", one, {"order": None}, ok({**shape, "attempts": 3}))
    await stage.ask("GET", one, None, ok({**shape, "attempts": 3}))
    await stage.ask("DELETE", one, None, ok(None))


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_templates(stage: Stage, prefix: str) -> None:
    folder = f"{prefix}/otp/crud/templates"
    body = {"name": "words", "channel": "email", "subject": "Code", "text": "It is ${answer}."}
    shape = {"id": int, **body, "created_at": TIME, "updated_at": TIME}
    made = await stage.ask("POST", folder, body, ok(shape), 201)
    one = f"{folder}/{made['id']}"
    await stage.ask("PATCH", one, {"subject": "Key"}, ok({**shape, "subject": "Key"}))
    await stage.ask("GET", one, None, ok({**shape, "subject": "Key"}))
    await stage.ask("DELETE", one, None, ok(None))
