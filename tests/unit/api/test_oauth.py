"""The token endpoint (RFC 6749 sections 2.3, 3.2, 4.4, 5)."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlencode

import pytest

from otp_server.api.mount import mount
from otp_server.api.rest.oauth import FORM, oauth_operations
from otp_server.api.web import WebOptions, make_app
from otp_server.domain.client import ApiClient, Scope
from otp_server.errors import StoreUnavailable
from otp_server.services.call_limits import CallLimits
from otp_server.services.limit_hits import LimitHits
from otp_server.telemetry import Metrics
from tests.support.process_world import UNLIMITED
from tests.support.world import TrioClock

if TYPE_CHECKING:
    from collections.abc import Collection

CLIENT = ApiClient("c:1", "t1", "back end", frozenset(Scope), b"", 0)
SECRET = "s%e c+ret"
GRANT = {"grant_type": "client_credentials"}
KNOWN = {**GRANT, "client_id": "c:1", "client_secret": SECRET}


class Directory:
    down = False

    async def authenticate(self, client_id: str, secret: str) -> ApiClient | None:
        if self.down:
            raise StoreUnavailable("SELECT")
        return CLIENT if (client_id, secret) == ("c:1", SECRET) else None

    def issue(self, client: ApiClient, scopes: Collection[Scope]) -> tuple[str, int]:
        return f"token of {client.client_id} for {' '.join(sorted(scopes))}", 3600


class Site:
    def __init__(self) -> None:
        self.directory = Directory()
        self.app = make_app("oauth", WebOptions(1000, []), Metrics())
        windows = replace(UNLIMITED, calls=((3, 60_000),), failed_logins=((2, 60_000),))
        calls = CallLimits(windows, hits=LimitHits(Metrics()), clock=TrioClock())
        mount(self.app, oauth_operations(self.directory, calls))

    async def ask(
        self,
        form: dict[str, str] | str | None = None,
        *,
        query: dict[str, str] | str = "",
        headers: dict[str, str] | None = None,
        method: str = "POST",
    ) -> tuple[int, dict[str, Any], Any]:
        sent = {"Content-Type": FORM, **(headers or {})}
        data = urlencode(form) if isinstance(form, dict) else form
        query = urlencode(query) if isinstance(query, dict) else query
        response = await self.app.test_client().open(
            f"/oauth/token?{query}", method=method, data=data, headers=sent
        )
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Pragma"] == "no-cache"
        assert response.headers["Content-Type"] == "application/json"
        return response.status_code, await response.get_json(), response.headers


def basic(client_id: str, secret: str) -> dict[str, str]:
    text = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


ANSWER = {
    "access_token": "token of c:1 for otp.admin otp.run",
    "token_type": "Bearer",
    "expires_in": 3600,
    "scope": "otp.admin otp.run",
}


@pytest.fixture
def site() -> Site:
    return Site()


async def test_as_a_form(site: Site) -> None:
    assert (await site.ask(KNOWN))[:2] == (200, ANSWER)


async def test_in_the_target(site: Site) -> None:
    assert (await site.ask(query=KNOWN))[:2] == (200, ANSWER)


async def test_in_both_parts(site: Site) -> None:
    secret = {"client_secret": SECRET}
    rest = {name: KNOWN[name] for name in ("grant_type", "client_id")}
    assert (await site.ask(secret, query=rest))[:2] == (200, ANSWER)


async def test_by_http_basic(site: Site) -> None:
    assert (await site.ask(GRANT, headers=basic("c:1", SECRET)))[:2] == (200, ANSWER)
    named = {**GRANT, "client_id": "c:1"}
    assert (await site.ask(named, headers=basic("c:1", SECRET)))[:2] == (200, ANSWER)


@pytest.mark.parametrize(
    ("scope", "given"),
    [
        ("otp.run", "otp.run"),
        ("otp.admin otp.run", "otp.admin otp.run"),
        ("otp.run  otp.run", "otp.run"),
        ("", "otp.admin otp.run"),
    ],
)
async def test_scopes(site: Site, scope: str, given: str) -> None:
    status, answer, _ = await site.ask({**KNOWN, "scope": scope})
    assert (status, answer["scope"]) == (200, given)
    assert answer["access_token"] == f"token of c:1 for {given}"


async def test_other_parameters_are_passed_over(site: Site) -> None:
    assert (await site.ask({**KNOWN, "resource": "x"}, query="a=1&a=2"))[0] == 200


@pytest.mark.parametrize(
    ("form", "query", "headers", "status", "word"),
    [
        ({}, "", {}, 400, "invalid_request"),
        ({**KNOWN, "grant_type": ""}, "", {}, 400, "invalid_request"),
        ({**KNOWN, "grant_type": "password"}, "", {}, 400, "unsupported_grant_type"),
        (GRANT, "", {}, 401, "invalid_client"),
        ({**GRANT, "client_id": "c:1"}, "", {}, 401, "invalid_client"),
        ({**KNOWN, "client_secret": "wrong"}, "", {}, 401, "invalid_client"),
        ({**KNOWN, "client_id": "nobody"}, "", {}, 401, "invalid_client"),
        ({**KNOWN, "scope": "otp.other"}, "", {}, 400, "invalid_scope"),
        ({**KNOWN, "scope": "otp.run otp.other"}, "", {}, 400, "invalid_scope"),
        ({**KNOWN, "scope": " "}, "", {}, 400, "invalid_scope"),
        (KNOWN, "grant_type=client_credentials", {}, 400, "invalid_request"),
        (KNOWN, "client_id=c:1", {}, 400, "invalid_request"),
        (f"{urlencode(KNOWN)}&client_id=c:1", "", {}, 400, "invalid_request"),
        ("grant_type=%ff", "", {}, 400, "invalid_request"),
        ("&".join(["a=1"] * 100), "", {}, 400, "invalid_request"),
        ('{"a": 1}', "", {"Content-Type": "application/json"}, 400, "invalid_request"),
        (KNOWN, "", basic("c:1", SECRET), 400, "invalid_request"),
        ({**GRANT, "client_id": "c2"}, "", basic("c:1", SECRET), 400, "invalid_request"),
        (GRANT, "", basic("c:1", "wrong"), 401, "invalid_client"),
        (GRANT, "", {"Authorization": "Basic ???"}, 401, "invalid_client"),
        (GRANT, "", {"Authorization": "Basic YWJj"}, 401, "invalid_client"),
        (KNOWN, "", {"Authorization": "Bearer x"}, 401, "invalid_client"),
    ],
)
async def test_refusals(
    site: Site,
    form: dict[str, str] | str,
    query: str,
    headers: dict[str, str],
    status: int,
    word: str,
) -> None:
    given, answer, sent = await site.ask(form, query=query, headers=headers)
    assert (given, answer["error"]) == (status, word)
    assert list(answer) == ["error", "error_description"]
    assert SECRET not in str(answer)
    assert ("WWW-Authenticate" in sent) == (status == 401)
    if status == 401:
        assert sent["WWW-Authenticate"].startswith("Basic ")


async def test_a_query_that_cannot_be_read(site: Site) -> None:
    status, answer, _ = await site.ask(KNOWN, query="x=%ff")
    assert (status, answer["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
async def test_other_methods(site: Site, method: str) -> None:
    status, answer, headers = await site.ask(KNOWN, query=KNOWN, method=method)
    assert (status, answer["error"], headers["Allow"]) == (405, "invalid_request", "POST")


async def test_a_body_that_is_too_large(site: Site) -> None:
    status, answer, _ = await site.ask({"a": "x" * 2000})
    assert (status, answer["error"]) == (413, "invalid_request")


async def test_a_store_that_is_down(site: Site) -> None:
    site.directory.down = True
    status, answer, headers = await site.ask(KNOWN)
    assert (status, answer["error"]) == (503, "temporarily_unavailable")
    assert headers["Retry-After"] == "1"
    assert "SELECT" not in str(answer)


async def test_failed_logins_have_a_limit_and_calls_theirs(site: Site) -> None:
    wrong = {**KNOWN, "client_secret": "wrong"}
    assert (await site.ask(KNOWN))[0] == 200
    assert [(await site.ask(wrong))[0] for _ in range(2)] == [401, 401]
    for form in (wrong, KNOWN):
        status, said, headers = await site.ask(form)
        assert (status, said["error"]) == (429, "temporarily_unavailable")
        assert headers["Retry-After"] == "60"
        assert '"failed-logins-60";q=2;w=60' in headers["RateLimit-Policy"]
    site = Site()
    assert [(await site.ask(KNOWN))[0] for _ in range(4)] == [200, 200, 200, 429]
    assert [(await site.ask(wrong))[0] for _ in range(2)] == [401, 401]


async def test_what_was_not_judged_is_no_failed_login(site: Site) -> None:
    site.directory.down = True
    assert [(await site.ask(KNOWN))[0] for _ in range(5)] == [503] * 5
    site.directory.down = False
    assert (await site.ask(KNOWN))[0] == 200
    nobody = {**GRANT, "client_id": "c:1"}
    assert [(await site.ask(nobody))[0] for _ in range(5)] == [401] * 5
    assert (await site.ask(KNOWN))[0] == 200
