"""The demonstration: a device's code is confirmed by an app, and a back end verifies an address.

``python -m otp_server.simulator.demo`` beside a running server of the same installation. Speaks to
the server as any client would: WebSocket and HTTP; only the device and the API client are
registered locally.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import trio

from otp_server.config import load_config
from otp_server.errors import OtpServerError
from otp_server.registry import open_installation
from otp_server.simulator.demo_device import show_device
from otp_server.simulator.demo_processes import show_process
from otp_server.simulator.demo_steps import step

if TYPE_CHECKING:
    from otp_server.config import Config


async def demonstrate(config: Config, device_url: str, http_url: str) -> None:
    """Run the steps; SimulationError names the first that went wrong."""
    async with open_installation(config) as installation:
        await show_device(installation.devices, device_url, http_url)
        step("")
        outbox = config.server.data_dir / "outbox.jsonl"
        await show_process(installation.clients, outbox, http_url)


def main() -> int:
    """0 when every step went as it should."""
    failed = 0
    try:
        config = load_config(None, os.environ)
        device_url = f"ws://{config.device.listen}{config.device.path}"
        trio.run(demonstrate, config, device_url, f"http://{config.http.listen}")
    except* OtpServerError as group:
        failed = 1
        for error in group.exceptions:
            print(f"demo: {error}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
