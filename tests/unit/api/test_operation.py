"""Answering an operation: who is let in, and what is told with the answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from otp_server.api.batches import one_by_one
from otp_server.api.operation import ApiError, Operation, Request, Response
from otp_server.api.problem import PROBLEMS
from otp_server.errors import ErrorKind

REQUEST = Request("GET", {}, [], {}, b"", "192.0.2.1")


async def echo(text: str) -> str:
    return text


def operation() -> Operation[str, str]:
    return Operation(
        name="echo",
        summary="",
        method="GET",
        paths=("/echo",),
        decode=lambda request: request.address,
        call=one_by_one(echo),
        render=lambda text: Response(text.encode(), headers=(("RateLimit", "a"), ("X", "b"))),
        error_style=PROBLEMS,
    )


async def test_what_admission_tells_joins_the_answers_own() -> None:
    told = [("RateLimit", "c"), ("RateLimit-Policy", "d")]
    response = await replace(operation(), admit=lambda _: told).answer_to(REQUEST)
    assert response.headers == (("RateLimit", "a, c"), ("X", "b"), ("RateLimit-Policy", "d"))
    assert (await operation().answer_to(REQUEST)).headers == (("RateLimit", "a"), ("X", "b"))


async def test_who_is_not_admitted_is_not_read() -> None:
    def refuse(_: Request) -> list[tuple[str, str]]:
        raise ApiError(ErrorKind.RATE_LIMITED)

    def decode(_: Request) -> str:
        raise AssertionError("it was read")

    with pytest.raises(ApiError) as raised:
        await replace(operation(), admit=refuse, decode=decode).answer_to(REQUEST)
    assert raised.value.kind is ErrorKind.RATE_LIMITED
