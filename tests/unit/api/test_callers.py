"""The callers of one batch: equal tokens are checked once, and judged as each by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from otp_server.api.batches import one_by_one
from otp_server.api.operation import ApiError, Operation, Response
from otp_server.api.problem import PROBLEMS
from otp_server.api.resources import Callers, find_caller
from otp_server.domain.client import Scope
from otp_server.errors import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Good:
    client_id: str
    tenant: str = "acme"
    scopes: frozenset[Scope] = frozenset({Scope.RUN})


class Tokens:
    def __init__(self) -> None:
        self.good = {
            "first": Good("a"),
            "second": Good("b"),
            "admin": Good("c", scopes=frozenset()),
        }
        self.checked: list[str] = []

    def check(self, token: str) -> Good | None:
        self.checked.append(token)
        return self.good.get(token)


async def echo(text: str) -> str:
    return text


OPERATION: Operation[str, str] = Operation(
    name="echo",
    summary="",
    method="GET",
    paths=("/echo",),
    decode=lambda request: request.address,
    call=one_by_one(echo),
    render=lambda text: Response(text.encode()),
    error_style=PROBLEMS,
    scope=Scope.RUN,
)


def said(callers: Callers, headers: Mapping[str, str]) -> object:
    try:
        return callers.find(headers)
    except ApiError as error:
        return error.kind, error.headers


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_each_token_is_checked_once() -> None:
    tokens = Tokens()
    callers = Callers(OPERATION, tokens)
    asked = [bearer("first"), {"bsauth": "second"}, bearer("first"), {"bsauth": "second"}]
    found = [callers.find(headers) for headers in asked]
    assert [each.client_id for each in found if each] == ["a", "b", "a", "b"]
    assert tokens.checked == ["first", "second"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("first"),
        bearer("  first "),
        bearer("second"),
        bearer("admin"),
        bearer("wrong"),
        {"authorization": "Basic first"},
        {"bsauth": "first"},
        {"bsauth": " second"},
        {"bsauth": "first", **bearer("first")},
        {"bsauth": "first", **bearer("second")},
        {"bsauth": "", "authorization": ""},
    ],
)
def test_whoever_came_before_a_request_is_judged_by_itself(headers: dict[str, str]) -> None:
    tokens = Tokens()
    callers = Callers(OPERATION, tokens)
    for before in (bearer("first"), {"bsauth": "second"}, bearer("wrong")):
        said(callers, before)
    try:
        wanted: object = find_caller(OPERATION, headers, tokens)
    except ApiError as error:
        wanted = error.kind, error.headers
    assert said(callers, headers) == wanted
    assert said(callers, headers) == wanted


def test_a_revoked_token_is_none_in_the_next_batch() -> None:
    tokens = Tokens()
    assert Callers(OPERATION, tokens).find(bearer("first")) is not None
    del tokens.good["first"]
    with pytest.raises(ApiError) as raised:
        Callers(OPERATION, tokens).find(bearer("first"))
    assert raised.value.kind is ErrorKind.UNAUTHORIZED


def test_who_needs_no_token_is_nobody() -> None:
    tokens = Tokens()
    assert Callers(replace(OPERATION, scope=None), tokens).find(bearer("first")) is None
    assert tokens.checked == []
