"""What stands outside the server: apps that confirm codes over HTTP, and devices made in bulk."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2
import trio
from trio_websocket import wrap_client_stream

from otp_server.config import load_config
from otp_server.registry import open_installation
from otp_server.simulator.device import Answer, SimulatedDevice

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ROUTES = (
    "/device/otp/confirm",
    "/device/otp/confirm/v2",
    "/device/otp/confirm-quick-session",
)
APP_WAIT_S = 30.0


@dataclass(frozen=True)
class Registered:
    """The devices and the organisation of an installation, with their secrets."""

    devices: list[tuple[str, str]]
    device_keys: dict[str, str]
    org_key: str


def register(config: Path, count: int) -> Registered:
    """Add devices and an organisation to an installation that is not being served."""
    return trio.run(register_in_trio, config, count)


async def register_in_trio(config: Path, count: int) -> Registered:
    """The same, for a test that is in Trio already."""
    loaded = load_config(config, {})
    async with open_installation(loaded) as installation:
        service = installation.devices
        added = [await service.add(f"device-{n:03}", "") for n in range(count)]
        _, org_key = await service.add_organisation("an app")
    return Registered(
        [(device.device_id, token) for device, token in added],
        {device.device_key: device.device_id for device, _ in added},
        org_key,
    )


@dataclass(frozen=True)
class App:
    """An app with an organisation's key. Raises httpx2.HTTPError for a broken connection."""

    http: httpx2.AsyncClient
    org_key: str = ""

    async def confirm(self, code: str, route: int = 0) -> httpx2.Response:
        headers = {"X-Org-Key": self.org_key} if route == 1 else {}
        return await self.http.post(ROUTES[route], json={"otp": code}, headers=headers)


@asynccontextmanager
async def open_app(
    http_url: str, org_key: str = "", *, connections: int = 64
) -> AsyncIterator[App]:
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    async with httpx2.AsyncClient(
        base_url=http_url, limits=limits, timeout=APP_WAIT_S, trust_env=False
    ) as http:
        yield App(http, org_key)


def device_key_of(answer: dict[str, Any]) -> str:
    """The device a confirmation's answer speaks of, whatever the route."""
    if "device_key" in answer:
        return str(answer["device_key"])
    claims = answer["token"].split(".")[1]
    claims += "=" * (-len(claims) % 4)
    return str(json.loads(base64.urlsafe_b64decode(claims))["device_key"])


@asynccontextmanager
async def connect(url: str, token: str) -> AsyncIterator[SimulatedDevice]:
    """A device on a socket of our own: trio-websocket leaves it open when the server was killed."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    headers = [(b"authorization", f"Bearer {token}".encode())]
    async with (
        await trio.open_tcp_stream(parts.hostname, parts.port) as stream,
        trio.open_nursery() as nursery,
    ):
        ws = await wrap_client_stream(
            nursery, stream, f"{parts.hostname}:{parts.port}", parts.path, extra_headers=headers
        )
        yield SimulatedDevice(ws)
        await ws.aclose()


async def ask(device: SimulatedDevice) -> Answer:
    """One request and its answer."""
    await device.ask()
    return await device.answer()
