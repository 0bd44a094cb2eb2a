"""Each row of the table "Bad input and what happens" in proto/device-frames.md, on a real server.

Through all of it the server stays up, in the same process, and its memory stays bounded: the
fixture ``server`` says so when the last test is done. What takes its fixed time (5 s, 10 s) waits
in threads from the start of the module, so the waits are shared.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import httpx2
import pytest

from otp_server.wire import device_pb2
from tests.support.local_devices import LocalDevice, add_devices
from tests.support.observe import metric, resident_mib, wait_until
from tests.support.raw_websocket import (
    CLOSE,
    OTP_REQUEST,
    PING,
    PONG,
    TEXT,
    Closed,
    RawWebSocket,
    connect,
    encode_auth,
    encode_frame,
    encode_ws_frame,
    open_socket,
    refused_upgrade,
    start_upgrade,
    upgrade_request,
)
from tests.support.server_process import UNLIMITED_CONFIRMS, ServerProcess

GROWTH_MIB_MAX = 50
RESPONSE = device_pb2.FrameType.OTP_RESPONSE
UNAUTHORIZED = Closed(4002, "unauthorized")
ORIGIN = "https://app.example"
FILLER = encode_frame(7, bytes(1021))
"""A frame of 1024 bytes that is ignored."""


class Ended(NamedTuple):
    """How a connection ended, and how long that took."""

    closed: Closed
    after_s: float


@dataclass
class Slow:
    """The inputs that are answered only after a time, on their way since the module began."""

    unfinished_frame: Future[Ended]
    silence: Future[Ended]
    partial_upgrade: Future[Ended]
    slow_reader: Future[Ended]


def check_alive(server: ServerProcess, pid: int) -> None:
    """The same process lives, and a device that never connected before gets a code."""
    assert server.process is not None
    assert server.process.poll() is None
    assert server.pid == pid
    assert httpx2.get(f"{server.ops_url}/livez", trust_env=False).status_code == 200
    [fresh] = add_devices(server, 1)
    with connect(server.device_url, fresh.token) as raw:
        raw.get_code()


@pytest.fixture(scope="module")
def server(
    each_transport: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    assert each_transport
    server = ServerProcess(
        tmp_path_factory.mktemp("bad_input"),
        device=f'allowed_origins = ["{ORIGIN}"]',
        confirm=UNLIMITED_CONFIRMS,
    ).start()
    pid = server.pid
    check_alive(server, pid)
    before = resident_mib(pid)
    yield server
    check_alive(server, pid)
    growth = resident_mib(pid) - before
    assert growth < GROWTH_MIB_MAX, f"the server grew by {growth:.0f} MiB"
    assert metric(server.ops_url, 'otp_handler_crashes_total{where="device_connection"}') == 0
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


@pytest.fixture(scope="module")
def devices(server: ServerProcess) -> Iterator[LocalDevice]:
    """Devices that no other test uses."""
    return iter(add_devices(server, 64))


@pytest.fixture
def device(devices: Iterator[LocalDevice]) -> LocalDevice:
    return next(devices)


@pytest.fixture
def raw(server: ServerProcess, device: LocalDevice) -> Iterator[RawWebSocket]:
    """An open connection of a known device."""
    with connect(server.device_url, device.token) as opened:
        yield opened


@pytest.fixture
def anonymous(server: ServerProcess) -> Iterator[RawWebSocket]:
    """An open connection without a token."""
    with connect(server.device_url) as opened:
        yield opened


@pytest.fixture(scope="module", autouse=True)
def slow(server: ServerProcess, devices: Iterator[LocalDevice]) -> Iterator[Slow]:
    url = server.device_url
    with ThreadPoolExecutor(4) as pool:
        yield Slow(
            unfinished_frame=pool.submit(leave_a_frame_unfinished, url, next(devices).token),
            silence=pool.submit(say_nothing, url),
            partial_upgrade=pool.submit(leave_an_upgrade_unfinished, url),
            slow_reader=pool.submit(read_nothing, server, next(devices).token),
        )


def leave_a_frame_unfinished(url: str, token: str) -> Ended:
    with connect(url, token) as raw:
        since = time.monotonic()
        raw.send(encode_frame(19, bytes(7))[:-1])
        return Ended(raw.read_close(), time.monotonic() - since)


def say_nothing(url: str) -> Ended:
    since = time.monotonic()
    with connect(url) as raw:
        return Ended(raw.read_close(), time.monotonic() - since)


def leave_an_upgrade_unfinished(url: str) -> Ended:
    since = time.monotonic()
    with RawWebSocket(open_socket(url)) as raw:
        raw.send_raw(upgrade_request(url)[:-2])
        how = raw.wait_gone()
        assert not raw.buffer
        return Ended(Closed(1006, how), time.monotonic() - since)


def read_nothing(server: ServerProcess, token: str) -> Ended:
    """Ask for far more bytes of answers than the kernel keeps for a peer that does not read.

    Slowly, so that it is not the asking that is too much.
    """
    closes = 'otp_device_closes_total{kind="slow_reader"}'
    with connect(server.device_url, token, narrow=True) as raw:
        raw.get_code()
        since = time.monotonic()
        # Pongs of 42 kB, and nothing that is too much to send.
        raw.send_until_refused(320 * encode_ws_frame(bytes(125), PING), 1)
        wait_until(lambda: metric(server.ops_url, closes) >= 1, 25, "slow reader closed")
        return Ended(raw.read_close(), time.monotonic() - since)


# --- messages and frames ------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"hello", b"", b"\xff", OTP_REQUEST])
def test_text_message(raw: RawWebSocket, text: bytes) -> None:
    raw.send(text, TEXT)
    assert raw.read_close() == Closed(1003, "text_message")


@pytest.mark.parametrize("length", [0, 1, 2])
def test_length_below_header(raw: RawWebSocket, length: int) -> None:
    raw.send(bytes([19, length, 0]))
    assert raw.read_close() == Closed(1002, "frame_too_short")


@pytest.mark.parametrize("length", [1025, 65535])
def test_length_above_maximum(raw: RawWebSocket, length: int) -> None:
    raw.send(bytes([19, *length.to_bytes(2, "little")]))  # the header alone decides
    assert raw.read_close() == Closed(1009, "frame_too_large")


def test_unfinished_frame(slow: Slow) -> None:
    ended = slow.unfinished_frame.result()
    assert ended.closed == Closed(1002, "frame_stalled")
    assert 9.9 < ended.after_s < 12


def test_trailing_bytes(raw: RawWebSocket) -> None:
    raw.send(OTP_REQUEST + OTP_REQUEST[:1])
    first = raw.read_answer()
    raw.send(OTP_REQUEST[1:2])
    raw.send(OTP_REQUEST[2:] + FILLER + OTP_REQUEST)
    second, third = raw.read_answer(), raw.read_answer()
    assert not first.error
    assert not second.error
    assert not third.error
    assert raw.get_code() != third.otp


@pytest.mark.parametrize("length", [16385, 1 << 16, (1 << 63) - 1])
def test_oversize_message(raw: RawWebSocket, length: int) -> None:
    size = b"\xfe" + length.to_bytes(2, "big") if length < 1 << 16 else b"\xff" + length.to_bytes(8)
    raw.send_raw(b"\x82" + size + bytes(4))  # only the announcement of the message
    assert raw.read_close() == Closed(1009, "frame_too_large")


def test_oversize_message_in_fragments(raw: RawWebSocket) -> None:
    raw.send(8 * FILLER, fin=False)
    raw.send(8 * FILLER, opcode=0, fin=False)
    raw.send(b"\0", opcode=0)
    assert raw.read_close() == Closed(1009, "frame_too_large")


@pytest.mark.parametrize("piece", [b"", b"\x03"])  # a frame of 771 bytes begins
def test_fragment_flood(raw: RawWebSocket, piece: bytes) -> None:
    first = encode_ws_frame(piece, fin=False)
    raw.send_raw(first + 64 * encode_ws_frame(piece, opcode=0, fin=False))
    assert raw.read_close() == Closed(1008, "flooded")


def test_as_many_fragments_as_allowed(raw: RawWebSocket) -> None:
    empty = encode_ws_frame(b"", opcode=0, fin=False)
    raw.send_raw(encode_ws_frame(b"", fin=False) + 62 * empty)
    raw.send(OTP_REQUEST, opcode=0)
    assert not raw.read_answer().error


def test_byte_flood(raw: RawWebSocket) -> None:
    message = encode_ws_frame(15 * FILLER)
    raw.send_raw(4 * message)  # 60 KiB at once are allowed
    raw.get_code()
    raw.send_until_refused(2 * message, 1)
    assert raw.read_close() == Closed(1008, "flooded")


@pytest.mark.parametrize(
    "small", [60 * encode_ws_frame(64 * encode_frame(7, b"")), 2500 * encode_ws_frame(b"", PONG)]
)
def test_small_frame_flood(raw: RawWebSocket, small: bytes) -> None:
    assert len(small) < 16_384  # which is no byte flood
    raw.send_until_refused(small, 1)
    assert raw.read_close() == Closed(1008, "flooded")


# --- types and messages ---------------------------------------------------------------------------


def test_response_from_device(server: ServerProcess, raw: RawWebSocket) -> None:
    kind = 'otp_device_frames_total{kind="otp_response"}'
    before = metric(server.ops_url, kind)
    answer = device_pb2.OTPResponse(otp="123456", expires_at_ms=1)
    raw.send(encode_frame(RESPONSE, answer.SerializeToString()) + encode_frame(RESPONSE, b"\xff"))
    raw.get_code()
    assert metric(server.ops_url, kind) == before + 2


def test_unknown_type(server: ServerProcess, raw: RawWebSocket) -> None:
    kind = 'otp_device_frames_total{kind="unknown"}'
    before = metric(server.ops_url, kind)
    types = [0, *range(3, 19), *range(21, 256)]
    raw.send(b"".join(encode_frame(number, b"\xff") for number in types))
    raw.get_code()
    assert metric(server.ops_url, kind) == before + len(types)


GARBAGE = {
    "cut varint": b"\x08",
    "varint above ten bytes": b"\x08" + 10 * b"\xff" + b"\x01",
    "length beyond the end": b"\x12\x7f",
    "length of 2 GiB": b"\x12\xff\xff\xff\xff\x07",
    "group": b"\x13\x14",
    "end of no group": b"\x14",
    "field number 0": b"\x00",
    "wire type 7": b"\x0f",
}


@pytest.mark.parametrize("payload", GARBAGE.values(), ids=GARBAGE)
def test_garbage_request(raw: RawWebSocket, payload: bytes) -> None:
    raw.send(encode_frame(19, payload))
    answer = raw.read_answer()
    assert (answer.otp, answer.expires_at_ms, answer.error) == ("", 0, "malformed")
    raw.get_code()


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize(
    "payload", [*GARBAGE.values(), b"\x0a\x02\xff\xfe"], ids=[*GARBAGE, "bad UTF-8"]
)
def test_garbage_auth(anonymous: RawWebSocket, payload: bytes, kind: int) -> None:
    anonymous.send(encode_frame(kind, payload))
    assert anonymous.read_close() == UNAUTHORIZED


# --- who is it ------------------------------------------------------------------------------------


def test_second_auth(
    server: ServerProcess, raw: RawWebSocket, device: LocalDevice, devices: Iterator[LocalDevice]
) -> None:
    raw.send(encode_auth(next(devices).token) + encode_auth("nonsense") + encode_frame(2, b"\xff"))
    confirmed = httpx2.post(
        f"{server.http_url}/device/otp/confirm-quick-session",
        json={"otp": raw.get_code()},
        trust_env=False,
    )
    assert confirmed.json()["device_key"] == device.device_key


def test_request_without_token(anonymous: RawWebSocket) -> None:
    assert anonymous.ask().error == "unauthorized"
    assert anonymous.read_close() == UNAUTHORIZED


def test_silence_without_token(slow: Slow) -> None:
    ended = slow.silence.result()
    assert ended.closed == UNAUTHORIZED
    assert 4.9 < ended.after_s < 7


def test_token_in_query_string(server: ServerProcess, device: LocalDevice) -> None:
    with connect(f"{server.device_url}?token={device.token}") as raw:
        assert raw.ask().error == "unauthorized"
        assert raw.read_close() == UNAUTHORIZED
    assert device.token not in server.log.read_text()


@pytest.mark.parametrize("scheme", ["Bearer", "Basic", ""])
def test_wrong_token_at_upgrade(server: ServerProcess, device: LocalDevice, scheme: str) -> None:
    wrong = device.token[:-1] + ("0" if device.token[-1] != "0" else "1")
    header = {"Authorization": f"{scheme} {wrong}".strip()}
    refused = refused_upgrade(server.device_url, headers=header)
    assert refused.status == 401
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert device.device_id not in refused.body.decode()


def test_revoked_token_at_upgrade(server: ServerProcess, device: LocalDevice) -> None:
    connect(server.device_url, device.token).sock.close()
    server.cli("device", "revoke", device.device_id)
    revoked = refused_upgrade(server.device_url, device.token)
    assert revoked.status == 401
    assert revoked == refused_upgrade(server.device_url, "never-1-was-a-token")


def test_wrong_token_in_auth(server: ServerProcess, device: LocalDevice) -> None:
    server.cli("device", "revoke", device.device_id)
    for token in (device.token, "never-1-was-a-token", "", 900 * "x"):
        with connect(server.device_url) as raw:
            raw.send(encode_auth(token))
            assert raw.read_close() == UNAUTHORIZED


def test_revoked_while_connected(
    server: ServerProcess, raw: RawWebSocket, device: LocalDevice
) -> None:
    code = raw.get_code()
    server.cli("device", "revoke", device.device_id)
    assert raw.read_close(within_s=1) == UNAUTHORIZED
    confirm = f"{server.http_url}/device/otp/confirm"
    assert httpx2.post(confirm, json={"otp": code}, trust_env=False).status_code == 404


# --- the WebSocket itself -------------------------------------------------------------------------


def test_unmasked_frame(raw: RawWebSocket) -> None:
    raw.send_raw(encode_ws_frame(OTP_REQUEST, masked=False))
    assert raw.read_close() == Closed(1002, "protocol_error")


BREACHES = {
    "reserved bit": b"\xc2\x80" + bytes(4),
    "unknown opcode": b"\x83\x80" + bytes(4),
    "continues nothing": b"\x80\x80" + bytes(4),
    "a message inside a message": b"\x02\x80" + bytes(4) + b"\x82\x80" + bytes(4),
    "fragmented ping": b"\x09\x80" + bytes(4),
    "ping of 126 bytes": b"\x89\xfe\x00\x7e" + bytes(4 + 126),
    "length not in its shortest form": b"\x82\xfe\x00\x03" + bytes(4) + OTP_REQUEST,
}


@pytest.mark.parametrize("data", BREACHES.values(), ids=BREACHES)
def test_breach_of_the_protocol(raw: RawWebSocket, data: bytes) -> None:
    raw.send_raw(data)
    assert raw.read_close() == Closed(1002, "protocol_error")


def test_slow_reader(slow: Slow) -> None:
    ended = slow.slow_reader.result()
    assert ended.closed in (
        Closed(1013, "slow_reader"),
        Closed(1006, "reset"),
        Closed(1006, "eof"),
    )
    assert ended.after_s < 20


def test_half_open(tmp_path_factory: pytest.TempPathFactory) -> None:
    impatient = ServerProcess(tmp_path_factory.mktemp("impatient"), device="ping_interval_s = 0.3")
    with stopped_after(impatient):
        [device] = add_devices(impatient, 1)
        with connect(impatient.device_url, device.token) as raw:
            assert [raw.read_frame()[0] for _ in range(3)] == [PING, PING, CLOSE]
        with connect(impatient.device_url, device.token) as raw:
            raw.read_frame()  # a ping that is not answered
            raw.send(b"", opcode=10)
            opcode, ping = raw.read_frame()
            assert opcode == PING
            raw.send(ping, opcode=10)  # any answered ping makes up for those before it
            assert [raw.read_frame()[0] for _ in range(2)] == [PING, PING]
            assert raw.read_close() == Closed(1011, "ping_timeout")


@pytest.mark.parametrize("requests", [6])
def test_request_flood(server: ServerProcess, raw: RawWebSocket, requests: int) -> None:
    codes = [raw.get_code() for _ in range(requests)]
    assert raw.ask().error == "rate_limited"
    assert raw.ask().error == "rate_limited"  # the connection lives
    confirm = f"{server.http_url}/device/otp/confirm"
    assert httpx2.post(confirm, json={"otp": codes[-1]}, trust_env=False).status_code == 200


# --- connections ----------------------------------------------------------------------------------


def test_third_connection(server: ServerProcess, device: LocalDevice) -> None:
    with (
        connect(server.device_url, device.token) as oldest,
        connect(server.device_url, device.token) as second,
        connect(server.device_url, device.token) as third,
    ):
        assert oldest.read_close() == Closed(1008, "replaced")
        second.get_code()
        third.get_code()


def test_too_many_connections(tmp_path_factory: pytest.TempPathFactory) -> None:
    small = ServerProcess(tmp_path_factory.mktemp("small"), device="max_connections = 3")
    with stopped_after(small):
        tokens = [device.token for device in add_devices(small, 4)]
        opened = [connect(small.device_url, token) for token in tokens[:3]]
        try:
            for _ in range(20):
                refused = refused_upgrade(small.device_url, tokens[3])
                assert refused.status == 503
                assert refused.body.startswith(b"overloaded")
            opened[0].get_code()
            opened[1].sock.close()
            wait_until(lambda: open_connections(small) == 2, 5, "the closed connection forgotten")
            with connect(small.device_url, tokens[3]) as raw:
                raw.get_code()
        finally:
            for raw in opened:
                raw.sock.close()


def open_connections(server: ServerProcess) -> float:
    return metric(server.ops_url, "otp_device_connections")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", f"{ORIGIN}.evil.example", "http://app.example", "null", "*"]
)
def test_foreign_origin(server: ServerProcess, device: LocalDevice, origin: str) -> None:
    assert refused_upgrade(server.device_url, device.token, {"Origin": origin}).status == 403
    with connect(server.device_url, device.token, {"Origin": ORIGIN}) as raw:
        raw.get_code()


@pytest.mark.parametrize("path", ["/", "/ws", "/ws/device/", "/ws/devices", "/WS/DEVICE", "//x"])
def test_wrong_path(server: ServerProcess, device: LocalDevice, path: str) -> None:
    url = server.device_url.removesuffix("/ws/device") + path
    assert refused_upgrade(url, device.token).status == 404


def test_partial_upgrade(slow: Slow) -> None:
    ended = slow.partial_upgrade.result()
    assert ended.closed == Closed(1006, "eof")
    assert 4.9 < ended.after_s < 7


def test_oversize_upgrade(server: ServerProcess) -> None:
    with start_upgrade(server.device_url, headers={"X-Large": 9000 * "x"}) as raw:
        assert raw.wait_gone(within_s=4) in ("eof", "reset")  # at once, not after 5 s
        assert not raw.buffer or raw.buffer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "request_line", [b"GET / HTTP/1.1", b"POST /ws/device HTTP/1.1", b"\0\xff"]
)
def test_no_upgrade_at_all(server: ServerProcess, request_line: bytes) -> None:
    with RawWebSocket(open_socket(server.device_url)) as raw:
        raw.send_raw(request_line + b"\r\nHost: x\r\n\r\n")
        assert raw.read_response(within_s=4).status == 400


class stopped_after:  # noqa: N801 - reads as a word
    """Start a server and stop it, which must go well."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server

    def __enter__(self) -> None:
        self._server.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        status = self._server.stop()
        assert kind is not None or status == 0
