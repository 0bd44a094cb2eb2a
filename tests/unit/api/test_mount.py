"""Operations on Quart-Trio: which is chosen, who may call it, how errors are said."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from otp_server.api.batches import one_by_one
from otp_server.api.mount import mount
from otp_server.api.operation import ApiError, ErrorStyle, Operation, Request, Response
from otp_server.api.problem import PROBLEMS
from otp_server.api.resources import by_path
from otp_server.api.web import WebOptions, make_app
from otp_server.domain.client import Scope
from otp_server.errors import ErrorKind, StoreUnavailable
from otp_server.telemetry import Metrics

if TYPE_CHECKING:
    from quart.typing import TestClientProtocol

SAID = ErrorStyle(
    lambda error: Response(
        f"said {error.kind.token}".encode(), error.kind.http_status, "text/plain", error.headers
    ),
    str,
    "text/plain",
)


@dataclass(frozen=True)
class Grant:
    client_id: str = "c1"
    tenant: str = "t1"
    scopes: frozenset[Scope] = frozenset({Scope.RUN})


class Tokens:
    def check(self, token: str) -> Grant | None:
        return Grant() if token == "good" else None


@dataclass
class Site:
    """An application of operations that tell what they were asked."""

    asked: list[tuple[str, Request]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.app = make_app("test", WebOptions(100, []), Metrics())

    def operation(self, name: str, method: str, *paths: str, **more: Any) -> Operation[Any, Any]:  # noqa: ANN401 - whatever an operation has
        async def answer(request: Request) -> bytes:
            self.asked.append((name, request))
            return name.encode()

        settings = {"error_style": SAID, "call": one_by_one(answer)} | more
        return Operation(
            name=name,
            summary=name,
            method=method,
            paths=paths,
            decode=lambda request: request,
            render=Response,
            **settings,
        )

    @property
    def client(self) -> TestClientProtocol:
        return self.app.test_client()

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, str, Any]:  # noqa: ANN401 - a client's
        peer = {"client": ("192.0.2.7", 4711)}
        response = await self.client.open(path, method=method, scope_base=peer, **more)
        return response.status_code, await response.get_data(as_text=True), response.headers


@pytest.fixture
def site() -> Site:
    return Site()


async def test_a_literal_path_wins_whatever_the_method(site: Site) -> None:
    mount(
        site.app,
        [
            site.operation("search", "GET", "/otp/{type}", "/api/otp/{type}"),
            site.operation("search_by_body", "POST", "/otp/{type}", "/api/otp/{type}"),
            site.operation("init", "POST", "/otp/init", "/api/otp/init"),
            site.operation("attempt", "PUT", "/otp/{uuid}/attempt"),
        ],
    )
    for prefix in ("", "/api"):
        assert (await site.ask("POST", f"{prefix}/otp/init"))[1] == "init"
        assert (await site.ask("POST", f"{prefix}/otp/other"))[1] == "search_by_body"
        assert (await site.ask("GET", f"{prefix}/otp/other"))[1] == "search"
        status, said, headers = await site.ask("GET", f"{prefix}/otp/init")
        assert (status, said, headers["Allow"]) == (405, "said method_not_allowed", "POST")
    assert (await site.ask("PUT", "/otp/init/attempt"))[1] == "attempt"
    assert site.asked[-1][1].path == {"uuid": "init"}
    assert (await site.ask("GET", "/otp/init/attempt"))[2]["Allow"] == "PUT"


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "DELETE", "BREW", "HEAD"])
async def test_other_methods_reach_nothing(site: Site, method: str) -> None:
    mount(site.app, [site.operation("init", "POST", "/otp/init")])
    status, _, headers = await site.ask(method, "/otp/init")
    assert (status, headers["Allow"]) == (405, "POST")
    assert site.asked == []


async def test_head_is_a_get(site: Site) -> None:
    mount(site.app, [site.operation("one", "GET", "/otp/one")])
    assert (await site.ask("HEAD", "/otp/one"))[0] == 200
    assert (await site.ask("PUT", "/otp/one"))[2]["Allow"] == "GET, HEAD"


async def test_an_operation_may_refuse_head(site: Site) -> None:
    mount(site.app, [site.operation("one", "GET", "/otp/one", head=False)])
    status, _, headers = await site.ask("HEAD", "/otp/one")
    assert (status, headers["Allow"]) == (405, "GET")
    assert site.asked == []


async def test_an_operation_at_a_literal_path_says_its_errors_itself(site: Site) -> None:
    """The others of its face, and paths that nobody has, are said as the first one's."""

    def said(name: str) -> ErrorStyle:
        return ErrorStyle(
            lambda error: Response(f"{name} {error.kind.token}".encode(), error.kind.http_status),
            str,
            "application/json",
        )

    mount(
        site.app,
        [
            site.operation("any", "GET", "/-/{name}", error_style=said("first")),
            site.operation("one", "GET", "/-/one", error_style=said("one")),
            site.operation("two", "GET", "/-/two", error_style=said("two")),
        ],
    )
    for name in ("one", "two"):
        assert (await site.ask("POST", f"/-/{name}"))[:2] == (405, f"{name} method_not_allowed")
        large = await site.ask("GET", f"/-/{name}", data=b"x" * 101)
        assert large[:2] == (413, f"{name} too_large")
    assert (await site.ask("POST", "/-/other"))[1] == "first method_not_allowed"
    assert (await site.ask("GET", "/-/a/b"))[1] == "first not_found"


