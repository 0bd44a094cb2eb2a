"""Our whole server, as ``otp-server serve`` runs it, and a timer beside it.

    python -m bench.harness --config FILE [--timer]

Prints the server's own lines (``listening face=... url=...``, ``ready``) and drains at SIGTERM.
``--http-connections`` are let in on the HTTP listener, as by a server with more descriptors. With
``--timer`` a 1 ms timer runs beside the server, and each SIGUSR1 and the end print a line of JSON
with how late it was. (Without it: the timer costs a wake-up of Trio each millisecond.)
"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

import trio

from bench.lateness import TimerWatch
from otp_server.app import Server
from otp_server.config import ensure_data_dir, load_config, resolve_keys
from otp_server.telemetry import configure_logging
from otp_server.transport import sockets


async def serve(server: Server, watch: TimerWatch | None) -> None:
    """Serve until SIGTERM, and drain."""
    async with trio.open_nursery() as nursery:
        await nursery.start(_drain_on_signal, server)
        if watch is not None:
            await nursery.start(watch.report_on_signal)
            nursery.start_soon(watch.run)
        await server.run(lambda line: print(line, flush=True))
        nursery.cancel_scope.cancel()


async def _drain_on_signal(server: Server, *, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            server.drain()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--timer", action="store_true")
    parser.add_argument("--http-connections", type=int)
    arguments = parser.parse_args()
    if arguments.http_connections:
        sockets._HTTP_CONNECTIONS = (arguments.http_connections,) * 2  # noqa: SLF001 - no option
    config = load_config(arguments.config, os.environ)
    configure_logging(config.server.log_level)
    ensure_data_dir(config.server.data_dir)
    watch = TimerWatch() if arguments.timer else None
    trio.run(serve, Server(config, resolve_keys(config)), watch)
    if watch is not None:
        print(watch.take(), flush=True)


if __name__ == "__main__":
    main()
