"""The rest face over real HTTP: refusals, limits, tenants; each answer as documented."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from otp_server.domain.challenge_type import Channel
from otp_server.domain.client import Scope
from otp_server.errors import StoreUnavailable
from otp_server.services.ports.outbox import MessageState
from tests.support.rest_stage import (
    BOTH,
    EMAIL,
    OPERATIONS,
    ROUTES,
    TEMPLATES,
    TYPES,
    UNKNOWN,
    Stage,
    error_of,
    stage_over,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("method", "path", "body", "scope"), OPERATIONS)
async def test_tokens_and_scopes(
    one: Stage, method: str, path: str, body: object, scope: Scope
) -> None:
    """Search and configuration need a permission of their own (requirement 65)."""
    other = next(each for each in Scope if each is not scope)
    without = await one.world.token(scopes=frozenset({other}))
    for token, status, code in (
        ("", 401, "UNAUTHORIZED"),
        ("wrong", 401, "UNAUTHORIZED"),
        (without, 403, "FORBIDDEN"),
    ):
        one.back_end.token = token
        response = await one.ask(method, path, body)
        assert (response.status_code, error_of(response)["code"]) == (status, code)
        assert response.headers["WWW-Authenticate"].startswith("Bearer ")
    one.back_end.token = await one.world.token(scopes=frozenset({scope}))
    response = await one.ask(method, path, body)
    assert response.status_code not in (401, 403)
    sent = {"bsauth": "", "Authorization": f"Bearer {one.back_end.token}"}
    again = await one.ask(method, path, body, headers=sent)
    assert again.status_code not in (401, 403)


async def test_a_token_from_the_endpoint_works_and_a_revoked_client_has_none(one: Stage) -> None:
    client, secret = await one.world.clients.add("back end")
    form = {
        "grant_type": "client_credentials",
        "client_id": client.client_id,
        "client_secret": secret,
    }
    answer = await one.http.post("/oauth/token", data=form)
    assert answer.status_code == 200
    one.back_end.token = answer.json()["access_token"]
    assert (await one.ask("POST", "/otp/handshake", EMAIL)).status_code == 200
    await one.world.clients.revoke(client.client_id)
    await one.world.directory.refresh()
    assert await one.refused("POST", "/otp/handshake", EMAIL) == (401, "UNAUTHORIZED")
    assert (await one.http.post("/oauth/token", data=form)).status_code == 401


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/otp/handshake", "POST"),
        ("/api/otp/init", "POST"),
        (f"/otp/{UNKNOWN}/attempt", "PUT"),
        ("/otp/email-verification", "GET, HEAD, POST"),
        (TYPES, "GET, HEAD, POST"),
        (f"{TYPES}/1", "DELETE, GET, HEAD, PATCH, PUT"),
    ],
)
async def test_other_methods_neither_count_nor_send(one: Stage, path: str, allow: str) -> None:
    """Requirements 23 and 73: a safe method never starts, counts or changes anything."""
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "POST", "TRACE"):
        if method in allow.split(", "):
            continue
        response = await one.back_end.call(method, path, EMAIL if method != "TRACE" else None)
        assert (response.status_code, response.headers["Allow"]) == (405, allow)
        if method != "HEAD":
            assert error_of(response)["code"] == "METHOD_NOT_ALLOWED"
    found = await one.back_end.data("GET", "/otp/email-verification")
    assert found == []
    assert await one.world.deliver() == 0


async def test_head_of_a_search_has_no_body(one: Stage) -> None:
    response = await one.back_end.call("HEAD", "/otp/email-verification")
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize("path", ["/otp/init", "/otp/handshake", f"/otp/{UNKNOWN}/attempt", TYPES])
async def test_bodies_that_cannot_be_read(one: Stage, path: str) -> None:
    method = "PUT" if "attempt" in path else "POST"

    async def send(data: bytes, content_type: str) -> tuple[int, str]:
        headers = {"bsauth": one.back_end.token, "Content-Type": content_type}
        response = await one.http.request(method, path, content=data, headers=headers)
        one.check(response)
        return response.status_code, error_of(response)["code"]

    json = "application/json"
    for data in (b"", b"{", b"[]", b'{"code": "1", "code": "2"}', b"{}" * 2, b'{"code": NaN}'):
        assert await send(data, json) == (400, "MALFORMED")
    assert await send(b'{"a":' * 20 + b"1" + b"}" * 20, json) == (400, "MALFORMED")
    assert await send(b"code=1", "text/plain") == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert await send(b" " * 70_000, json) == (413, "TOO_LARGE")


FIELDS: list[tuple[str, dict[str, Any], set[str]]] = [
    ("/otp/init", {}, {"type"}),
    ("/otp/init", {"type": "email-verification"}, {"mobilePhone", "email"}),
    ("/otp/init", {**EMAIL, "phone": "1"}, {"phone"}),
    ("/otp/init", {**EMAIL, "mobile_phone": "1", "x": 1}, {"mobile_phone", "x"}),
    ("/otp/init", {**EMAIL, "email": "nobody"}, {"email"}),
    ("/otp/init", {**EMAIL, "email": 5, "mobilePhone": 7}, {"email", "mobilePhone"}),
    ("/otp/init", {**BOTH, "mobilePhone": "12345"}, {"mobilePhone"}),
    ("/otp/init", {**EMAIL, "entities": {}}, {"entities"}),
    ("/otp/init", {**EMAIL, "entities": [{"type": "client"}]}, {"entities[0].id"}),
    ("/otp/init", {**EMAIL, "entities": [{"type": 1, "id": 1}]}, {"entities[0].type"}),
    ("/otp/init", {**EMAIL, "entities": [{"type": "a", "id": True}]}, {"entities[0].id"}),
    ("/otp/init", {**EMAIL, "entities": [{"type": "a", "id": "1"}] * 65}, {"entities"}),
    ("/otp/init", {**EMAIL, "entities": [{"type": "a\n", "id": "1"}]}, {"entities[0].type"}),
    ("/otp/email-verification", {"type": "phone-verification"}, {"type"}),
    ("/otp/email-verification", {"limit": 0}, {"limit"}),
    ("/otp/email-verification", {"limit": 1001, "offset": -1}, {"limit", "offset"}),
    ("/otp/email-verification", {"email": "nobody"}, {"email"}),
    (TYPES, {}, {"name"}),
    (TYPES, {"name": "Init"}, {"name"}),
    (TYPES, {"name": "a", "id": 7, "tenant": "other"}, {"id", "tenant"}),
    (TYPES, {"name": "a", "code_length": 5, "ttl": 1}, {"code_length", "ttl"}),
    (TYPES, {"name": "a", "max_attempts": 0}, {"max_attempts"}),
    (ROUTES, {"channel": "sms"}, {"challenge_type_id", "template_id"}),
    (ROUTES, {"challenge_type_id": 999, "channel": "sms", "template_id": 1}, {"challenge_type_id"}),
    (TEMPLATES, {"name": "a", "channel": "sms", "text": "no code"}, {"text"}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "fields"), FIELDS)
async def test_wrong_fields_are_told_by_their_names(
    one: Stage, path: str, body: dict[str, Any], fields: set[str]
) -> None:
    for prefix in ("", "/api"):
        response = await one.ask("POST", prefix + path.removeprefix("/api"), body)
        error = error_of(response)
        assert (response.status_code, error["code"]) == (422, "INVALID_FIELDS")
        assert set(error["fields"]) == fields
    assert await one.world.deliver() == 0


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("email=a@example.com&email=b@example.com", {"email"}),
        ("phone=1", {"phone"}),
        ("type=other", {"type"}),
        ("limit=ten", {"limit"}),
        ("limit=1e3", {"limit"}),
        ("limit=0&offset=-1", {"limit", "offset"}),
        ("offset=99999999999999999999", {"offset"}),
        ("entities[0][type]=client", {"entities[0][id]"}),
        ("entities[5][type]=client&entities[5][id]=", {"entities[5][id]"}),
        ("entities[0][name]=client", {"entities[0][name]"}),
        ("entities[][type]=client", {"entities[][type]"}),
        ("entities[00][type]=client", {"entities[00][type]"}),
        ("mobilePhone=abc", {"mobilePhone"}),
    ],
)
async def test_parameters_that_are_not_clear_are_refused(
    one: Stage, query: str, fields: set[str]
) -> None:
    """Requirement 67: nothing given twice or unknown is passed over."""
    response = await one.ask("GET", f"/otp/email-verification?{query}")
    assert (response.status_code, set(error_of(response)["fields"])) == (422, fields)


async def test_what_is_sent_in_the_wrong_place_is_refused(one: Stage) -> None:
    for method, path, body in (
        ("POST", "/otp/init?type=email-verification", EMAIL),
        ("POST", "/otp/email-verification?limit=1", {}),
        ("PUT", f"/otp/{UNKNOWN}/attempt?code=1", {"code": "123456"}),
        ("GET", f"{TYPES}/1?x=1", None),
        ("GET", f"{TYPES}?name=a", None),
    ):
        assert await one.refused(method, path, body) == (422, "INVALID_FIELDS")
    for path in ("/otp/email-verification", TYPES, f"{TYPES}/1"):
        assert await one.refused("GET", path, {"email": "a@example.com"}) == (400, "MALFORMED")
    assert await one.refused("GET", "/otp/email-verification?x=%ff") == (400, "MALFORMED")


@pytest.mark.parametrize("path", ["/otp/a/b", "/api/otp/crud/other/1", "/api/nothing"])
async def test_unknown_paths_are_in_the_envelope(one: Stage, path: str) -> None:
    assert await one.refused("GET", path) == (404, "NOT_FOUND")


async def test_an_unknown_type(one: Stage) -> None:
    for method, path, body in (
        ("POST", "/otp/init", {**EMAIL, "type": "other"}),
        ("POST", "/otp/handshake", {**EMAIL, "type": "other"}),
        ("GET", "/otp/other", None),
        ("POST", "/otp/crud", {}),
    ):
        assert await one.refused(method, path, body) == (404, "TYPE_NOT_FOUND")


@pytest.mark.parametrize(
    "uuid", [UNKNOWN, "1", UNKNOWN.replace("-", ""), "{" + UNKNOWN + "}", "0" * 36, "%00"]
)
async def test_an_unknown_process(one: Stage, uuid: str) -> None:
    started = await one.init(EMAIL)
    assert await one.refused("PUT", f"/otp/{uuid}/attempt", {"code": "123456"}) == (
        404,
        "OTP_NOT_FOUND",
    )
    code = await one.world.code_of(started)
    answer = await one.attempt(started.upper(), code)
    assert answer.json()["data"] == {"accepted": True}


async def test_every_end_of_a_process_is_told(stage: Stage) -> None:
    """Requirement 16: the right code after the end is refused, each end with its own word."""
    accepted = await stage.init(EMAIL)
    code = await stage.world.code_of(accepted)
    assert (await stage.attempt(accepted, code)).json()["data"] == {"accepted": True}
    exhausted = await stage.init({**EMAIL, "email": "b@example.com"})
    for _ in range(5):
        answer = await stage.attempt(exhausted, await stage.wrong(exhausted))
        assert answer.json()["data"] == {"accepted": False}
    superseded = await stage.init({**EMAIL, "email": "c@example.com"})
    await stage.init({**EMAIL, "email": "c@example.com"})
    await stage.world.deliver()
    undeliverable = await stage.init({**EMAIL, "email": "d@example.com"})
    await stage.world.deliver(MessageState.FAILED, "rejected")
    expired = await stage.init({**EMAIL, "email": "e@example.com"})
    code = await stage.world.code_of(expired)
    for uuid, status, word in (
        (accepted, 409, "OTP_ALREADY_ACCEPTED"),
        (exhausted, 409, "OTP_ATTEMPTS_EXHAUSTED"),
        (superseded, 409, "OTP_SUPERSEDED"),
        (undeliverable, 409, "OTP_UNDELIVERABLE"),
    ):
        response = await stage.attempt(uuid, await stage.world.code_of(uuid))
        assert (response.status_code, error_of(response)["code"]) == (status, word)
    stage.world.clock.shift_ms += 600_000
    response = await stage.attempt(expired, code)
    assert (response.status_code, error_of(response)["code"]) == (410, "OTP_EXPIRED")
    found = await stage.back_end.data("GET", "/otp/email-verification")
    ends = {one["uuid"]: (one["status"], one["failure"]) for one in found}
    assert ends[accepted] == ("accepted", None)
    assert ends[exhausted] == ("failed", "exhausted")
    assert ends[superseded] == ("failed", "superseded")
    assert ends[undeliverable] == ("failed", "undeliverable")
    assert ends[expired] == ("expired", None)
    [failed] = [one for one in found if one["uuid"] == undeliverable]
    assert failed["currentRoute"]["status"] == "failed"
    [delivery] = failed["deliveries"]
    assert (delivery["status"], delivery["problem"]) == ("failed", "rejected")


async def test_a_failed_delivery_moves_on_with_a_new_code(stage: Stage) -> None:
    uuid = await stage.init(BOTH)
    first = await stage.world.code_of(uuid)
    assert await stage.world.deliver(MessageState.FAILED, "rejected", [Channel.SMS]) == 1
    second = await stage.world.code_of(uuid)
    assert second != first
    assert (await stage.attempt(uuid, first)).json()["data"] == {"accepted": False}
    [process] = await stage.back_end.data("GET", "/otp/phone-verification")
    assert process["currentRoute"]["channel"] == "email"
    first_delivery = process["deliveries"][0]
    assert (first_delivery["channel"], first_delivery["status"]) == ("sms", "failed")
    assert (await stage.attempt(uuid, second)).json()["data"] == {"accepted": True}


async def test_repetition_with_a_key_gets_the_first_answer(stage: Stage) -> None:
    """Requirement 71."""
    key = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
    quoted = {"Idempotency-Key": f'"{key["Idempotency-Key"]}"'}
    first = await stage.ask("POST", "/otp/init", EMAIL, headers=key)
    assert "Idempotency-Replayed" not in first.headers
    for headers in (key, quoted):
        again = await stage.ask("POST", "/api/otp/init", EMAIL, headers=headers)
        assert again.json()["data"] == first.json()["data"]
        assert again.headers["Idempotency-Replayed"] == "true"
    uuid = first.json()["data"]["uuid"]
    wrong = {"code": await stage.wrong(uuid)}
    for _ in range(3):
        answer = await stage.ask("PUT", f"/otp/{uuid}/attempt", wrong, headers=key)
        assert answer.json()["data"] == {"accepted": False}
    [found] = await stage.back_end.data("GET", "/otp/email-verification")
    assert found["attempts"] == 1
    other = {**EMAIL, "email": "other@example.com"}
    response = await stage.ask("POST", "/otp/init", other, headers=key)
    assert (response.status_code, error_of(response)["code"]) == (422, "IDEMPOTENCY_MISMATCH")
    for bad in ('"', "a b", "x" * 256, '"a'):
        response = await stage.ask("POST", "/otp/init", EMAIL, headers={"Idempotency-Key": bad})
        assert set(error_of(response)["fields"]) == {"Idempotency-Key"}


async def test_no_provider_works(one: Stage) -> None:
    one.world.closed_channels.update(Channel)
    for path in ("/otp/init", "/otp/handshake"):
        assert await one.refused("POST", path, EMAIL) == (502, "OTP_DELIVERY_FAILED")
    one.world.closed_channels.clear()
    for _ in range(6):  # nothing was charged
        await one.init(EMAIL)


async def test_a_store_that_is_down_never_says_yes(
    one: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requirement 41."""
    uuid = await one.init(EMAIL)
    code = await one.world.code_of(uuid)

    async def fail(*_args: object, **_named: object) -> None:
        raise StoreUnavailable("SELECT secret")

    store = one.world.store
    for name in ("start_processes", "count_attempts", "search_processes", "list_settings"):
        monkeypatch.setattr(store, name, fail)
    for method, path, body in (
        ("POST", "/otp/init", EMAIL),
        ("PUT", f"/otp/{uuid}/attempt", {"code": code}),
        ("GET", "/otp/email-verification", None),
        ("GET", TYPES, None),
    ):
        response = await one.ask(method, path, body)
        assert (response.status_code, error_of(response)["code"]) == (503, "UNAVAILABLE")
        assert response.headers["Retry-After"] == "1"
        assert "SELECT" not in response.text


