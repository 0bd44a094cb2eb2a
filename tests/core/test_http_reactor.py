"""The HTTP reactor as Python sees it: requests, answers, handovers, deadlines, over sockets."""

from __future__ import annotations

import os
import socket
from email.utils import formatdate

import pytest

from otp_server.core import HttpReactor, HttpReactorOptions, ReactorListener
from otp_server.errors import ErrorKind
from otp_server.transport import http
from otp_server.transport.http_framing import Offence
from tests.support.framing_corpus import GET, START
from tests.support.hot_http import BOUNDS, UNIX_S, HotServer

COLD = b"GET /cold?a HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\n"


def read_to_end(client: socket.socket) -> bytes:
    answered = b""
    while more := client.recv(1 << 20):
        answered += more
    return answered


def lines_of(answer: bytes) -> list[bytes]:
    return answer.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")


def test_a_request_is_what_was_sent() -> None:
    data = (
        b"PUT /otp/u-1/attempt?a=%20&b HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-a:  2\t\r\n"
        b"X-B: \xe9\r\nContent-Length: 3\r\n\r\n{1}"
    )
    [request] = HotServer().exchange([data]).requests
    assert request == {
        "route": 2,
        "method": "PUT",
        "parameters": ("u-1",),
        "query": "a=%20&b",
        "headers": {"host": "x", "x-a": "1, 2", "x-b": "é", "content-length": "3"},
        "body": b"{1}",
        "peer": "127.0.0.1",
    }


def test_an_answer_says_what_every_answer_says() -> None:
    server = HotServer()
    with server.connect() as client:
        client.sendall(GET)
        server.until_waiting(1)
        [request] = server.waiting
        assert repr(request) == f"<HttpRequest connection={request.connection} route=0>"
        headers = [("X-A", "1"), ("Cache-Control", "public")]
        answers = [(request, 201, "application/json", headers, b"{}")]
        assert server.reactor.send_many(answers, 0, UNIX_S) == 0
        answer = client.recv(65_536)
    assert answer.endswith(b"\r\n\r\n{}")
    assert set(lines_of(answer)) == {
        b"http/1.1 201 ",
        b"date: " + formatdate(UNIX_S, usegmt=True).encode().lower(),
        b"content-length: 2",
        b"cache-control: no-store",
        b"x-content-type-options: nosniff",
        b"content-type: application/json",
        b"x-a: 1",
    }


def test_a_refusal_says_what_the_other_path_says() -> None:
    for offence, data in (
        (Offence.FOLDED, b"GET /nothing HTTP/1.1\r\nHost: x\r\n a\r\n\r\n"),
        (Offence.LENGTH, START + b"Content-Length: x\r\n\r\n"),
        (Offence.TOO_LARGE, START + b"X: " + 17_000 * b"x"),
    ):
        answer = HotServer().exchange([data]).out
        head, _, body = answer.partition(b"\r\n\r\n")
        said = http.problem(offence.text) if offence.status == 400 else b""
        assert body == said
        kind = [b"content-type: application/problem+json"] if said else []
        assert set(lines_of(head)) == {
            b"http/1.1 %d " % offence.status,
            b"date: " + formatdate(UNIX_S, usegmt=True).encode().lower(),
            b"content-length: %d" % len(said),
            b"cache-control: no-store",
            b"x-content-type-options: nosniff",
            b"connection: close",
            *kind,
        }
    assert ErrorKind.MALFORMED.http_status == 400


def test_an_answer_that_is_no_http_is_told_and_the_others_go_out() -> None:
    server = HotServer()
    with server.connect() as one, server.connect() as other:
        one.sendall(GET)
        server.until_waiting(1)
        other.sendall(HEAD)
        server.until_waiting(2)
        bad, good = server.waiting
        answers = [
            (bad, 200, "text/plain", [("X", "a\r\nSet-Cookie: b")], b"secret"),
            (good, 200, "text/plain", [], b"unseen"),
        ]
        assert server.reactor.send_many(answers, 0, UNIX_S) == 1
        answered = one.recv(65_536)
        assert answered.startswith(b"HTTP/1.1 500 ")
        assert b"secret" not in answered
        assert b"Cookie" not in answered
        answered = other.recv(65_536)
        assert b"content-length: 6\r\n" in answered
        assert answered.endswith(b"\r\n\r\n")
        # An answer that comes twice, or too late, is nobody's.
        assert server.reactor.send_many(answers, 0, UNIX_S) == 0


