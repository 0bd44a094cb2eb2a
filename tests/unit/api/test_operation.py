"""Answering an operation: who is let in, and what is told with the answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from otp_server.api.batches import one_by_one
from otp_server.api.limit_headers import limit_headers
from otp_server.api.operation import ApiError, Operation, Request, Response
from otp_server.api.problem import PROBLEMS
from otp_server.core import Quota, Quotas
from otp_server.errors import ErrorKind

OWN = Quotas([Quota("starts-60", 3, 60_000, 2, 60_000)])
CALLS = Quotas([Quota("calls-60", 5, 60_000, 4, 60_000)])
X = ("X", "b")
REQUEST = Request("GET", {}, [], {}, b"", "192.0.2.1")


async def echo(text: str) -> str:
    return text


def operation(quotas: Quotas | None = OWN) -> Operation[str, str]:
    return Operation(
        name="echo",
        summary="",
        method="GET",
        paths=("/echo",),
        decode=lambda request: request.address,
        call=one_by_one(echo),
        render=lambda text: Response(text.encode(), headers=(X,), quotas=quotas),
        error_style=PROBLEMS,
    )


async def test_what_admission_tells_joins_the_answers_own() -> None:
    response = await replace(operation(), admit=lambda _: CALLS).answer_to(REQUEST)
    assert response.headers == (
        ("RateLimit-Policy", f"{OWN.policies}, {CALLS.policies}"),
        ("RateLimit", f"{OWN.left}, {CALLS.left}"),
        X,
    )
    for nothing in (lambda _: None, lambda _: Quotas([])):
        response = await replace(operation(), admit=nothing).answer_to(REQUEST)
        assert response.headers == (*limit_headers(OWN), X)
    assert (await operation().answer_to(REQUEST)).headers == (*limit_headers(OWN), X)


async def test_what_admission_tells_comes_first_where_the_answer_tells_nothing() -> None:
    for quotas in (None, Quotas([])):
        bare = replace(operation(quotas), admit=lambda _: CALLS)
        response = await bare.answer_to(REQUEST)
        assert response.headers == (*limit_headers(CALLS), X)


async def test_who_is_not_admitted_is_not_read() -> None:
    def refuse(_: Request) -> None:
        raise ApiError(ErrorKind.RATE_LIMITED)

    def decode(_: Request) -> str:
        raise AssertionError("it was read")

    with pytest.raises(ApiError) as raised:
        await replace(operation(), admit=refuse, decode=decode).answer_to(REQUEST)
    assert raised.value.kind is ErrorKind.RATE_LIMITED