async def test_errors_are_said_in_the_style_of_their_face(site: Site) -> None:
    problems = site.operation("other", "POST", "/device/it", error_style=PROBLEMS)
    mount(site.app, [site.operation("init", "POST", "/otp/init"), problems])
    assert (await site.ask("GET", "/otp/a/b/c"))[:2] == (404, "said not_found")
    assert (await site.ask("POST", "/otp/init", data=b"x" * 101))[:2] == (413, "said too_large")
    for path in ("/device/none", "/none", "/"):
        status, said, headers = await site.ask("GET", path)
        assert (status, headers["Content-Type"]) == (404, "application/problem+json")
        assert "not_found" in said


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (ApiError(ErrorKind.OTP_EXPIRED), (410, "said otp_expired")),
        (StoreUnavailable("SELECT"), (503, "said unavailable")),
        (RuntimeError("SELECT"), (500, "said internal")),
    ],
)
async def test_what_is_raised_anywhere_is_said(
    site: Site, raised: Exception, said: tuple[int, str]
) -> None:
    def fail(_value: object) -> Any:  # noqa: ANN401 - it never returns
        raise raised

    async def call(_batch: object) -> list[Any]:
        fail(None)
        return []

    async def refuse(_batch: object) -> list[Any]:
        return [raised] if isinstance(raised, ApiError) else fail(None)

    broken = [
        site.operation(f"{n}", "GET", f"/otp/{n}", call=broken)
        for n, broken in enumerate([call, refuse])
    ]
    mount(site.app, broken)
    for n in range(len(broken)):
        assert (await site.ask("GET", f"/otp/{n}"))[:2] == said


async def test_what_a_request_holds(site: Site) -> None:
    mount(site.app, [site.operation("one", "POST", "/otp/{type}")])
    await site.ask(
        "POST",
        "/otp/a%20b?x=1&x=%2B2&y=+3&z=",
        data=b"body",
        headers=[("X-Twice", "1"), ("x-twice", "2"), ("Content-Type", "Text/Plain; charset=utf-8")],
    )
    [(_, request)] = site.asked
    assert request.path == {"type": "a b"}
    assert request.query == [("x", "1"), ("x", "+2"), ("y", " 3"), ("z", "")]
    assert (request.body, request.address, request.caller) == (b"body", "192.0.2.7", None)
    assert request.headers["x-twice"] == "1, 2"
    assert request.media_type == "text/plain"


@pytest.mark.parametrize("query", ["x=%ff", "&".join(["a=1"] * 300)])
async def test_a_query_that_cannot_be_read(site: Site, query: str) -> None:
    mount(site.app, [site.operation("one", "GET", "/otp/{type}")])
    status, said, _ = await site.ask("GET", f"/otp/a?{query}")
    assert (status, said) == (400, "said malformed")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"bsauth": "good"}, 200),
        ({"Authorization": "Bearer good"}, 200),
        ({"authorization": "bearer  good "}, 200),
        ({"bsauth": "good", "Authorization": "Bearer good"}, 200),
        ({"bsauth": "good", "Authorization": "Bearer other"}, 401),
        ({"bsauth": "good", "Authorization": "Basic Z29vZA=="}, 200),
        ({"bsauth": "wrong"}, 401),
        ({"bsauth": ""}, 401),
        ({"Authorization": "good"}, 401),
        ({"Authorization": "Basic good"}, 401),
        ({}, 401),
    ],
)
async def test_a_scope_asks_for_a_token(site: Site, headers: dict[str, str], status: int) -> None:
    mount(site.app, [site.operation("one", "GET", "/otp/one", scope=Scope.RUN)], Tokens())
    given, said, _ = await site.ask("GET", "/otp/one", headers=headers)
    assert given == status
    if status == 200:
        caller = site.asked[0][1].asker
        assert (caller.client_id, caller.tenant) == ("c1", "t1")
    else:
        assert (said, site.asked) == ("said unauthorized", [])


async def test_a_token_of_repeated_headers_is_none(site: Site) -> None:
    mount(site.app, [site.operation("one", "GET", "/otp/one", scope=Scope.RUN)], Tokens())
    headers = [("bsauth", "good"), ("bsauth", "good")]
    assert (await site.ask("GET", "/otp/one", headers=headers))[0] == 401


async def test_a_token_without_the_scope(site: Site) -> None:
    mount(site.app, [site.operation("one", "GET", "/otp/one", scope=Scope.ADMIN)], Tokens())
    status, said, headers = await site.ask("GET", "/otp/one", headers={"bsauth": "good"})
    assert (status, said) == (403, "said forbidden")
    assert 'error="insufficient_scope", scope="otp.admin"' in headers["WWW-Authenticate"]
    assert site.asked == []


def test_no_two_operations_share_method_and_path(site: Site) -> None:
    twice = [site.operation("a", "GET", "/otp/a"), site.operation("b", "GET", "/x", "/otp/a")]
    with pytest.raises(ValueError, match="GET /otp/a"):
        by_path(twice)


def test_a_scope_needs_who_checks_tokens(site: Site) -> None:
    with pytest.raises(ValueError, match="nobody checks tokens"):
        mount(site.app, [site.operation("a", "GET", "/otp/a", scope=Scope.RUN)])
