"""Clients' web sockets on an HTTP listener: a scripted face, real sockets, clients gone wrong."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from otp_server.errors import ErrorKind
from otp_server.transport.sockets import TlsFiles
from tests.support.certificates import make_certificate
from tests.support.client_stage import (
    GET,
    PATH,
    SERVICE,
    Face,
    as_client,
    echo,
    masked,
    never,
    raise_bug,
    request_on,
    serving,
)
from tests.support.observe import until
from tests.support.raw_websocket import BINARY, PING, PONG, TEXT, encode_ws_frame
from tests.support.served import captured_logs

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
VERSION = "Sec-WebSocket-Version: 13"
UPGRADE = ["Upgrade: websocket", "Connection: Upgrade"]


def head(*lines: str, first: str = f"GET {PATH} HTTP/1.1") -> bytes:
    return "\r\n".join([first, "Host: x", *lines, "", ""]).encode()


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    """As the server writes them: other than structlog's own way, without what is in variables."""
    with captured_logs():
        yield


# --- coming in ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", ["/-/websocket/", "/-/websocket", "/-/websocket/?otak=a%20b&c", "/-/websocket?"]
)
async def test_an_upgrade_is_taken(target: str) -> None:
    face = Face()
    async with serving(face) as stage, stage.connect(target) as client:
        await echo(client)
        [asked] = face.asked
        path, _, query = target.partition("?")
        assert (asked.path, asked.query, asked.address) == (path, query, "127.0.0.1")
        assert asked.header(b"host") == [f"127.0.0.1:{stage.port}"]
        assert asked.listed(b"sec-websocket-protocol") == ["service"]
        assert "otak" not in repr(asked)


async def test_header_lists_are_read_over_all_their_lines() -> None:
    face = Face()
    lines = ["UPGRADE: h2c, WebSocket", "Connection: keep-alive", "connection: x, UPGRADE"]
    protocols = ["Sec-WebSocket-Protocol: a, ,b", "sec-websocket-protocol: c"]
    async with serving(face) as stage, await stage.dial() as client:
        await client.stream.send_all(head(*lines, VERSION, KEY, *protocols))
        status, headers = await client.read_response()
        assert (status, headers["sec-websocket-protocol"]) == (101, "a")
        assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert face.asked[0].listed(b"sec-websocket-protocol") == ["a", "b", "c"]


async def test_compression_is_not_spoken() -> None:
    async with serving(Face()) as stage, await stage.dial() as client:
        offer = {"Sec-WebSocket-Extensions": "permessage-deflate"}
        await client.stream.send_all(stage.request(headers=offer))
        status, headers = await client.read_response()
        assert status == 101
        assert "sec-websocket-extensions" not in headers


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (head(*UPGRADE, VERSION, KEY, first="GET / HTTP/1.1"), b"200"),
        (head(*UPGRADE, VERSION, KEY, first="GET /-/websocket/x HTTP/1.1"), b"404"),
        (head(*UPGRADE, VERSION, KEY, first="GET /-/Websocket/ HTTP/1.1"), b"404"),
        (head(*UPGRADE, VERSION, KEY, first=f"POST {PATH} HTTP/1.1"), b"200"),
        (head(*UPGRADE, VERSION, KEY, "Content-Length: 2") + b"hi", b"200"),
        (head(*UPGRADE, VERSION, KEY, "Transfer-Encoding: chunked") + b"0\r\n\r\n", b"200"),
        (head("Upgrade: h2c", "Connection: Upgrade", VERSION, KEY), b"200"),
        (head("Upgrade: websocket", VERSION, KEY), b"200"),
        (head("Connection: Upgrade", VERSION, KEY), b"200"),
        (head(), b"200"),
    ],
    ids=[
        "root",
        "below",
        "case",
        "post",
        "body",
        "chunked",
        "h2c",
        "no-connection",
        "no-upgrade",
        "plain",
    ],
)
async def test_other_upgrades_are_declined_as_before(request_bytes: bytes, status: bytes) -> None:
    face = Face()
    async with serving(face) as stage, await stage.dial() as client:
        for _ in range(2):  # and the connection stays what it is
            assert await request_on(client, request_bytes) == status
        assert not face.asked


