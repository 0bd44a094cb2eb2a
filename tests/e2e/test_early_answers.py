"""A request refused for its head, its route or its size leaves the connection sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest
import trio

from tests.support.clients import ROUTES

if TYPE_CHECKING:
    from tests.support.server_process import ServerProcess

CONNECTIONS = 60
ANSWER_S = 10.0
JSON = {"Content-Type": "application/json"}
EARLY = {
    "too large": (ROUTES[0], 70_000, JSON, 413),
    "wrong type": (ROUTES[0], 60_000, {}, 415),
    "no such route": ("/nothing", 60_000, JSON, 404),
    "no token": ("/device/service", 60_000, JSON, 401),
    "wrong method": ("/device/server-time", 60_000, JSON, 405),
}


@pytest.mark.parametrize(("path", "size", "headers", "status"), EARLY.values(), ids=EARLY)
async def test_the_next_request_is_answered(
    running_server: ServerProcess, path: str, size: int, headers: dict[str, str], status: int
) -> None:
    for _ in range(CONNECTIONS):
        async with httpx2.AsyncClient(
            base_url=running_server.http_url, timeout=ANSWER_S, trust_env=False
        ) as http:
            with trio.fail_after(2 * ANSWER_S):
                for _ in range(2):
                    answer = await http.post(path, content=b"1" * size, headers=headers)
                    assert answer.status_code == status
                assert (await http.get("/device/server-time")).status_code == 200
