"""Codes for the devices of an installation, as the server issues them: one each, into a file.

    python -m bench.device_codes --config FILE --count 2000 --out codes.txt

One code a line, mode 0600. It may run beside the server: a device's new code ends its last one.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import trio

from otp_server.app.base import Base
from otp_server.app.services import Services
from otp_server.clock import SteadyClock
from otp_server.config import Config, load_config, resolve_keys
from otp_server.domain.outcome import Issued
from otp_server.stores import open_store
from otp_server.telemetry import Metrics, configure_logging

_BATCH = 256


async def issue(config: Config, count: int) -> list[str]:
    """A code of each of the first ``count`` devices; SystemExit when one is refused."""
    store = await open_store(config.store.url, config.server.data_dir)
    try:
        services = Services(config, Base(resolve_keys(config), store, SteadyClock(), Metrics()))
        devices = [device.device_id for device in await services.devices.list_all()][:count]
        codes: list[str] = []
        for first in range(0, len(devices), _BATCH):
            for outcome in await services.issue.issue_many(devices[first : first + _BATCH]):
                if not isinstance(outcome, Issued):
                    raise SystemExit(f"a code was not issued: {outcome}")
                codes.append(outcome.passcode.reveal())
        return codes
    finally:
        await store.aclose()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    configure_logging("warning")
    codes = trio.run(issue, load_config(arguments.config, os.environ), arguments.count)
    arguments.out.touch(mode=0o600)
    arguments.out.write_text("".join(f"{code}\n" for code in codes))


if __name__ == "__main__":
    main()
