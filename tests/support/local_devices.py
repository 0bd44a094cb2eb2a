"""Many devices of a running installation at once: the registry itself, not a command for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import trio

from otp_server.config import load_config
from otp_server.registry import open_installation

if TYPE_CHECKING:
    from tests.support.server_process import ServerProcess


class LocalDevice(NamedTuple):
    device_id: str
    token: str
    device_key: str


def add_devices(server: ServerProcess, count: int) -> list[LocalDevice]:
    """New devices."""
    return trio.run(_add, server, count)


async def _add(server: ServerProcess, count: int) -> list[LocalDevice]:
    async with open_installation(load_config(server.config, {})) as installation:
        devices = installation.devices
        added = [await devices.add(None, "test") for _ in range(count)]
    return [LocalDevice(d.device_id, token, d.device_key) for d, token in added]
