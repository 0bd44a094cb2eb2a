"""The smuggling corpus over real sockets, on each HTTP listener and transport (74)."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2
import pytest

from otp_server.errors import ErrorKind
from tests.support.framing_corpus import (
    BAD,
    CHUNKED,
    GET,
    GOOD,
    HEAD_BYTES_MAX,
    SMUGGLED,
    START,
    Row,
)
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DEADLINE_S = 10
LAST = b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3})")
NOT_FOUND, BAD_REQUEST = 404, 400


@pytest.fixture(scope="module", params=["native", "hypercorn"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("framing") / "server"
    server = ServerProcess(folder, http=f'transport = "{request.param}"').start()
    try:
        yield server
        assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()
        assert "connection dropped" not in server.log.read_text()
    finally:
        server.kill()


@pytest.fixture(params=["http", "ops"])
def url(request: pytest.FixtureRequest, server: ServerProcess) -> str:
    found: str = getattr(server, f"{request.param}_url")
    return found


def connect(url: str) -> socket.socket:
    there = urlsplit(url)
    assert there.hostname is not None
    connected = socket.create_connection((there.hostname, there.port or 0), DEADLINE_S)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def exchange(url: str, pieces: Iterable[bytes]) -> bytes:
    """All that is answered until the server hangs up, which it must."""
    with connect(url) as connected:
        with suppress(BrokenPipeError, ConnectionResetError):  # it hung up before we were done
            for piece in pieces:
                connected.sendall(piece)
        return read_to_end(connected)


def read_to_end(connected: socket.socket) -> bytes:
    answered = b""
    with suppress(ConnectionResetError):  # it had not read all
        while more := connected.recv(65_536):
            answered += more
    return answered


def statuses(answered: bytes) -> list[int]:
    return [int(status) for status in STATUS.findall(answered)]


def one_by_one(data: bytes) -> list[bytes]:
    """The first bytes each alone, so that a long row does not take long."""
    return [*(data[at : at + 1] for at in range(300)), data[300:]]


@pytest.mark.parametrize("row", BAD, ids=lambda row: row.name)
def test_an_offence_is_refused_and_what_follows_is_not_answered(url: str, row: Row) -> None:
    assert row.offence is not None
    for pieces in ([row.data + SMUGGLED], [row.data, SMUGGLED], one_by_one(row.data + SMUGGLED)):
        answered = exchange(url, pieces)
        assert statuses(answered) == [*(row.answered * [NOT_FOUND]), row.offence.status]
        head, _, body = answered[answered.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        assert b"connection: close" in lines
        assert b"cache-control: no-store" in lines
        if row.offence.status == BAD_REQUEST:
            assert b"content-type: application/problem+json" in lines
            assert b'"error":"malformed"' in body
            assert row.offence.text.encode() in body


@pytest.mark.parametrize("row", GOOD, ids=lambda row: row.name)
def test_what_is_well_framed_is_answered(url: str, row: Row) -> None:
    last = [] if b"HTTP/1.0" in row.data else [LAST]  # HTTP/1.0 ends the connection
    for pieces in (
        [b"".join([row.data, *last])],
        [row.data, *last],
        one_by_one(b"".join([row.data, *last])),
    ):
        answered = exchange(url, pieces)
        assert statuses(answered) == (row.answered + len(last)) * [NOT_FOUND]


def to_hot(data: bytes) -> bytes:
    """The same with a path whose GET and POST never leave the reactor."""
    return data.replace(b"/nothing", b"/-/svc/bootstrap.authn")


@pytest.mark.parametrize("row", BAD, ids=lambda row: row.name)
def test_an_offence_behind_hot_requests_is_refused_there(server: ServerProcess, row: Row) -> None:
    assert row.offence is not None
    data = to_hot(GET + row.data + SMUGGLED)
    for pieces in ([data], one_by_one(data)):
        *before, refused = statuses(exchange(server.http_url, pieces))
        assert (len(before), refused) == (1 + row.answered, row.offence.status)


@pytest.mark.parametrize(
    "row", [row for row in GOOD if len(row.data) < HEAD_BYTES_MAX], ids=lambda row: row.name
)
def test_what_is_well_framed_is_answered_hot(server: ServerProcess, row: Row) -> None:
    last = [] if b"HTTP/1.0" in row.data else [LAST]
    data = to_hot(b"".join([GET, row.data, *last]))
    for pieces in ([data], one_by_one(data)):
        assert len(statuses(exchange(server.http_url, pieces))) == 1 + row.answered + len(last)


def test_h11s_own_refusals_are_problems_too(url: str) -> None:
    for data in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"\r\n" + GET,
        b"\x16\x03\x01\x02",
        START + b"Content-Length: 3\r\n\r\n{}",
    ):
        with connect(url) as connected:
            connected.sendall(data)
            connected.shutdown(socket.SHUT_WR)
            answered = read_to_end(connected)
        assert statuses(answered) == [BAD_REQUEST]
        assert ErrorKind.MALFORMED.token.encode() in answered


def test_a_body_goes_on_after_a_100_continue(url: str) -> None:
    head = CHUNKED.replace(b"Transfer", b"Expect: 100-continue\r\nTransfer")
    with connect(url) as connected:
        connected.sendall(head)
        assert connected.recv(100).startswith(b"HTTP/1.1 100 ")
        connected.sendall(b"2\r\n{}\r\n0\r\n\r\n" + LAST)
        assert statuses(read_to_end(connected)) == [NOT_FOUND, NOT_FOUND]


def test_an_offence_after_a_100_continue_is_refused(url: str) -> None:
    head = CHUNKED.replace(b"Transfer", b"Expect: 100-continue\r\nTransfer")
    with connect(url) as connected:
        connected.sendall(head)
        assert connected.recv(100).startswith(b"HTTP/1.1 100 ")
        connected.sendall(b"2;a\r\n{}\r\n0\r\n\r\n" + SMUGGLED)
        assert statuses(read_to_end(connected)) == [BAD_REQUEST]


def test_a_client_library_notices_nothing(server: ServerProcess) -> None:
    with httpx2.Client(base_url=server.http_url, trust_env=False, timeout=DEADLINE_S) as http:
        form = {"grant_type": "client_credentials", "client_id": "a", "client_secret": "b"}
        for _ in range(3):  # on one connection
            whole = http.post("/oauth/token", data=form)
            body = whole.request.content
            sent = {"Content-Type": whole.request.headers["Content-Type"]}
            chunked = http.post("/oauth/token", content=iter([body[:7], body[7:]]), headers=sent)
            assert chunked.request.headers["Transfer-Encoding"] == "chunked"
            assert (chunked.status_code, chunked.content) == (whole.status_code, whole.content)
            assert whole.status_code not in (BAD_REQUEST, NOT_FOUND)
            assert http.head("/nothing").status_code in (NOT_FOUND, 405)
            assert http.get("/openapi.json").status_code == 200
            assert http.put("/nothing", content=70_000 * b"x").status_code in (NOT_FOUND, 413)
