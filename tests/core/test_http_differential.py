"""The core's HTTP/1.1 beside the other path's: h11 behind the framing guard (requirement 74).

What the other path refuses, the core refuses; where the core alone refuses, it is one of the
offences named in ``STRICTER``; and what both accept, they understand alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import h11
import pytest
from hypothesis import example, given, settings

from otp_server.transport.http_framing import FramingGuard
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
from tests.support.framing_requests import PLACES, REQUESTS, SPOILERS, cut, spoil
from tests.support.hot_http import Heard, HotServer

if TYPE_CHECKING:
    from collections.abc import Sequence

STRICTER = b"The request's target is not a path."
"""What the core says where it alone refuses: Quart takes http://, and refuses the others itself.
Beside it there is 431 for more than a hundred fields, where h11 counts bytes alone."""
ONE_BY_ONE = 300
FIELDS_MAX = 100


@dataclass
class Read:
    """What the other path makes of a stream: requests, and whether it then refuses the rest."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    refuses: bool = False


def read_by_h11(data: bytes) -> Read:
    """All of a stream, ended."""
    read = Read()
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
    connection.receive_data(FramingGuard(HEAD_BYTES_MAX).pass_on(data) if data else data)
    if data:
        connection.receive_data(b"")
    request: dict[str, Any] = {}
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            read.refuses = True
            return read
        if isinstance(event, h11.Request):
            if event.http_version not in (b"1.0", b"1.1"):
                read.refuses = True
                return read
            request = {
                "method": event.method.decode(),
                "target": event.target.decode(),
                "headers": joined(event.headers),
                "body": b"",
            }
        elif isinstance(event, h11.Data):
            request["body"] += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            read.requests.append(request)
            connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is h11.MUST_CLOSE:
                return read
            connection.start_next_cycle()
        else:
            return read


def joined(headers: Any) -> dict[str, str]:  # noqa: ANN401 - h11's own sequence
    found: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def understood(heard: Heard) -> list[dict[str, Any]]:
    """As ``read_by_h11`` says it; h11 writes the coding in small letters."""
    for request in heard.requests:
        coding = request["headers"].get("transfer-encoding")
        if coding is not None:
            request["headers"]["transfer-encoding"] = coding.lower()
    return [
        {
            "method": request["method"],
            "target": "/nothing" + (f"?{request['query']}" if request["query"] else ""),
            "headers": request["headers"],
            "body": request["body"],
        }
        for request in heard.requests
    ]


def check(data: bytes, heard: Heard) -> None:
    """Hold what the core made of it against what the other path does."""
    other = read_by_h11(data)
    mine = understood(heard)
    assert other.requests[: len(mine)] == mine
    if heard.elsewhere is not None:  # what follows is the other path's anyway
        assert data.endswith(heard.elsewhere)
        return
    refused = [status for status in heard.statuses if status != 100][len(mine) :]
    if other.refuses:
        assert len(refused) == 1
    if len(mine) < len(other.requests) or (refused and not other.refuses):
        assert len(refused) == 1
        body = heard.out.rpartition(b"\r\n\r\n")[2]
        assert STRICTER in body or (refused == [431] and data.count(b"\n") > FIELDS_MAX)


def pieces_of(data: bytes) -> list[list[bytes]]:
    """Whole, and the first bytes each alone, so that a long row does not take long."""
    one_by_one = [data[at : at + 1] for at in range(min(ONE_BY_ONE, len(data)))]
    return [[data], [*one_by_one, *([data[ONE_BY_ONE:]] if data[ONE_BY_ONE:] else [])]]


@pytest.fixture(scope="module")
def server() -> HotServer:
    return HotServer()


@pytest.mark.parametrize("row", BAD, ids=lambda row: row.name)
def test_an_offence_is_refused_alike_and_what_follows_is_not_heard(
    server: HotServer, row: Row
) -> None:
    assert row.offence is not None
    for before in (b"", GET):
        data = before + row.data + SMUGGLED
        for pieces in pieces_of(data):
            heard = server.exchange(pieces)
            answered = row.answered + bool(before)
            assert heard.statuses == [*(answered * [200]), row.offence.status]
            assert heard.elsewhere is None
            assert b"connection: close\r\n" in heard.out
            if row.offence.status == 400:
                assert row.offence.text.encode() in heard.out
            check(data, heard)


@pytest.mark.parametrize("row", GOOD, ids=lambda row: row.name)
def test_what_is_well_framed_is_understood_alike(server: HotServer, row: Row) -> None:
    ends = b"HTTP/1.0" in row.data
    for before, behind in ((b"", b""), (GET, b""), (CHUNKED + b"0\r\n\r\n", GET)):
        data = before + row.data + behind
        for pieces in pieces_of(data):
            heard = server.exchange(pieces)
            answered = row.answered + bool(before) + bool(behind and not ends)
            assert heard.statuses == answered * [200]
            check(data, heard)


DISAGREEMENTS = {
    b"GET http://x/nothing HTTP/1.1\r\nHost: x\r\n\r\n": 400,
    b"GET nothing HTTP/1.1\r\nHost: x\r\n\r\n": 400,  # which Quart's side refuses too
    GET[:-2] + 101 * b"X: y\r\n" + b"\r\n": 431,
}
"""What the other path reads and the core refuses, and how."""
STRANGE = [
    *DISAGREEMENTS,
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /nothing HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /nothing HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /nothing HTTP/2.0\r\nHost: a\r\n\r\n",
    b"GET /nothing HTTP/1.2\r\nHost: a\r\n\r\n",
    b"\r\n" + GET,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    START + b"Content-Length: 3\r\n\r\n{}",
    CHUNKED + b"2\r\n{}\r\n",
    GET[:-1],
    GET + GET[:9],
    START + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    START + b"Expect: 200-maybe\r\nContent-Length: 2\r\n\r\n{}",
    START + b"Connection: close\r\n\r\n" + GET,
    START + b"Connection: keep-alive, Close\r\n\r\n" + GET,
    GET.replace(b"/nothing", b"/elsewhere") + GET,
    GET[:-2] + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@pytest.mark.parametrize("data", STRANGE, ids=repr)
def test_what_is_strange_is_seen_alike_or_refused(server: HotServer, data: bytes) -> None:
    for pieces in pieces_of(data):
        check(data, server.exchange(pieces))


def test_the_disagreements_are_those_listed_and_refusals(server: HotServer) -> None:
    found = {}
    for data in [*STRANGE, *(row.data for row in (*GOOD, *BAD))]:
        heard, other = server.exchange([data]), read_by_h11(data)
        if heard.elsewhere is None and len(heard.requests) < len(other.requests):
            [found[data]] = heard.statuses
    assert found == DISAGREEMENTS


def test_the_one_handover_that_the_other_path_refuses() -> None:
    """HTTP/2 with prior knowledge is said to be for it, and it says 505."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    heard = HotServer().exchange([preface])
    assert (heard.out, heard.elsewhere) == (b"", preface)
    assert read_by_h11(preface).refuses


SERVER = HotServer()


@settings(max_examples=300, deadline=None)
@given(REQUESTS, SPOILERS, PLACES)
@example([GET], [(4, b"http://x")], [])
def test_any_requests_spoiled_anyhow_are_seen_alike_or_refused(
    requests: list[bytes], spoilers: Sequence[tuple[int, bytes]], places: list[int]
) -> None:
    data = spoil(b"".join(requests), spoilers)
    heard = SERVER.exchange([data])
    check(data, heard)
    again = SERVER.exchange(cut(data, places))
    assert (again.requests, again.elsewhere) == (heard.requests, heard.elsewhere)
    assert again.out == heard.out