async def test_http_1_0_has_no_upgrades() -> None:
    face = Face()
    async with serving(face) as stage, await stage.dial() as client:
        request = head(*UPGRADE, VERSION, KEY, first=f"GET {PATH} HTTP/1.0")
        assert await request_on(client, request) == b"200"
        assert not face.asked


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([KEY], 426),
        ([KEY, "Sec-WebSocket-Version: 8"], 426),
        ([KEY, VERSION, VERSION], 426),
        ([VERSION], 400),
        ([VERSION, KEY, KEY], 400),
        ([VERSION, "Sec-WebSocket-Key: AAAA"], 400),
        ([VERSION, "Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw="], 400),
        ([VERSION, "Sec-WebSocket-Key: no base64 at all!!!!!!!!"], 400),
    ],
)
async def test_a_bad_handshake_is_refused(lines: list[str], status: int) -> None:
    face = Face()
    async with serving(face) as stage, await stage.dial() as client:
        await client.stream.send_all(head(*UPGRADE, *lines))
        told, headers = await client.read_response()
        assert told == status
        assert headers.get("sec-websocket-version") == ("13" if status == 426 else None)
        assert await client.stream.receive_some() == b""
        assert not face.asked


@pytest.mark.parametrize(
    "kind",
    [
        ErrorKind.MALFORMED,
        ErrorKind.UNAUTHORIZED,
        ErrorKind.FORBIDDEN_ORIGIN,
        ErrorKind.UNAVAILABLE,
        ErrorKind.INTERNAL,
    ],
)
async def test_what_the_face_refuses(kind: ErrorKind) -> None:
    async with serving(Face(verdict=kind)) as stage:
        status, headers = await stage.refused()
        assert status == kind.http_status
        assert (headers["cache-control"], headers["connection"]) == ("no-store", "close")
        assert ("www-authenticate" in headers) == (kind is ErrorKind.UNAUTHORIZED)
        assert stage.value("otp_client_upgrades_total", outcome="refused") == 1
        assert not len(stage.sockets)


async def test_a_face_that_does_not_answer_is_not_waited_for() -> None:
    async with serving(Face(wait=never), upgrade_s=0.2) as stage:
        assert (await stage.refused())[0] == 503
        assert not len(stage.sockets)


async def test_who_leaves_while_it_is_admitted_is_closed() -> None:
    """The face said yes: it is owed ``closed``, though nobody is there any more."""
    face, go_on = Face(), trio.Event()
    face.wait = go_on.wait
    async with serving(face) as stage:
        async with await stage.dial() as client:
            await client.stream.send_all(stage.request())
            await until(lambda: len(face.asked) == 1)
            await client.reset()
        go_on.set()
        await until(lambda: (face.admitted, face.gone, len(stage.sockets)) == (1, 1, 0))


# --- bytes and their cuts -------------------------------------------------------------------------


async def test_an_upgrade_byte_by_byte() -> None:
    async with serving(Face()) as stage, await stage.dial() as client:
        client.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in stage.request() + masked("abc"):
            await client.stream.send_all(bytes([byte]))
            await trio.lowlevel.checkpoint()
        assert (await client.read_response())[0] == 101
        assert await client.read_frame() == (TEXT, b"abc")


@pytest.mark.parametrize("before", [b"", GET, GET + GET], ids=["first", "second", "third"])
@pytest.mark.parametrize(
    "texts", [["abc"], ["abc", "def"], ["\n\r\n\r\n GET / HTTP/1.1\r\n\r\n"], ["x" * 4096]]
)
async def test_bytes_behind_the_upgrade_are_the_sockets(before: bytes, texts: list[str]) -> None:
    """Whatever they look like as HTTP, however many requests came before in the same segment."""
    unmasked = [encode_ws_frame(text.encode(), TEXT, masked=True) for text in texts]
    frames = b"".join(unmasked)
    # A mask of zeros shows the text to whoever still reads it as HTTP.
    plain = b"".join(b"\x81" + _head(text) + bytes(4) + text.encode() for text in texts)
    for behind in (frames, plain):
        async with serving(Face()) as stage, await stage.dial() as client:
            await client.stream.send_all(before + stage.request() + behind)
            for _ in range(before.count(b"GET")):
                assert (await client.read_response())[0] == 200
            assert (await client.read_response())[0] == 101
            for text in texts:
                assert await client.read_frame() == (TEXT, text.encode())
            await echo(client)


def _head(text: str) -> bytes:
    size = len(text.encode())
    return bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")


async def test_a_fault_behind_the_upgrade_is_told() -> None:
    async with serving(Face()) as stage, stage.connect(behind=b"\x81\x05") as client:
        assert await client.read_close() == (1002, "protocol_error")


async def test_an_upgrade_after_requests_on_the_same_connection() -> None:
    async with serving(Face()) as stage, await stage.dial() as client:
        for _ in range(3):
            assert await request_on(client) == b"200"
        await client.stream.send_all(stage.request())
        assert (await client.read_response())[0] == 101
        await echo(client)


