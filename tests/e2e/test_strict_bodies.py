"""No part of a request is passed over in silence: keys twice, unknown fields, both places (67)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.back_end import Credentials
from tests.support.rest_server import Door, rest_server, through_door, word_of
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

UUID = "98df8e4e-7240-4291-9322-282a8d97542a"
TYPES = "/api/otp/crud/challenge-types"
Served = tuple[ServerProcess, Credentials]
BODIES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/otp/handshake", {"type": "email-verification", "email": "a@example.com"}),
    ("POST", "/otp/init", {"type": "email-verification", "email": "a@example.com"}),
    ("PUT", f"/otp/{UUID}/attempt", {"code": "123456"}),
    ("POST", "/otp/email-verification", {"email": "a@example.com"}),
    ("POST", TYPES, {"name": "strict"}),
    ("PUT", f"{TYPES}/1", {"name": "strict"}),
    ("PATCH", f"{TYPES}/1", {"ttl": 60}),
    ("POST", "/otp/crud/templates", {"name": "x", "channel": "sms", "text": "${answer}"}),
    (
        "POST",
        "/otp/crud/challenge-types-routes",
        {"challenge_type_id": 1, "channel": "email", "template_id": 1},
    ),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with rest_server(tmp_path_factory.mktemp("strict") / "server") as served:
        yield served


async def send(door: Door, method: str, path: str, text: str, **headers: str) -> str:
    """The word of the answer to a body as it is written here."""
    sent = {"bsauth": door.back_end.token, "Content-Type": "application/json", **headers}
    return word_of(await door.back_end.http.request(method, path, content=text, headers=sent))


def test_a_key_that_is_twice_in_one_object(served: Served) -> None:
    """The last one wins in most parsers, the first one in some; here neither does."""

    async def run(door: Door) -> None:
        before = await state(door)
        for method, path, body in BODIES:
            text = json.dumps(body)[:-1]
            name, value = next(iter(body.items()))
            for twice in (
                f"{text}, {json.dumps(name)}: {json.dumps(value)}}}",
                f'{text}, "\\u{ord(name[0]):04x}{name[1:]}": {json.dumps(value)}}}',
                f'{text}, "entities": [{{"type": "a", "type": "b", "id": "c"}}]}}',
            ):
                assert await send(door, method, path, twice) == "MALFORMED", (method, path, twice)
        assert await state(door) == before

    through_door(*served, run)


def test_a_field_that_is_not_known(served: Served) -> None:
    """Above all those that a caller must not set (mass assignment)."""

    async def run(door: Door) -> None:
        before = await state(door)
        for method, path, body in BODIES:
            for name in ("id", "tenant", "created_at", "uuid", "accepted", "attempts_left", "Type"):
                said = await door.back_end.call(method, path, {**body, name: 1})
                assert word_of(said) == "INVALID_FIELDS", (method, path, name)
                assert name in said.json()["error"]["fields"]
            said = await door.back_end.call(method, path, body, params={"tenant": "other"})
            assert word_of(said) == "INVALID_FIELDS"
        assert await state(door) == before

    through_door(*served, run)


def test_parameters_that_are_twice_or_in_two_places(served: Served) -> None:
    async def run(door: Door) -> None:
        asked = "/otp/email-verification"
        for query in (
            "limit=1&limit=2",
            "email=a@example.com&email=b@example.com",
            "type=email-verification&type=phone-verification",
            "type=phone-verification",
            "entities[0][id]=1&entities[0][id]=2&entities[0][type]=a",
            "entities[]=1",
            "tenant=other",
            "offset=-1",
        ):
            said = await door.back_end.call("GET", f"{asked}?{query}")
            assert word_of(said) == "INVALID_FIELDS", query
        said = await door.back_end.call("POST", asked, {"type": "phone-verification"})
        assert word_of(said) == "INVALID_FIELDS"
        said = await door.back_end.call("POST", asked, {}, params={"email": "a@example.com"})
        assert word_of(said) == "INVALID_FIELDS"
        assert await send(door, "GET", asked, "{}") == "MALFORMED"
        assert await send(door, "DELETE", f"{TYPES}/1", "{}") == "MALFORMED"

    through_door(*served, run)


def test_bodies_that_are_no_json_object(served: Served) -> None:
    async def run(door: Door) -> None:
        before = await state(door)
        for method, path, body in BODIES:
            text = json.dumps(body)
            for wrong in (
                text[:-1],
                f"{text} {text}",
                f"[{text}]",
                "null",
                text.replace(":", ": NaN, :", 1),
                text[:-1] + ', "entities": ' + "[" * 20 + "]" * 20 + "}",
            ):
                assert await send(door, method, path, wrong) == "MALFORMED", (method, path, wrong)
            for media_type in ("text/plain", "application/x-www-form-urlencoded"):
                said = await send(door, method, path, text, **{"Content-Type": media_type})
                assert said == "UNSUPPORTED_MEDIA_TYPE"
        assert await state(door) == before

    through_door(*served, run)


def test_a_number_is_a_number_however_it_is_written(served: Served) -> None:
    """JSON knows no integers, and its schemas call 1e2 one: so 1e2 is 100 everywhere."""

    async def run(door: Door) -> None:
        made = await door.back_end.http.post(
            TYPES,
            content='{"name": "written", "ttl": 6.0e1, "code_length": 7.0}',
            headers={"bsauth": door.back_end.token, "Content-Type": "application/json"},
        )
        assert (made.json()["data"]["ttl"], made.json()["data"]["code_length"]) == (60, 7)
        assert await send(door, "POST", "/otp/email-verification", '{"limit": 1e2}') == "ok"
        for number in ("6.5", "1e400", "true", '"60"'):
            said = await send(door, "POST", TYPES, f'{{"name": "wrong", "ttl": {number}}}')
            assert said in ("INVALID_FIELDS", "MALFORMED")

    through_door(*served, run)


async def state(door: Door) -> tuple[Any, ...]:
    """All that a request could have changed."""
    folders = ("challenge-types", "challenge-types-routes", "templates")
    settings = [await door.back_end.data("GET", f"/api/otp/crud/{folder}") for folder in folders]
    processes = await door.back_end.data("GET", "/otp/email-verification")
    return *settings, processes, list(door.outbox.look())
