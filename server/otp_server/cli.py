"""The commands of ``otp-server``. The only module that exits the process.

Every verb takes ``--config FILE``; those that print data take ``--json`` and then print one JSON
object on standard output. Errors go to standard error, say what to do, and exit 1; bad arguments
exit 2.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import trio
from cyclopts import App, Parameter

from otp_server.app import Server
from otp_server.config import (
    ensure_data_dir,
    load_config,
    render_default_config,
    resolve_keys,
)
from otp_server.errors import OtpServerError
from otp_server.registry import is_installed, open_registry
from otp_server.simulator.load import LoadOptions, read_tokens, simulate_load
from otp_server.telemetry import configure_logging, get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from otp_server.config import Config
    from otp_server.domain.device import Device
    from otp_server.services.devices import DeviceService

T = TypeVar("T")

HARD_END_MARGIN_S = 1.0
"""How long after ``server.drain_s`` a stop that hangs is cut."""
EXIT_CUT = 3
"""The exit status of a stop that had to be cut."""

ConfigFile = Annotated[
    Path | None, Parameter("--config", help="The TOML file; without one, development defaults.")
]
AsJson = Annotated[bool, Parameter("--json", negative=(), help="Print one JSON object.")]

app = App(
    name="otp-server", help="Issues and checks one-time passwords.", version_flags=["--version"]
)
device_app = App(name="device", help="The device registry.")
org_app = App(name="org", help="Organisations that confirm codes (confirm v2).")
app.command(device_app)
app.command(org_app)


# --- serve ------------------------------------------------------------------------------------


@app.command
def serve(*, config: ConfigFile = None) -> None:
    """Run the server until SIGTERM or SIGINT; a second signal ends it at once."""
    loaded = load_config(config, os.environ)
    configure_logging(loaded.server.log_level)
    if loaded.server.profile == "production" and not loaded.ops.listen.is_loopback:
        get_logger(__name__).warning(
            "the ops listener asks nobody who they are: keep it inside",
            listen=str(loaded.ops.listen),
        )
    ensure_data_dir(loaded.server.data_dir)
    keys = resolve_keys(loaded)
    server = Server(loaded, keys)
    trio.run(_serve_until_signal, server, loaded.server.drain_s)


async def _serve_until_signal(server: Server, drain_s: float) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(_drain_on_signal, server, drain_s)
        await server.run(_announce)
        nursery.cancel_scope.cancel()


async def _drain_on_signal(
    server: Server, drain_s: float, *, task_status: trio.TaskStatus[None]
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        await anext(signals)
        # Hypercorn shields its writes: while a client does not read, the run cannot end by itself.
        cut = threading.Timer(drain_s + HARD_END_MARGIN_S, os._exit, [EXIT_CUT])
        cut.daemon = True
        cut.start()
        server.drain()
        await anext(signals)
        os._exit(EXIT_CUT)


def _announce(line: str) -> None:
    print(line, flush=True)


# --- configuration --------------------------------------------------------------------------


@app.command(name="default-config")
def default_config(*, config: ConfigFile = None) -> None:  # noqa: ARG001 - every verb takes it
    """Print the commented default configuration, whatever ``--config`` says."""
    print(render_default_config(), end="")


@app.command(name="check-config")
def check_config(*, config: ConfigFile = None, json: AsJson = False) -> None:
    """Name every wrong key with its path, and say which keys the server would use; write nothing.

    A purpose without keys gets one when the development profile starts.
    """
    loaded = load_config(config, os.environ)
    keys = resolve_keys(loaded, make=False)
    ids = {
        "code": [key_id for key_id, _ in keys.code],
        "token": [key_id for key_id, _ in keys.token],
        "device_key": [key_id for key_id, _ in keys.device_key],
    }
    answer = {
        "profile": loaded.server.profile,
        "data_dir": str(loaded.server.data_dir),
        "keys": ids,
    }
    _print(answer, json, "the configuration is good: " + msgspec.json.encode(answer).decode())


# --- devices and organisations ----------------------------------------------------------------


@device_app.command(name="add")
def device_add(
    *,
    id: Annotated[str | None, Parameter(help="Its id; without one, a random id.")] = None,  # noqa: A002 - the flag's name
    name: Annotated[str, Parameter(help="A name for people.")] = "",
    config: ConfigFile = None,
    json: AsJson = False,
) -> None:
    """Register a device and print its token, which is shown only this once."""
    device, token = _with_devices(config, lambda devices: devices.add(id, name), new=True)
    answer = {"device_id": device.device_id, "token": token, "device_key": device.device_key}
    _print(
        answer, json, f"device {device.device_id}\ntoken  {token}\n(the token is not shown again)"
    )


@device_app.command(name="list")
def device_list(*, config: ConfigFile = None, json: AsJson = False) -> None:
    """Print every device, revoked ones too."""
    found = _with_devices(config, lambda devices: devices.list_all(), new=False)
    rows = [_row(device) for device in found]
    lines = [f"{'DEVICE':40} {'STATE':8} {'DEVICE KEY':32} NAME"]
    lines += [
        f"{row['device_id']:40} {'revoked' if row['revoked'] else 'active':8} "
        f"{row['device_key']:32} {row['name']}"
        for row in rows
    ]
    _print({"devices": rows}, json, "\n".join(lines))


def _row(device: Device) -> dict[str, Any]:
    return {
        "device_id": device.device_id,
        "name": device.name,
        "device_key": device.device_key,
        "created_at_ms": device.created_at_ms,
        "org_id": device.org_id,
        "revoked": device.revoked,
    }


@device_app.command(name="revoke")
def device_revoke(device_id: str, /, *, config: ConfigFile = None, json: AsJson = False) -> None:
    """Revoke a device for ever: its code ends at once, its socket closes within a second."""
    if not _with_devices(config, lambda devices: devices.revoke(device_id), new=False):
        raise OtpServerError(f"there is no device {device_id!r}: see otp-server device list")
    _print({"device_id": device_id, "revoked": True}, json, f"device {device_id} is revoked")


@org_app.command(name="add")
def org_add(name: str, /, *, config: ConfigFile = None, json: AsJson = False) -> None:
    """Register an organisation and print its key, which is shown only this once."""
    organisation, org_key = _with_devices(
        config, lambda devices: devices.add_organisation(name), new=True
    )
    answer = {"org_key": org_key, "org_id": organisation.org_id}
    _print(answer, json, f"organisation {name}\nkey {org_key}\n(the key is not shown again)")


def _with_devices(
    config: Path | None, use: Callable[[DeviceService], Awaitable[T]], *, new: bool
) -> T:
    """Open the installation's device registry, use it, close it.

    ``new`` lets the command be the first of an installation; otherwise one must be there, so that
    a command in the wrong folder does not make an empty one and answer from it.
    """
    loaded = load_config(config, os.environ)
    configure_logging("warning")
    if not is_installed(loaded):
        where = loaded.server.data_dir
        if not new:
            raise OtpServerError(
                f"there is no installation in {where}: name its --config, or start it once"
            )
        print(f"otp-server: a new installation in {where}", file=sys.stderr)
    return trio.run(_use_devices, loaded, use)


async def _use_devices(config: Config, use: Callable[[DeviceService], Awaitable[T]]) -> T:
    async with open_registry(config) as devices:
        return await use(devices)


# --- simulated devices --------------------------------------------------------------------------


@app.command
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
        report = _with_devices(config, partial(_simulate_new, run, devices), new=False)
    _print(msgspec.to_builtins(report), json, report.as_text())


async def _simulate_new(
    run: Callable[[list[str]], Awaitable[T]], count: int, devices: DeviceService
) -> T:
    """Run with devices of the local installation that exist only so long."""
    added = [await devices.add(None, "simulated") for _ in range(count)]
    try:
        return await run([token for _, token in added])
    finally:
        with trio.CancelScope(shield=True):
            for device, _ in added:
                await devices.revoke(device.device_id)


# --- the frame ------------------------------------------------------------------------------------


def _print(answer: object, as_json: bool, text: str) -> None:  # noqa: FBT001 - straight from a flag
    print(msgspec.json.encode(answer).decode() if as_json else text, flush=True)


def main() -> None:
    """Run a command and exit: 0 done, 1 it could not be, 2 it was not understood."""
    try:
        app()
    except OtpServerError as error:
        _fail(str(error))
    except ExceptionGroup as group:
        ours, others = group.split(OtpServerError)
        if others is not None or ours is None:
            raise
        _fail("; ".join(dict.fromkeys(str(error) for error in _leaves(ours))))
    except KeyboardInterrupt:
        sys.exit(130)


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _fail(message: str) -> None:
    print(f"otp-server: {message}", file=sys.stderr)
    sys.exit(1)
