"""Registers many devices in one go, through the same service as ``otp-server device add``.

    python -m bench.devices --config FILE --count 10000 --tokens tokens.txt

The command line opens the store once for each device; here all of them wait together, so that they
share transactions. Tokens go to the file, one a line, mode 0600.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from otp_server.config import load_config
from otp_server.registry import open_installation
from otp_server.telemetry import configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otp_server.config import Config
    from otp_server.services.devices import DeviceService

_TASKS = 256


async def register(config: Config, count: int) -> list[str]:
    """Add ``count`` devices; their tokens."""
    tokens: list[str] = []
    left = iter(range(count))
    async with open_installation(config) as installation, trio.open_nursery() as nursery:
        devices = installation.devices
        for _ in range(min(_TASKS, count)):
            nursery.start_soon(_add_some, devices, left, tokens)
    return tokens


async def _add_some(devices: DeviceService, left: Iterator[int], tokens: list[str]) -> None:
    for _ in left:  # one iterator, shared by all tasks
        _, token = await devices.add(None, "bench")
        tokens.append(token)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--tokens", type=Path, required=True)
    arguments = parser.parse_args()
    config = load_config(arguments.config, os.environ)
    configure_logging("warning")
    tokens = trio.run(register, config, arguments.count)
    arguments.tokens.touch(mode=0o600)
    arguments.tokens.write_text("\n".join(tokens) + "\n")


if __name__ == "__main__":
    main()