def test_a_handover_is_a_socket_of_the_callers() -> None:
    server = HotServer()
    with server.connect() as client:
        client.sendall(GET + COLD + GET)
        server.until_waiting(1)
        assert server.answer() == 1
        server.poll()
        [(taken, data, peer)] = server.handovers
        assert (data, peer, server.reactor.connections) == (COLD + GET, "127.0.0.1", 0)
        assert not os.get_blocking(taken.fileno())
        with taken:
            assert taken.getpeername() == client.getsockname()
            client.sendall(b"more")
            taken.setblocking(True)
            assert taken.recv(9) == b"more"
            taken.sendall(b"elsewhere")
        assert read_to_end(client).endswith(b"elsewhere")
        assert not server.reactor.has_more
        assert server.reactor.take_handovers() == []


def test_slowloris_is_cut_while_others_are_served() -> None:
    server = HotServer()
    with server.connect() as slow, server.connect() as good:
        for second in range(1, 8):
            server.now_ms = second * 1_000
            slow.sendall(b"G")
            server.wait([])
            good.sendall(GET)
            server.until_waiting(1)
            assert server.answer() == 1
            assert good.recv(65_536).startswith(b"HTTP/1.1 200 ")
        assert server.reactor.next_deadline() == 8_000
        server.now_ms = 8_000
        server.poll()
        assert server.reactor.connections == 1
        assert slow.recv(9) == b""


def test_a_slow_reader_is_cut_while_others_are_served() -> None:
    server = HotServer()
    with server.connect() as slow, server.connect() as good:
        slow.sendall(GET + GET)
        server.until_waiting(1)
        [request] = server.waiting
        server.waiting = []
        large = [(request, 200, "text/plain", [], bytes(30_000_000))]
        assert server.reactor.send_many(large, 0, UNIX_S) == 0
        good.sendall(GET)
        server.until_waiting(1)
        assert len(server.waiting) == 1  # and not the one behind the large answer
        server.answer()
        assert good.recv(65_536).startswith(b"HTTP/1.1 200 ")
        server.now_ms = 10_000
        server.poll()
        assert server.reactor.connections == 1
        with pytest.raises(ConnectionResetError):
            read_to_end(slow)


def test_so_many_of_an_address_unless_it_is_trusted() -> None:
    for trusted, refused in (([], 2), (["127.0.0.0/8"], 1)):
        server = HotServer(connections_max=3, per_address_max=2, trusted=trusted)
        clients = [server.connect() for _ in range(4)]
        assert server.refused == refused
        assert clients[-1].recv(1) == b""
        for client in clients:
            client.close()


def test_draining_answers_what_has_begun() -> None:
    server = HotServer()
    with server.connect() as idle, server.connect() as asking:
        asking.sendall(GET)
        server.until_waiting(1)
        server.reactor.stop_accepting()
        server.reactor.drain()
        assert server.reactor.has_more
        server.poll()
        assert not server.reactor.has_more
        assert idle.recv(9) == b""
        assert server.answer() == 1
        assert b"\r\nconnection: close\r\n" in asking.recv(65_536)
        assert asking.recv(9) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.address, 1)


def test_a_body_too_large_is_none_and_the_last() -> None:
    for framing in (
        b"Content-Length: 65537\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n10001\r\n",
    ):
        heard = HotServer().exchange([START + framing + GET])
        assert [request["body"] for request in heard.requests] == [None]
        assert heard.statuses == [413]
        assert b"connection: close" in lines_of(heard.out)


@pytest.mark.parametrize(
    "wrong",
    [
        {"routes": [("GET", "nothing")]},
        {"routes": [("GET", "/a"), ("GET", "/a")]},
        {"trusted": ["10.0.0.1"]},
        {"head_bytes_max": 65_536},
    ],
)
def test_options_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        HttpReactorOptions(**{**BOUNDS, **wrong})


def test_a_listener_is_taken_over() -> None:
    listener = ReactorListener("127.0.0.1", 0)
    HttpReactor(listener, HttpReactorOptions(**BOUNDS))
    with pytest.raises(RuntimeError):
        HttpReactor(listener, HttpReactorOptions(**BOUNDS))
