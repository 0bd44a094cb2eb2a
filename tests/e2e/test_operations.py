"""What an operator relies on: health, metrics, draining, revoking, limits of the machine, TLS."""

from __future__ import annotations

import json
import os
import re
import resource
import select
import signal
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.certificates import make_certificate
from tests.support.database_lock import locked
from tests.support.local_devices import add_devices
from tests.support.observe import metric, wait_until
from tests.support.raw_websocket import (
    OTP_REQUEST,
    Closed,
    RawWebSocket,
    connect,
    encode_ws_frame,
    open_socket,
    refused_upgrade,
    reset,
    upgrade_request,
)
from tests.support.server_process import ServerProcess

EXIT_CUT = 3
DRAIN_S = 3
"""What ServerProcess configures."""


OVER_BOTH = pytest.mark.usefixtures("each_transport")
"""What devices notice, over both device transports."""


def get(url: str) -> httpx2.Response:
    return httpx2.get(url, timeout=10, trust_env=False)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of the test's own, which the test may stop."""
    server = ServerProcess(tmp_path / "server").start()
    yield server
    kill(server)


def kill(server: ServerProcess) -> None:
    if server.process is not None and server.process.poll() is None:
        server.kill()


def begin_drain(server: ServerProcess) -> float:
    """SIGTERM, and when."""
    began = time.monotonic()
    os.kill(server.pid, signal.SIGTERM)
    return began


def wait_exit(server: ServerProcess, within_s: float) -> int:
    assert server.process is not None
    status = server.process.wait(within_s)
    server._close()
    return status


def assert_quiet(server: ServerProcess) -> None:
    """No bug showed itself in the log, whose lines are all JSON."""
    text = server.log.read_text()
    assert "Traceback" not in text
    for line in text.splitlines():
        assert json.loads(line)["level"] in ("debug", "info", "warning"), line


def stop_reading(url: str) -> socket.socket:
    """An HTTP client that asks and asks and never reads, until the server is stuck with it."""
    narrow = open_socket(url, narrow=True)
    narrow.setblocking(False)
    request = b"GET /device/server-time HTTP/1.1\r\nHost: x\r\n\r\n"
    deadline = time.monotonic() + 30
    while select.select([], [narrow], [], 1)[1]:
        assert time.monotonic() < deadline, "the server takes everything"
        narrow.send(100 * request)
    return narrow


# --- health and metrics ---------------------------------------------------------------------------