async def test_a_crash_says_nothing(one: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def crash(*_args: object) -> None:
        raise RuntimeError("SELECT secret")

    monkeypatch.setattr(one.world.store, "search_processes", crash)
    response = await one.ask("GET", "/otp/email-verification")
    assert (response.status_code, error_of(response)["code"]) == (500, "INTERNAL")
    assert "SELECT" not in response.text
    assert one.world.metrics.crashes.labels(where="http")._value.get() == 1


async def test_tenants_see_only_their_own(stage: Stage) -> None:
    uuid = await stage.init(EMAIL)
    [mine] = [t for t in await stage.back_end.data("GET", TYPES) if t["name"] == EMAIL["type"]]
    stage.back_end.token = await stage.world.token(tenant="other")
    assert await stage.back_end.data("GET", "/otp/email-verification") == []
    code = await stage.world.code_of(uuid)
    response = await stage.attempt(uuid, code)
    assert (response.status_code, error_of(response)["code"]) == (404, "OTP_NOT_FOUND")
    assert mine["id"] not in [t["id"] for t in await stage.back_end.data("GET", TYPES)]
    one = f"{TYPES}/{mine['id']}"
    for method, body in (("GET", None), ("PUT", {"name": "a"}), ("PATCH", {}), ("DELETE", None)):
        assert await stage.refused(method, one, body) == (404, "NOT_FOUND")
    route = {"challenge_type_id": mine["id"], "channel": "sms", "template_id": 1}
    response = await stage.ask("POST", ROUTES, route)
    assert response.status_code == 422
    await stage.init(EMAIL)


async def test_configuration_conflicts(stage: Stage) -> None:
    made = await stage.back_end.data("POST", TYPES, {"name": "loan"})
    response = await stage.ask("POST", TYPES, {"name": "loan"})
    error = error_of(response)
    assert (response.status_code, error["code"], set(error["fields"])) == (
        409,
        "NAME_TAKEN",
        {"name"},
    )
    assert await stage.refused("PATCH", f"{TYPES}/{made['id']}", {"name": EMAIL["type"]}) == (
        409,
        "NAME_TAKEN",
    )
    types = {t["name"]: t["id"] for t in await stage.back_end.data("GET", TYPES)}
    assert await stage.refused("DELETE", f"{TYPES}/{types[EMAIL['type']]}") == (409, "IN_USE")
    templates = await stage.back_end.data("GET", TEMPLATES)
    assert await stage.refused("DELETE", f"{TEMPLATES}/{templates[0]['id']}") == (409, "IN_USE")
    for number in ("0", "999", "01", "-1", "x", "9" * 30):
        assert await stage.refused("DELETE", f"{TYPES}/{number}") == (404, "NOT_FOUND")


async def test_lists_have_pages(one: Stage) -> None:
    names = [f"type-{n}" for n in range(5)]
    for name in names:
        await one.back_end.data("POST", TYPES, {"name": name})
    page = await one.back_end.data("GET", f"{TYPES}?limit=2&offset=3")
    assert [t["name"] for t in page] == names[1:3]  # two examples come first
    assert (await one.refused("GET", f"{TYPES}?limit=1001"))[0] == 422


@pytest.mark.usefixtures("each_http")
async def test_contacts_may_be_masked(tmp_path: Path) -> None:
    """Requirement 65."""
    async with stage_over("memory:", tmp_path, masked=True) as stage:
        await stage.init(BOTH)
        [process] = await stage.back_end.data("GET", "/otp/phone-verification")
        assert process["phone"] == "+44********56"
        assert process["email"] == "e***@example.com"


async def test_no_answer_holds_a_code_or_a_template(one: Stage) -> None:
    """Requirement 66."""
    uuid = await one.init(BOTH)
    code = await one.world.code_of(uuid)
    await one.world.deliver()
    texts = [
        (await one.ask("POST", "/otp/handshake", BOTH)).text,
        (await one.attempt(uuid, await one.wrong(uuid))).text,
        (await one.ask("GET", "/otp/phone-verification")).text,
    ]
    assert not [text for text in texts if code in text or "${answer}" in text or '"k1"' in text]


async def test_no_body_nested_or_long_is_a_crash(one: Stage) -> None:
    deep = "[" * 30_000
    headers = {"bsauth": one.back_end.token, "Content-Type": "application/json"}
    for path in ("/otp/init", "/otp/email-verification", TYPES):
        for body in (deep, '{"type":' + deep, "9" * 60_000, '{"name": ' + "9" * 60_000 + "}"):
            response = await one.http.post(path, content=body.encode(), headers=headers)
            assert (response.status_code, error_of(response)["code"]) == (400, "MALFORMED")
    assert one.world.metrics.crashes.labels(where="http")._value.get() == 0
