"""A server inside the test's own Trio run, on real sockets: a test can reach its inside."""

from __future__ import annotations

import io
import logging
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
import trio

from otp_server.app import Server
from otp_server.config import ensure_data_dir, load_config, resolve_keys
from otp_server.telemetry import configure_logging

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

READY_S = 20.0


@dataclass(frozen=True)
class Served:
    """Where it can be reached."""

    device_url: str
    http_url: str
    ops_url: str


@asynccontextmanager
async def serve(config: Path) -> AsyncIterator[Served]:
    """Serve an installation; drained at the end."""
    loaded = load_config(config, {})
    ensure_data_dir(loaded.server.data_dir)
    server = Server(loaded, resolve_keys(loaded))
    lines: list[str] = []
    ready = trio.Event()

    def announce(line: str) -> None:
        lines.append(line)
        if line == "ready":
            ready.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run, announce)
        with trio.fail_after(READY_S):
            await ready.wait()
        said = [dict(word.split("=", 1) for word in line.split()[1:]) for line in lines[:-1]]
        urls = {words["face"]: words["url"] for words in said}
        yield Served(urls["device"], urls["http"], urls["ops"])
        server.drain()


@contextmanager
def captured_logs() -> Iterator[io.StringIO]:
    """Everything logged, at every level, as the server writes it."""
    root = logging.getLogger()
    before = root.handlers, root.level
    configured = structlog.get_config()
    stream = io.StringIO()
    configure_logging("debug", stream)
    try:
        yield stream
    finally:
        root.handlers, root.level = before
        structlog.configure(**configured)
