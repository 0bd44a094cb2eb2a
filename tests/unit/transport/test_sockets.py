"""Listening sockets, TLS files and descriptors."""

from __future__ import annotations

import logging
import resource
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from otp_server.errors import ConfigError
from otp_server.transport.sockets import (
    TlsFiles,
    calm_accept_log,
    client_sockets_possible,
    connections_possible,
    http_connections_possible,
    open_listener,
    open_reactor_listener,
    raise_descriptor_limit,
    url_of,
)
from tests.support.certificates import make_certificate


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with open_listener("127.0.0.1", 0) as opened:
        yield opened


def test_port_0_picks_a_free_port_and_the_url_shows_it(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert port > 0
    assert url_of(listener, "ws", "/ws/device") == f"ws://127.0.0.1:{port}/ws/device"
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    assert not listener.getblocking()


def test_ipv6_addresses_are_bracketed() -> None:
    try:
        opened = open_listener("::1", 0)
    except ConfigError:
        pytest.skip("this machine has no IPv6 loopback")
    with opened:
        assert url_of(opened, "http") == f"http://[::1]:{opened.getsockname()[1]}"


def test_a_taken_port_is_named(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: Address already in use"):
        open_listener("127.0.0.1", port)


def test_a_host_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="no address to listen on"):
        open_listener("256.256.256.256", 0)


def test_descriptors_bound_connections() -> None:
    assert connections_possible(1000, 234, 1_000_000) == 1000 - 64 - 234 - 70  # not let in yet
    assert connections_possible(1 << 20, 4096, 1_000_000) == 1_000_000
    assert connections_possible(1_000_000, 4096, 500) == 500
    assert connections_possible(10, 8, 500) == 1
    assert client_sockets_possible(1000, 10_000) == 58
    assert client_sockets_possible(1_000_000, 10_000) == 10_000
    assert client_sockets_possible(10, 10_000) == 1
    assert http_connections_possible(1000) == 234
    assert http_connections_possible(1_000_000) == 4096
    assert http_connections_possible(10) == 8
    assert http_connections_possible(1000, 2) == 234  # 117 each
    assert http_connections_possible(1_000_000, 2) == 8192


def test_the_accept_loop_tells_of_its_trouble_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calm_accept_log()
    calm_accept_log()
    trio_log = logging.getLogger("trio.serve_listeners")
    for _ in range(50):
        trio_log.error("accept returned EMFILE", exc_info=OSError(24, "Too many open files"))
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info is None


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[1], 256), before[1]))
        assert raise_descriptor_limit() == before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_tls_context_speaks_nothing_old(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path)
    context = TlsFiles(str(pair.certificate), str(pair.key)).context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE  # devices show a token, not a certificate


@pytest.mark.parametrize("content", [None, "no PEM"])
def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "certificate.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=r"certificate\.pem"):
        TlsFiles(str(file), str(file)).context()


def test_the_reactors_listener_is_one_like_others(listener: socket.socket) -> None:
    opened = open_reactor_listener("localhost", 0)
    port = opened.getsockname()[1]
    assert url_of(opened, "ws") == f"ws://127.0.0.1:{port}"
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    taken = listener.getsockname()[1]
    with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{taken}: Address already"):
        open_reactor_listener("127.0.0.1", taken)
    opened.close()
    opened.close()
    with pytest.raises(RuntimeError, match="closed"):
        opened.getsockname()


def test_several_processes_may_share_a_port() -> None:
    first = open_reactor_listener("127.0.0.1", 0, reuse_port=True)
    second = open_reactor_listener("127.0.0.1", first.getsockname()[1], reuse_port=True)
    assert first.getsockname() == second.getsockname()