async def test_an_upgrade_in_tls(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path)
    async with (
        serving(Face(), tls=TlsFiles(str(pair.certificate), str(pair.key))) as stage,
        await trio.open_ssl_over_tcp_stream(
            "127.0.0.1", stage.port, ssl_context=pair.client_context(), https_compatible=True
        ) as stream,
    ):
        client = as_client(stream)
        await stream.send_all(GET)
        assert (await client.read_response())[0] == 200
        await stream.send_all(stage.request() + masked("abc"))
        assert (await client.read_response())[0] == 101
        assert await client.read_frame() == (TEXT, b"abc")
        stage.stop.set()
        assert await client.read_close() == (1001, "draining")


# --- what a client may send -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "close"),
    [
        (encode_ws_frame(b"abc", BINARY), (1003, "binary_message")),
        (encode_ws_frame(b"", BINARY, fin=False), (1003, "binary_message")),
        (b"\x81\xfe\x10\x01", (1009, "frame_too_large")),
        (b"\x81\xff\x7f" + 7 * b"\xff", (1009, "frame_too_large")),
        (encode_ws_frame(b"abc", TEXT, masked=False), (1002, "protocol_error")),
        (b"\xc1\x80", (1002, "protocol_error")),
        (encode_ws_frame(b"abc", 0), (1002, "protocol_error")),
        (encode_ws_frame(b"", TEXT, fin=False) * 2, (1002, "protocol_error")),
        (encode_ws_frame(b"", PING, fin=False), (1002, "protocol_error")),
        (
            encode_ws_frame(b"", TEXT, fin=False) + 16 * encode_ws_frame(b"", 0, fin=False),
            (1008, "flooded"),
        ),
        (encode_ws_frame(b"", PONG) * 20_000, (1008, "flooded")),
        (21 * masked("a"), (1008, "flooded")),
    ],
    ids=[
        "binary",
        "binary-begun",
        "large",
        "larger",
        "unmasked",
        "reserved",
        "continuation",
        "text-in-text",
        "ping-begun",
        "fragments",
        "bytes",
        "messages",
    ],
)
async def test_what_ends_a_connection(sent: bytes, close: tuple[int, str]) -> None:
    face = Face()
    async with serving(face, messages_per_s=0.001) as stage, stage.connect() as other:
        async with stage.connect() as client:
            tail = bytes(4) if sent[-1:] == b"\x01" and len(sent) == 4 else b""
            tail = bytes(4) if len(sent) == 10 and sent[1] == 0xFF else tail
            await client.stream.send_all(sent + tail)
            assert await client.read_close() == close
        await until(lambda: face.gone == 1)
        await echo(other)


async def test_messages_are_let_through_up_to_the_rate() -> None:
    async with (
        serving(Face(), messages_burst=3, messages_per_s=50) as stage,
        stage.connect() as client,
    ):
        for _ in range(3):
            await echo(client)
        await trio.sleep(0.1)  # it has refilled
        await echo(client)


async def test_text_that_is_none_ends_the_connection() -> None:
    face = Face()
    async with serving(face) as stage, stage.connect() as client:
        await client.send(b"\xff\xfe", TEXT)
        with pytest.raises(EOFError):
            await client.read_frame()
        await until(lambda: face.gone == 1)
        assert not face.heard


async def test_a_message_in_fragments_with_a_ping_between() -> None:
    async with serving(Face()) as stage, stage.connect() as client:
        await client.stream.send_all(
            encode_ws_frame("é".encode()[:1], TEXT, fin=False)
            + encode_ws_frame(b"p", PING)
            + encode_ws_frame("é".encode()[1:], 0)
        )
        assert await client.read_frame() == (PONG, b"p")
        assert await client.read_frame() == (TEXT, "é".encode())


# --- secrets --------------------------------------------------------------------------------------

TOKEN = "q7Zk3vXw9Rt2LmNp"


@pytest.mark.parametrize("where", ["", "on_admit", "on_run", "on_received", "on_closed"])
async def test_a_token_never_reaches_a_log(where: str) -> None:
    with captured_logs() as logs:
        face = Face()
        headers = {**SERVICE, "Cookie": f"regsid={TOKEN}"}
        async with serving(face) as stage:
            if where:
                setattr(face, where, lambda *_: raise_bug())
            target = f"{PATH}?otak={TOKEN}"
            for asked in (target, f"/-/websocket/other?otak={TOKEN}"):
                async with await stage.dial() as client:
                    await client.stream.send_all(stage.request(asked, headers) + masked(TOKEN))
                    await client.read_response()
            async with await stage.dial() as client:
                bad = stage.request(target, headers).replace(b"Version: 13", b"Version: 8")
                await client.stream.send_all(bad)
                await client.read_response()
            await until(lambda: len(stage.sockets) == 0)
        assert (stage.crashes > 0) == bool(where)
    assert not where or "client" in logs.getvalue()
    assert TOKEN not in logs.getvalue()
