"""The same request over both HTTP transports, of one server: the same answer, header for header.

Both listeners serve the same faces over the same store. What is the answer's own, such as its time
and a fresh uuid, is masked. The differences are these, each a test here:

- a request that began before a drain is answered by the reactor when it is whole after it,
- who expects 100 and sends no body is not told to go on (RFC 9110, section 10.1.1, allows both),
- absolute-form targets and more than a hundred fields are refused (``tests/core``).
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import h11
import pytest
import trio

from otp_server.app.http import HttpSide
from otp_server.domain.client import Scope
from otp_server.errors import StoreUnavailable
from otp_server.stores import open_store
from otp_server.transport.http import HEAD_BYTES_MAX
from tests.api.test_device_http import Site
from tests.support.http_stage import serve_side
from tests.support.rest_world import RestWorld
from tests.support.svc_world import SvcWorld
from tests.support.world import PLENTY, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

DEADLINE_S = 30.0
UNKNOWN = "00000000-0000-4000-8000-000000000000"
MAY_DIFFER = {b"date"}
_MASKS = [
    (re.compile(rb'("(?:__)?timestamp(?:__)?"):\d+'), rb"\1:0"),
    (re.compile(rb'("(?:uuid|secret|token|access_token)"):"[^"]*"'), rb"\1:0"),
    (re.compile(rb"(regsid)=[\w-]+"), rb"\1=0"),
    (re.compile(rb";r=\d+;t=\d+"), b";r;t"),
]


@dataclass
class Answer:
    """Status, headers, body, and whether the connection ended behind it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    continued: bool = False
    ended: bool = False

    def masked(self) -> tuple[object, ...]:
        headers = [(n, _masked(v)) for n, v in self.headers if n not in MAY_DIFFER]
        missing = MAY_DIFFER - {name for name, _ in self.headers}
        body = _masked(self.body)
        headers = [
            (n, b"-" if n == b"content-length" and body != self.body else v) for n, v in headers
        ]
        return self.status, sorted(headers), missing, body, self.continued, self.ended


def _masked(data: bytes) -> bytes:
    for pattern, by in _MASKS:
        data = pattern.sub(by, data)
    return data


@dataclass
class Doors:
    """The ports of both transports, and a good token."""

    native: int
    hypercorn: int
    token: str = ""

    async def both(self, *requests: bytes) -> list[list[Answer]]:
        """What the requests of one connection are answered, over each."""
        return [await exchange(port, requests) for port in (self.native, self.hypercorn)]

    async def agree(self, *requests: bytes) -> list[int]:
        """They must be the same: their statuses."""
        native, hypercorn = await self.both(*requests)
        assert [a.masked() for a in native] == [a.masked() for a in hypercorn], requests
        return [answer.status for answer in native]


async def exchange(port: int, requests: Sequence[bytes]) -> list[Answer]:
    """One connection: each request sent when the one before is answered."""
    answers: list[Answer] = []
    with trio.fail_after(DEADLINE_S):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            for data in requests:
                answers.append(await _ask(stream, data))
                if answers[-1].ended:
                    break
    return answers


