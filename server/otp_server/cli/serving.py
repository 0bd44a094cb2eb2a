"""Running the server, and its configuration."""

from __future__ import annotations

import os
import signal
import threading
from typing import Final

import msgspec
import trio

from otp_server.app import Server
from otp_server.cli.frame import AsJson, ConfigFile, show
from otp_server.config import (
    PURPOSES,
    ensure_data_dir,
    load_config,
    render_default_config,
    resolve_keys,
    svc_warnings,
)
from otp_server.telemetry import configure_logging, get_logger

HARD_END_MARGIN_S: Final = 1.0
"""How long after ``server.drain_s`` a stop that hangs is cut."""
EXIT_CUT: Final = 3
"""The exit status of a stop that had to be cut."""


def serve(*, config: ConfigFile = None) -> None:
    """Run the server until SIGTERM or SIGINT; a second signal ends it at once."""
    loaded = load_config(config, os.environ)
    configure_logging(loaded.server.log_level)
    if loaded.server.profile == "production" and not loaded.ops.listen.is_loopback:
        get_logger(__name__).warning(
            "the ops listener asks nobody who they are: keep it inside",
            listen=str(loaded.ops.listen),
        )
    for key, why in svc_warnings(loaded):
        get_logger(__name__).warning(f"{key} = true: {why}", key=key)
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


def default_config(*, config: ConfigFile = None) -> None:  # noqa: ARG001 - every verb takes it
    """Print the commented default configuration, whatever ``--config`` says."""
    print(render_default_config(), end="")


def check_config(*, config: ConfigFile = None, json: AsJson = False) -> None:
    """Name every wrong key with its path, and say which keys the server would use; write nothing.

    A purpose without keys gets one when the development profile starts.
    """
    loaded = load_config(config, os.environ)
    keys = resolve_keys(loaded, make=False)
    ids = {name: [key_id for key_id, _ in getattr(keys, name)] for name in PURPOSES}
    answer = {
        "profile": loaded.server.profile,
        "data_dir": str(loaded.server.data_dir),
        "keys": ids,
    }
    show(answer, json, "the configuration is good: " + msgspec.json.encode(answer).decode())
