"""Simulated devices against any server."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path  # noqa: TC003 - read for the flags while the program runs
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
import trio
from cyclopts import Parameter

from otp_server.cli.frame import AsJson, ConfigFile, show, with_installation
from otp_server.simulator.load import LoadOptions, read_tokens, simulate_load

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from otp_server.registry import Installation

T = TypeVar("T")


def simulate(  # noqa: PLR0913 - each argument is a flag
    *,
    url: Annotated[str, Parameter(help="ws://HOST:PORT/ws/device")],
    devices: Annotated[int, Parameter(help="How many connections.")] = 10,
    rate: Annotated[float, Parameter(help="OTP requests per second, of all devices.")] = 1.0,
    duration: Annotated[float, Parameter(help="Seconds of load.")] = 10.0,
    tokens: Annotated[
        Path | None,
        Parameter(help="Device tokens, one a line; without, devices are added and then revoked."),
    ] = None,
    config: ConfigFile = None,
    json: AsJson = False,
) -> None:
    """Simulate devices against any server and print latency percentiles of its answers."""
    options = LoadOptions(url, devices, rate, duration, show_progress=sys.stderr.isatty())
    run = partial(simulate_load, options)
    if tokens is not None:
        report = trio.run(run, read_tokens(tokens, devices))
    else:
        report = with_installation(config, partial(_simulate_new, run, devices), new=False)
    show(msgspec.to_builtins(report), json, report.as_text())


async def _simulate_new(
    run: Callable[[list[str]], Awaitable[T]], count: int, installation: Installation
) -> T:
    """Run with devices of the local installation that exist only so long."""
    devices = installation.devices
    added = [await devices.add(None, "simulated") for _ in range(count)]
    try:
        return await run([token for _, token in added])
    finally:
        with trio.CancelScope(shield=True):
            for device, _ in added:
                await devices.revoke(device.device_id)