async def _ask(stream: trio.SocketStream, data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    method = head.split(b" ", 1)[0]
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    expects = b"100-continue" in head
    await stream.send_all(head + b"\r\n\r\n" + (b"" if expects else body))
    answer = Answer(0, [])
    while True:
        match client.next_event():
            case h11.NEED_DATA:
                more = bytes(await stream.receive_some())
                assert more, (data, stream.socket.getpeername())
                client.receive_data(more)
            case h11.InformationalResponse():
                answer.continued = True
                await stream.send_all(body)
            case h11.Response() as response:
                answer.status = response.status_code
                answer.headers = [(name, value) for name, value in response.headers]
            case h11.Data(data=more):
                answer.body += bytes(more)
            case h11.EndOfMessage():
                break
            case event:
                raise AssertionError(event, head)
    answer.ended = client.their_state is h11.MUST_CLOSE
    if answer.ended:
        assert await stream.receive_some() == b""
    return answer


@asynccontextmanager
async def doors_of(side: HttpSide) -> AsyncIterator[Doors]:
    async with (
        serve_side(side, transport="native") as (native, _),
        serve_side(side, transport="hypercorn") as (hypercorn, _),
    ):
        yield Doors(native, hypercorn)


@dataclass
class Ask:
    """A request in parts, to be made worse one part at a time."""

    method: str
    target: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    version: str = "1.1"

    def data(self, **changes: object) -> bytes:
        parts = {**self.__dict__, **changes}
        headers = {"Host": "app.example", **self.headers, **parts.pop("more", {})}
        if "Transfer-Encoding" not in headers:
            headers.setdefault("Content-Length", str(len(parts["body"])))
        lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
        start = f"{parts['method']} {parts['target']} HTTP/{parts['version']}"
        return "\r\n".join([start, *lines, "", ""]).encode("latin-1") + parts["body"]

    def variants(self, token: str) -> dict[str, bytes]:
        """The request, and everything that could be wrong with it or unusual in it."""
        chunk = b"%x\r\n%b\r\n" % (len(self.body), self.body) if self.body else b""
        chunked = chunk + b"0\r\n\r\n"
        no_length = {"Transfer-Encoding": "chunked"}
        big = b" " * 70_000
        return {
            "good": self.data(),
            "again": self.data(),
            **{
                method: self.data(method=method)
                for method in ("GET", "HEAD", "OPTIONS", "PUT", "POST", "PATCH", "DELETE", "X")
            },
            "chunked": self.data(body=chunked, more=no_length),
            "large": self.data(body=big),
            "large chunks": self.data(
                body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(big), big), more=no_length
            ),
            "large by GET": self.data(method="GET", body=big),
            **({"continue": self.data(more={"Expect": "100-continue"})} if self.body else {}),
            "no body": self.data(body=b""),
            "cut": self.data(body=self.body[:-1]),
            "twice": self.data(body=b'{"otp": "1", "otp": "2"}'),
            "text": self.data(more={"Content-Type": "text/plain"}),
            "parameters": self.data(more={"Content-Type": 'APPLICATION/JSON; charset="utf-8"'}),
            "query": self.data(target=f"{self.target}?a=1&a=2"),
            "empty query": self.data(target=f"{self.target}?"),
            "bad query": self.data(target=f"{self.target}?a=%ff"),
            "long query": self.data(target=f"{self.target}?" + "&".join(300 * ["a=1"])),
            "longer query": self.data(target=f"{self.target}?a={HEAD_BYTES_MAX * 'x'}"),
            "long field": self.data(more={"X-Name": HEAD_BYTES_MAX * "x"}),
            "slash": self.data(target=f"{self.target}/"),
            "slashes": self.data(target=self.target.replace("/", "//", 1)),
            "dots": self.data(target=f"/.{self.target}"),
            "encoded": self.data(target=self.target.replace("o", "%6f", 1)),
            "semicolon": self.data(target=f"{self.target};a"),
            "old": self.data(version="1.0"),
            "old alive": self.data(version="1.0", more={"Connection": "keep-alive"}),
            "last": self.data(more={"Connection": "close"}),
            "upgrade": self.data(more={"Connection": "Upgrade", "Upgrade": "h2c"}),
            "forwarded": self.data(more={"X-Forwarded-For": "192.0.2.7, junk"}),
            "latin": self.data(more={"X-Name": "\xe9\xff"}),
            "origin": self.data(more={"Origin": "https://evil.example"}),
            "site": self.data(more={"Sec-Fetch-Site": "cross-site"}),
            "no token": self.data(more={"bsauth": None, "X-Org-Key": None}),
            "wrong token": self.data(more={"bsauth": "wrong", "X-Org-Key": "wrong"}),
            "two tokens": self.data(more={"Authorization": "Bearer wrong"}),
            "bearer": self.data(more={"bsauth": None, "Authorization": f"Bearer {token}"}),
            "basic": self.data(more={"Authorization": "Basic abc"}),
            "key": self.data(more={"Idempotency-Key": "a b"}),
            "cookie": self.data(more={"Cookie": "regsid=a; regsid=b"}),
        }


JSON = {"Content-Type": "application/json"}


async def all_agree(doors: Doors, asks: Sequence[Ask]) -> set[int]:
    seen: set[int] = set()
    for ask in asks:
        for name, data in ask.variants(doors.token).items():
            statuses = await doors.agree(data, data)
            assert statuses, (ask.target, name)
            seen.update(statuses)
    return seen