def test_health(running_server: ServerProcess) -> None:
    live, ready = get(f"{running_server.ops_url}/livez"), get(f"{running_server.ops_url}/readyz")
    assert (live.status_code, live.json()) == (200, {"status": "live"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
    assert ready.headers["cache-control"] == "no-store"
    assert "server" not in ready.headers


def test_operators_have_a_listener_of_their_own(running_server: ServerProcess) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        assert get(f"{running_server.http_url}{path}").status_code == 404
    assert get(f"{running_server.ops_url}/device/server-time").status_code == 404


LABELS = {
    "outcome": r"[a-z_]+",
    "kind": r"[a-z_]+",
    "route": r"[a-z0-9_-]+",
    "status": r"[1-5][0-9][0-9]",
    "where": r"[a-z_]+",
    "length": r"[0-9]{1,2}",
    "le": r"[0-9.]+|\+Inf",
    "channel": r"sms|email",
    "problem": r"[a-z_]+",
    "policy": r"[a-z0-9-]+",
}


def test_metrics_are_bounded_whatever_peers_send(running_server: ServerProcess) -> None:
    [device] = add_devices(running_server, 1)
    with connect(running_server.device_url, device.token) as raw:
        code = raw.get_code()
    for n in range(30):
        get(f"{running_server.http_url}/path-{n}?q={n}")
        httpx2.request(f"WORD{n}", f"{running_server.http_url}/device/server-time", trust_env=False)
        refused_upgrade(running_server.device_url, f"token-{n}", {"X-Forwarded-For": f"10.0.0.{n}"})
    answer = get(f"{running_server.ops_url}/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    assert len(lines) < 150
    for line in lines:
        for name, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', line):
            assert re.fullmatch(LABELS[name], value), line
    for secret in (code, device.token, device.device_id, device.device_key, "127.0.0.1", "10.0.0."):
        assert secret not in "\n".join(line.rpartition(" ")[0] for line in lines)


# --- draining -------------------------------------------------------------------------------------


@OVER_BOTH
def test_drain_says_1001_and_ends_well(fresh: ServerProcess) -> None:
    devices = add_devices(fresh, 3)
    opened = [connect(fresh.device_url, device.token) for device in devices]
    opened[0].get_code()
    began = begin_drain(fresh)
    for raw in opened:
        assert raw.read_close() == Closed(1001, "draining")
        raw.send((1001).to_bytes(2, "big"), opcode=8)
        assert raw.wait_gone() == "eof"
        raw.sock.close()
    assert wait_exit(fresh, DRAIN_S + 5) == 0
    assert time.monotonic() - began < DRAIN_S
    assert_quiet(fresh)


@OVER_BOTH
def test_drain_gives_the_answers_owed(tmp_path: Path) -> None:
    patient = ServerProcess(
        tmp_path / "server", environment={"OTP_SERVER_SERVER__DRAIN_S": "30"}
    ).start()
    try:
        [device] = add_devices(patient, 1)
        asked = 'otp_device_frames_total{kind="otp_request"}'
        with connect(patient.device_url, device.token) as raw:
            with locked(patient.data_dir / "otp.db"):
                raw.send_raw(4 * encode_ws_frame(OTP_REQUEST))
                wait_until(lambda: metric(patient.ops_url, asked) == 4, 3, "requests received")
                begin_drain(patient)
                wait_until(lambda: is_draining(patient), 3, "readiness says draining")
            assert [raw.read_answer().error for _ in range(4)] == 4 * [""]
            assert raw.read_close() == Closed(1001, "draining")
        assert wait_exit(patient, 30) == 0
    finally:
        kill(patient)


def test_drain_answers_the_http_request_in_flight(fresh: ServerProcess) -> None:
    body = b'{"otp": "000000"}'
    head = (
        b"POST /device/otp/confirm HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    with RawWebSocket(open_socket(fresh.http_url)) as raw:
        raw.send_raw(head)
        assert raw.read_response().status == 100  # the application waits for the body
        begin_drain(fresh)
        wait_until(lambda: is_draining(fresh), DRAIN_S, "readiness says draining")
        raw.send_raw(body)
        answer = raw.read_response()
        assert answer.status == 404
        assert json.loads(answer.body)["error"] == "invalid_code"
    assert wait_exit(fresh, DRAIN_S + 5) == 0
    assert_quiet(fresh)


def is_draining(server: ServerProcess) -> bool:
    answer = get(f"{server.ops_url}/readyz")
    return (answer.status_code, answer.json()["status"]) == (503, "draining")


def test_drain_is_cut_where_a_client_does_not_read(fresh: ServerProcess) -> None:
    narrow = stop_reading(fresh.http_url)
    with narrow:
        began = begin_drain(fresh)
        wait_until(lambda: is_draining(fresh), DRAIN_S, "readiness says draining")
        assert get(f"{fresh.ops_url}/livez").status_code == 200
        assert get(f"{fresh.ops_url}/metrics").status_code == 200
        with pytest.raises(OSError, match="refused"):
            open_socket(fresh.device_url)
        assert wait_exit(fresh, DRAIN_S + 5) == EXIT_CUT
        assert DRAIN_S < time.monotonic() - began < DRAIN_S + 3
    assert_quiet(fresh)


ASK_FOR_TIME = b"GET /device/server-time HTTP/1.1\r\nHost: x\r\n\r\n"
ASK_WHETHER_LIVE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
CONFIRM = (
    b"POST /device/otp/confirm HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b'Content-Length: 16\r\n\r\n{"otp":"000000"}'
)


@pytest.mark.parametrize("requests", [[], [ASK_FOR_TIME], [ASK_FOR_TIME, CONFIRM]])
@pytest.mark.parametrize("faces", [["http"], ["ops"], ["http", "ops"]], ids="+".join)
def test_idle_connections_do_not_hold_a_drain(
    fresh: ServerProcess, faces: list[str], requests: list[bytes]
) -> None:
    opened = []
    for face in faces:
        raw = RawWebSocket(open_socket(fresh.urls[face]))
        opened.append(raw)
        for request in requests:
            raw.send_raw(request if face == "http" else ASK_WHETHER_LIVE)
            assert raw.read_response().status in (200, 404)
    get(f"{fresh.http_url}/device/server-time")  # by now the server has seen the silent ones
    get(f"{fresh.ops_url}/livez")
    began = begin_drain(fresh)
    assert wait_exit(fresh, DRAIN_S + 5) == 0
    assert time.monotonic() - began < DRAIN_S / 2
    for raw in opened:
        raw.sock.close()
    assert_quiet(fresh)


def test_a_draining_server_takes_no_new_request(tmp_path: Path) -> None:
    patient = ServerProcess(
        tmp_path / "server", environment={"OTP_SERVER_SERVER__DRAIN_S": "20"}
    ).start()
    try:
        with (
            RawWebSocket(open_socket(patient.http_url)) as idle,
            RawWebSocket(open_socket(patient.http_url)) as asking,
            RawWebSocket(open_socket(patient.http_url)) as begun,
        ):
            for raw in (idle, asking, begun):
                raw.send_raw(ASK_FOR_TIME)
                assert raw.read_response().status == 200
            begun.send_raw(CONFIRM[:-1])  # holds the drain
            asking.send_raw(ASK_FOR_TIME[:-2])
            get(f"{patient.http_url}/device/server-time")
            begin_drain(patient)
            wait_until(lambda: is_draining(patient), 10, "readiness says draining")
            assert idle.wait_gone() == "eof"
            asking.send_raw(ASK_FOR_TIME[-2:])
            refused = asking.read_response()
            assert (refused.status, json.loads(refused.body)["error"]) == (503, "draining")
            assert asking.wait_gone() == "eof"
            begun.send_raw(CONFIRM[-1:])
            assert begun.read_response().status == 404
        assert wait_exit(patient, 10) == 0
    finally:
        kill(patient)


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    patient = ServerProcess(
        tmp_path / "server", environment={"OTP_SERVER_SERVER__DRAIN_S": "60"}
    ).start()
    try:
        with stop_reading(patient.http_url):
            begin_drain(patient)
            wait_until(lambda: is_draining(patient), 10, "readiness says draining")
            began = begin_drain(patient)
            assert wait_exit(patient, 10) == EXIT_CUT
            assert time.monotonic() - began < 2
    finally:
        kill(patient)


def test_an_interrupt_drains_too(fresh: ServerProcess) -> None:
    os.kill(fresh.pid, signal.SIGINT)
    assert wait_exit(fresh, DRAIN_S + 5) == 0
    assert_quiet(fresh)


@OVER_BOTH
def test_connections_that_never_upgraded_do_not_hold_a_drain(fresh: ServerProcess) -> None:
    with RawWebSocket(open_socket(fresh.device_url)) as raw:
        raw.send_raw(upgrade_request(fresh.device_url)[:-2])
        wait_until(lambda: metric(fresh.ops_url, "otp_device_connections") == 1, 5, "accepted")
        begin_drain(fresh)
        assert wait_exit(fresh, DRAIN_S + 5) == 0
    assert_quiet(fresh)


# --- revoking -------------------------------------------------------------------------------------


@OVER_BOTH
def test_revoking_closes_within_a_second(fresh: ServerProcess) -> None:
    devices = add_devices(fresh, 2)
    with (
        connect(fresh.device_url, devices[0].token) as first,
        connect(fresh.device_url, devices[0].token) as second,
        connect(fresh.device_url, devices[1].token) as other,
    ):
        fresh.cli("device", "revoke", devices[0].device_id)
        revoked = time.monotonic()
        assert first.read_close(within_s=1) == Closed(4002, "unauthorized")
        assert second.read_close(within_s=1) == Closed(4002, "unauthorized")
        assert time.monotonic() - revoked < 1
        other.get_code()


# --- rude clients of HTTP -------------------------------------------------------------------------

RUDE = {
    "nothing": b"",
    "half a line": b"GET /dev",
    "half a head": b"GET /device/server-time HTTP/1.1\r\nHost: x\r\n",
    "half a body": b"POST /device/otp/confirm HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
    "a whole request": b"GET /device/server-time HTTP/1.1\r\nHost: x\r\n\r\n",
    "an upgrade and more": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n\r\nx",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00",
}


def test_http_clients_that_vanish_are_survived(fresh: ServerProcess) -> None:
    served = (f"{fresh.http_url}/device/server-time", f"{fresh.ops_url}/livez")
    for url in served:
        for data in RUDE.values():
            for leave in (socket.socket.close, reset):
                client = open_socket(url)
                client.sendall(data)
                get(url)  # by now the server has read it
                leave(client)
                assert [get(url).status_code for url in served] == [200, 200]
    assert metric(fresh.ops_url, 'otp_handler_crashes_total{where="http"}') == 0
    assert fresh.stop() == 0


# --- the machine's limits -------------------------------------------------------------------------


@OVER_BOTH
def test_too_few_descriptors_are_survived(fresh: ServerProcess) -> None:
    devices = add_devices(fresh, 40)
    resource.prlimit(fresh.pid, resource.RLIMIT_NOFILE, (100, 100))
    opened: list[socket.socket] = []
    with connect(fresh.device_url, devices[0].token) as held:
        try:
            for _ in range(150):
                opened.append(open_socket(fresh.device_url))  # noqa: PERF401 - to be closed
            wait_until(lambda: "Too many open files" in fresh.log.read_text(), 10, "EMFILE")
            held.get_code()  # those inside are served
        finally:
            for one in opened:
                one.close()
        wait_until(lambda: metric(fresh.ops_url, "otp_device_connections") == 1, 10, "closed")
        assert get(f"{fresh.ops_url}/readyz").status_code == 200
        for device in devices[1:]:
            with connect(fresh.device_url, device.token) as raw:
                raw.get_code()
    assert fresh.stop() == 0


def test_silent_http_connections_leave_room_for_the_others(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server").start(wrapper=limited(200, 200))
    opened: list[socket.socket] = []
    try:
        [device] = add_devices(server, 1)
        for url in (server.http_url, server.ops_url):
            for _ in range(260):
                opened.append(open_socket(url))  # noqa: PERF401 - to be closed
        with connect(server.device_url, device.token) as raw:
            raw.get_code()
        for one in opened[260:]:
            one.close()
        wait_until(lambda: is_ready(server), 5, "operators get in")
        assert len(server.log.read_text()) < 20_000
        assert "Traceback" not in server.log.read_text()
        wait_until(lambda: answers(server.http_url), 15, "the silent ones were dropped")
    finally:
        for one in opened:
            one.close()
        kill(server)


def is_ready(server: ServerProcess) -> bool:
    try:
        return get(f"{server.ops_url}/readyz").status_code == 200
    except httpx2.HTTPError:
        return False


def answers(http_url: str) -> bool:
    try:
        return get(f"{http_url}/device/server-time").status_code == 200
    except httpx2.HTTPError:
        return False


LIMIT_AND_RUN = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
os.execv(sys.argv[3], sys.argv[3:])
"""


def limited(soft: int, hard: int) -> list[str]:
    """A command that runs a command under these descriptor limits."""
    return [sys.executable, "-c", LIMIT_AND_RUN, str(soft), str(hard)]


def test_the_soft_descriptor_limit_is_raised(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server").start(wrapper=limited(80, 300))
    try:
        assert '"descriptors":300,"device_connections":100' in server.log.read_text()
        assert server.stop() == 0
    finally:
        kill(server)


@OVER_BOTH
def test_the_hard_descriptor_limit_bounds_connections(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server").start(wrapper=limited(168, 168))
    opened: list[RawWebSocket] = []
    try:
        devices = add_devices(server, 9)
        for device in devices[:8]:
            opened.append(connect(server.device_url, device.token))  # noqa: PERF401 - to be closed
        for _ in range(100):
            assert refused_upgrade(server.device_url, devices[8].token).status == 503
        opened[7].get_code()
        for raw in opened:
            raw.sock.close()
        wait_until(lambda: metric(server.ops_url, "otp_device_connections") == 0, 10, "closed")
        with connect(server.device_url, devices[8].token) as raw:
            raw.get_code()
        assert server.stop() == 0
    finally:
        for raw in opened:
            raw.sock.close()
        kill(server)


# --- TLS ------------------------------------------------------------------------------------------


def test_tls_on_both_listeners(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path)
    files = f'tls_certificate = "{pair.certificate}"\ntls_key = "{pair.key}"'
    device = f'transport = "trio-websocket"\n{files}'  # the native transport speaks no TLS
    http = f'transport = "hypercorn"\n{files}'  # nor does that of HTTP
    server = ServerProcess(tmp_path / "server", device=device, http=http).start()
    try:
        assert server.device_url.startswith("wss://")
        assert server.http_url.startswith("https://")
        [device] = add_devices(server, 1)
        context = pair.client_context()
        secure = context.wrap_socket(open_socket(server.device_url), server_hostname="127.0.0.1")
        with RawWebSocket(secure) as raw:
            headers = {"Authorization": f"Bearer {device.token}"}
            raw.send_raw(upgrade_request(server.device_url, headers))
            assert raw.read_response().status == 101
            raw.send(OTP_REQUEST)
            code = raw.read_answer().otp
            with httpx2.Client(verify=context, trust_env=False) as client:
                confirm = f"{server.http_url}/device/otp/confirm"
                assert client.post(confirm, json={"otp": code}).status_code == 200
                assert client.post(confirm, json={"otp": code}).status_code == 404
            for url in (server.device_url, server.http_url):
                speak_badly(url)
            raw.send(OTP_REQUEST)
            assert not raw.read_answer().error
            begin_drain(server)
            assert raw.read_close() == Closed(1001, "draining")
        assert wait_exit(server, DRAIN_S + 5) == 0
        assert_quiet(server)
    finally:
        kill(server)


def speak_badly(url: str) -> None:
    """Plain text, TLS 1.1 and an early end, each on its own connection."""
    with RawWebSocket(open_socket(url)) as plain:
        plain.send_raw(upgrade_request(url))
        assert plain.wait_gone() in ("eof", "reset")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with open_socket(url) as sock, pytest.raises((ssl.SSLError, ConnectionResetError)):
        old.wrap_socket(sock)
    open_socket(url).close()
