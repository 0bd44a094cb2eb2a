"""The limits of the rest face over real HTTP, and what their refusals tell (38, 39, 44)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otp_server.services.search import TOO_DEEP
from tests.support.rest_stage import EMAIL, OPERATIONS, TYPES, Stage, error_of, stage_over

if TYPE_CHECKING:
    from pathlib import Path

    from otp_server.domain.client import Scope


@pytest.mark.parametrize(("method", "path", "body", "scope"), OPERATIONS)
@pytest.mark.usefixtures("each_http")
async def test_every_call_of_a_client_counts_and_no_other_clients(
    tmp_path: Path, method: str, path: str, body: object, scope: Scope
) -> None:
    async with stage_over("memory:", tmp_path, calls_limit=((2, 60_000),)) as stage:
        for left in (1, 0):
            response = await stage.ask(method, path, body)
            assert response.status_code != 429
            if response.status_code == 200:
                assert f'"calls-60";r={left};t=' in response.headers["RateLimit"]
                assert '"calls-60";q=2;w=60' in response.headers["RateLimit-Policy"]
        response = await stage.ask(method, path, body)
        error = error_of(response)
        assert (response.status_code, error["code"]) == (429, "RATE_LIMITED")
        assert error["violatedPolicies"] == ["calls-60"]
        assert 1 <= int(response.headers["Retry-After"]) <= 60
        assert '"calls-60";r=0;t=' in response.headers["RateLimit"]
        assert response.headers["RateLimit-Policy"] == '"calls-60";q=2;w=60'
        stage.back_end.token = await stage.world.token()
        assert (await stage.ask(method, path, body)).status_code != 429


@pytest.mark.usefixtures("each_http")
async def test_a_call_that_cannot_be_read_is_a_call(tmp_path: Path) -> None:
    async with stage_over("memory:", tmp_path, calls_limit=((2, 60_000),)) as stage:
        calls = [await stage.back_end.call("POST", "/otp/init", "x") for _ in range(3)]
        assert [response.status_code for response in calls] == [400, 400, 429]


async def test_failed_logins_are_counted_by_address(one: Stage) -> None:
    client, secret = await one.world.clients.add("back end")
    form = {"grant_type": "client_credentials", "client_id": client.client_id}
    good = {**form, "client_secret": secret}
    assert (await one.http.post("/oauth/token", data=good)).status_code == 200
    wrong = {**form, "client_secret": "wrong"}
    answers = [await one.http.post("/oauth/token", data=wrong) for _ in range(61)]
    assert [answer.status_code for answer in answers] == [401] * 60 + [429]
    assert answers[-1].json()["error"] == "temporarily_unavailable"
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert '"failed-logins-60";r=0' in answers[-1].headers["RateLimit"]
    assert (await one.http.post("/oauth/token", data=good)).status_code == 429
    one.world.clock.shift_ms += 61_000
    assert (await one.http.post("/oauth/token", data=good)).status_code == 200


async def test_a_deep_page_is_refused_with_a_reason(one: Stage) -> None:
    for path in ("/otp/email-verification", TYPES):
        assert (await one.ask("GET", f"{path}?offset=10000")).status_code == 200
        response = await one.ask("GET", f"{path}?offset=10001")
        assert response.status_code == 422
        assert error_of(response)["fields"] == {"offset": [TOO_DEEP]}
    response = await one.ask("POST", "/otp/email-verification", {"offset": 2**70})
    assert error_of(response)["fields"] == {"offset": [TOO_DEEP]}


async def test_the_contract_limit_and_its_headers(stage: Stage) -> None:
    """Requirement 38, and 39: no header names a contact."""
    for n in range(6):
        response = await stage.ask("POST", "/otp/init", EMAIL)
        assert response.status_code == 200
        assert f'"contact-60";r={5 - n};t=' in response.headers["RateLimit"]
    policy = response.headers["RateLimit-Policy"]
    for limit, window_s in ((6, 60), (18, 3600), (24, 86400)):
        assert f'"contact-{window_s}";q={limit};w={window_s}' in policy
    for path in ("/otp/init", "/otp/handshake"):
        response = await stage.ask("POST", path, EMAIL)
        error = error_of(response)
        assert (response.status_code, error["code"]) == (429, "RATE_LIMITED")
        assert error["violatedPolicies"] == ["contact-60"]
        assert 1 <= int(response.headers["Retry-After"]) <= 60
        assert '"contact-60";r=0;t=' in response.headers["RateLimit"]
        assert '"contact-60";q=6;w=60' in response.headers["RateLimit-Policy"]
        assert "example" not in str(response.headers)
    other = {**EMAIL, "email": "other@example.com"}
    assert (await stage.ask("POST", "/otp/init", other)).status_code == 200
    spelled = {**EMAIL, "email": " EMAIL@Example.com"}
    assert (await stage.ask("POST", "/otp/init", spelled)).status_code == 429