async def test_the_rest_face(tmp_path: Path) -> None:
    store = await open_store("memory:", tmp_path)
    world = RestWorld(store, contact_limit=PLENTY)
    contact = b'{"type": "email-verification", "email": "a@example.com"}'
    async with doors_of(world.side) as doors:
        doors.token = await world.token()
        headers = {**JSON, "bsauth": doors.token}
        seen = await all_agree(
            doors,
            [
                Ask("POST", "/otp/handshake", contact, headers),
                Ask("POST", "/api/otp/init", contact, headers),
                Ask("PUT", f"/otp/{UNKNOWN}/attempt", b'{"code": "123456"}', headers),
                Ask("PUT", "/otp/crud/attempt", b'{"code": "123456"}', headers),
            ],
        )
        assert {200, 400, 401, 404, 405, 413, 415, 431} <= seen
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        client, secret = await world.clients.add("back end")
        body = f"client_id={client.client_id}&client_secret={secret}".encode()
        right = Ask("POST", "/oauth/token", b"grant_type=client_credentials&" + body, form)
        assert {200, 400, 405, 413, 431} <= await all_agree(doors, [right])
        for wrong in (b"grant_type=password", right.body + b"x", right.body + b"&scope=none"):
            await doors.agree(right.data(body=wrong))
        narrow = await world.token(scopes=frozenset({Scope.ADMIN}))
        ask = Ask("POST", "/otp/init", contact, {**JSON, "bsauth": narrow})
        assert await doors.agree(ask.data()) == [403]
    await store.aclose()


async def test_confirming() -> None:
    site = Site(World(per_address=PLENTY))
    _, site.org_key = await site.world.devices.add_organisation("Acme")
    paths = ("/device/otp/confirm", "/device/otp/confirm/v2", "/device/otp/confirm-quick-session")
    headers = {**JSON, "X-Org-Key": site.org_key}
    async with doors_of(site.side) as doors:
        asks = [Ask("POST", path, b'{"otp": "123456"}', headers) for path in paths]
        seen = await all_agree(doors, asks)
        assert {400, 401, 404, 405, 413, 415, 431} <= seen
        answered = []
        for port in (doors.native, doors.hypercorn):
            code = (await site.code()).encode()
            [answer] = await exchange(port, [asks[0].data(body=b'{"otp": "%b"}' % code)])
            answered.append(answer.masked())
        assert answered[0] == answered[1]
        assert answered[0][0] == 200


async def test_the_svc_face(tmp_path: Path) -> None:
    store = await open_store("memory:", tmp_path)
    world = SvcWorld(store)
    body = b'{"email": "a@example.com", "socket_id": "s", "code": "1", "secret": "x"}'
    change = b'{"uid": "a", "socket_id": "s", "code": "1", "secret": "x", "password": "y"}'
    async with doors_of(world.side) as doors:
        seen = await all_agree(
            doors,
            [
                Ask("POST", "/-/svc/otp.send", body, JSON),
                Ask("POST", "/-/api/otp.verify", body, JSON),
                Ask("POST", "/-/svc/otp.set_password", change, JSON),
                Ask("POST", "/-/svc/otp.nothing", body, JSON),
                Ask("POST", "/-/svc/bootstrap.authn", b"{}", JSON),
                Ask("POST", "/-/svc/session.sign_in", b'{"email": "a@x.example"}', JSON),
                Ask("POST", "/-/svc/session.sign_out", b"{}", JSON),
                Ask("GET", "/-/svc/otp.verify", b"", {}),
            ],
        )
        assert {200, 400, 403, 404, 405, 412, 413, 415, 431} <= seen
    await store.aclose()


@pytest.mark.parametrize("path", ["/device/otp/confirm", "/device/status", "/nothing"])
async def test_a_head_that_is_too_large_gets_what_the_document_says(path: str) -> None:
    """Whatever it asks for: no body, and the connection's end (``api/openapi.py``)."""
    site = Site(World(per_address=PLENTY))
    query = "&".join(f"{name}={HEAD_BYTES_MAX // 3 * 'x'}" for name in "abc")
    async with doors_of(site.side) as doors:
        for [answer] in await doors.both(Ask("GET", f"{path}?{query}", b"").data()):
            assert (answer.status, answer.body, answer.ended) == (431, b"", True)
            assert (b"connection", b"close") in answer.headers
            assert b"content-type" not in dict(answer.headers)


@pytest.mark.parametrize("store", ["away", "buggy"])
async def test_a_store_that_fails(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = await open_store("memory:", tmp_path)
    world = RestWorld(memory)
    contact = b'{"type": "email-verification", "email": "a@example.com"}'

    async def fail(*_args: object) -> None:
        raise StoreUnavailable("away") if store == "away" else RuntimeError("secret")

    async with doors_of(world.side) as doors:
        doors.token = await world.token()
        ask = Ask("POST", "/otp/init", contact, {**JSON, "bsauth": doors.token})
        assert await doors.agree(ask.data()) == [200]
        monkeypatch.setattr(world.store, "start_processes", fail)
        assert await doors.agree(ask.data(), ask.data()) == 2 * [503 if store == "away" else 500]
    await memory.aclose()
