"""GET, HEAD and OPTIONS never consume, count or send, and no answer is kept by a cache (23, 75)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.back_end import Credentials
from tests.support.rest_server import Door, rest_server, through_door
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

SAFE = ("GET", "HEAD", "OPTIONS")
PREFIXES = ("", "/api")
REPEATED = 10
BODIES = [
    ("application/json", b""),
    ("application/json", b"{"),
    ("application/json", b'{"code": "1"}'),
    ("application/json", b"x" * 70_000),
    ("text/plain", b"{}"),
]
PLACES = {
    "uuid": "98df8e4e-7240-4291-9322-282a8d97542a",
    "type": "email-verification",
    "id": "999999",
}

Served = tuple[ServerProcess, Credentials]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with rest_server(tmp_path_factory.mktemp("safe") / "server") as served:
        yield served


def test_nothing_is_consumed_counted_or_sent(served: Served) -> None:
    """What a link checker, a prefetching browser or a cache may do with a code in its hand."""

    async def run(door: Door) -> None:
        uuid, code = await door.started(email="safe@example.com")
        left = await starts_left(door, "safe@example.com")
        asked = {"type": "email-verification", "email": "safe@example.com"}
        for prefix in PREFIXES:
            for method in SAFE:
                for _ in range(REPEATED):
                    attempt = f"{prefix}/otp/{uuid}/attempt"
                    for path, body in ((attempt, {"code": code}), (f"{prefix}/otp/init", asked)):
                        for sent, params in ((body, None), (None, body)):
                            said = await door.back_end.call(method, path, sent, params=params)
                            assert said.status_code == 405
        shown = await door.shown(uuid)
        assert (shown["status"], shown["attempts"], len(shown["deliveries"])) == ("sent", 0, 1)
        assert await starts_left(door, "safe@example.com") == left
        assert [mail.process for mail in door.outbox.look()].count(uuid) == 1
        assert len(door.outbox.look()) == 1
        assert await door.tried(uuid, code) == "accepted"

    through_door(*served, run)


async def starts_left(door: Door, email: str) -> str:
    """What a handshake, which charges nothing, tells of the limits of starts."""
    body = {"type": "email-verification", "email": email}
    said = await door.back_end.call("POST", "/otp/handshake", body)
    left = [each for each in said.headers["RateLimit"].split(", ") if "contact" in each]
    assert left
    return " ".join(each.partition(";t=")[0] for each in left)


def test_no_answer_may_be_kept(served: Served) -> None:
    """Each operation of the document: unknown, refused, unreadable, too large, and well."""

    async def run(door: Door) -> None:
        http, token = door.back_end.http, {"bsauth": door.back_end.token}
        document = (await http.get("/openapi.json")).json()
        statuses = set()
        for path, method, said in operations_of(document):
            named = path.format_map(PLACES)
            also = said.get("description", "")
            places = [named, f"/api{named}"] if f"`/api{path}`" in also else [named]
            for place in places:
                for headers in ({}, token):
                    for media_type, content in BODIES:
                        sent = {**headers, "Content-Type": media_type}
                        answered = await http.request(method, place, content=content, headers=sent)
                        assert answered.headers["Cache-Control"] == "no-store", (method, place)
                        statuses.add(answered.status_code)
        assert statuses >= {200, 400, 401, 404, 413, 415, 422}
        uuid, code = await door.started(email="kept@example.com")
        for answered in (
            await door.back_end.attempt(uuid, code),
            await door.back_end.attempt(uuid, code),
            await door.back_end.call("GET", "/otp/email-verification"),
            await door.back_end.call("PATCH", "/otp/init"),
            await http.get("/nothing/here"),
            await http.get("/docs"),
            await http.request("OPTIONS", "/otp/init", headers=token),
        ):
            assert answered.headers["Cache-Control"] == "no-store"
            assert answered.headers["X-Content-Type-Options"] == "nosniff"

    through_door(*served, run)


def operations_of(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            yield path, method.upper(), said


async def raw_exchange(host: str, port: int, request: bytes) -> bytes:
    with trio.fail_after(10):
        async with await trio.open_tcp_stream(host, port) as stream:
            await stream.send_all(request)
            answer = b""
            async for data in stream:
                answer += data
            return answer


def test_what_is_no_request_of_ours_may_not_be_kept_either(served: Served) -> None:
    async def run(door: Door) -> None:
        url = door.back_end.http.base_url
        assert url.port is not None
        for request in (
            b"GET nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"PUT /otp/x/attempt?%ff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        ):
            answer = await raw_exchange(url.host, url.port, request)
            assert b" 40" in answer.split(b"\r\n")[0]
            assert b"cache-control: no-store\r\n" in answer.lower()

    through_door(*served, run)
