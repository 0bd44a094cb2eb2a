"""``websockets`` on Trio, without compression and pings: a fixed answer to each message."""

from __future__ import annotations

import logging

import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.server import ServerConnection, serve

from bench.peers import ANSWER, listener


async def _handle(ws: ServerConnection) -> None:
    try:
        async for _ in ws:
            await ws.send(ANSWER)
    except ConnectionClosed:
        return


async def _main() -> None:
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener()))]
    await serve(_handle, listeners=listeners, compression=None, ping_interval=None)


if __name__ == "__main__":
    trio.run(_main)
