"""Connections that are not let in yet keep no device out (requirement 61)."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from otp_server.domain.address import parse_networks
from otp_server.errors import ErrorKind
from tests.support.observe import until
from tests.support.transport_stage import (
    HERE,
    THERE,
    Face,
    options,
    serving,
)

pytestmark = pytest.mark.usefixtures("each_transport")

# --- who has not come in yet ----------------------------------------------------------------------


@pytest.mark.parametrize("source", [HERE, THERE])
async def test_silent_connections_keep_no_device_out(source: str) -> None:
    face = Face()
    async with serving(face, connections_max=20) as served, served.silent(200):
        async with served.connect(source) as ws:
            await ws.echo()
        assert served.value("otp_device_upgrades_total", outcome="refused") == 0


async def test_silent_connections_are_bounded_and_an_address_beyond_its_claim_goes_first() -> None:
    face, most = Face(), options().entrance_max
    async with serving(face) as served, served.silent(1, THERE) as others, served.silent(80) as own:
        await until(lambda: served.dropped == 81 - most and served.connections == most)
        claim = options().entrance_per_address
        assert await own[claim].stream.receive_some() == b""
        for client in (others[0], own[0], own[claim - 1], own[-1]):
            await client.stream.send_all(served.request)
            status, _ = await client.read_response()
            assert status == 101


async def test_silent_connections_of_many_addresses_are_bounded() -> None:
    face = Face()
    async with serving(face) as served, AsyncExitStack() as opened:
        for n in range(10):
            await opened.enter_async_context(served.silent(10, f"127.0.1.{n}"))
        await until(lambda: served.connections == options().entrance_max)
        async with served.connect() as ws:
            await ws.echo()


async def test_a_slow_upgrade_outlasts_a_flood_from_elsewhere() -> None:
    face = Face()
    async with serving(face) as served, await served.dial(THERE) as slow:
        half = len(served.request) // 2
        await slow.stream.send_all(served.request[:half])
        async with served.silent(200):
            await slow.stream.send_all(served.request[half:])
            status, _ = await slow.read_response()
            assert status == 101


async def test_a_trusted_proxy_may_bring_many() -> None:
    face, most = Face(), options().entrance_max
    trusted = parse_networks(["10.0.0.0/8", "127.0.0.0/30"])
    async with (
        serving(face, trusted=trusted) as served,
        served.silent(1, "127.0.1.1"),
        served.silent(most - 1) as brought,
    ):
        await until(lambda: served.connections == most)
        async with served.silent(20, "127.0.1.2"):
            await until(lambda: served.dropped == 20)
            await brought[-1].stream.send_all(served.request)
            status, _ = await brought[-1].read_response()
            assert status == 101


async def test_refused_connections_are_bounded_too() -> None:
    face = Face(verdict=lambda: [ErrorKind.UNAUTHORIZED])
    async with serving(face, close_s=5) as served, AsyncExitStack() as opened:
        for _ in range(80):
            client = await opened.enter_async_context(await served.ask())
            status, _ = await client.read_response()
            assert status == 401
        assert served.connections <= options().entrance_max
        assert face.gone == []


async def test_only_those_let_in_count_for_the_limit() -> None:
    face = Face()
    async with serving(face, connections_max=2) as served, served.silent(10):
        async with served.connect(), served.connect() as second:
            status, _ = await served.refused()
            assert status == 503
            await second.echo()
            face.verdict = lambda: [ErrorKind.UNAUTHORIZED]
        await until(lambda: len(face.gone) == 2)
        for _ in range(5):  # those who are refused leave room
            assert (await served.refused())[0] == 401
        face.verdict = lambda: [None]
        async with served.connect(), served.connect():
            pass
