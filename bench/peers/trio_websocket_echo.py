"""trio-websocket, bare: one task a connection, a fixed answer to each message."""

from __future__ import annotations

import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, WebSocketServer

from bench.peers import ANSWER, listener


async def _handle(request: WebSocketRequest) -> None:
    ws = await request.accept()
    try:
        while True:
            await ws.get_message()
            await ws.send_message(ANSWER)
    except ConnectionClosed:
        return


async def _main() -> None:
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener()))]
    await WebSocketServer(_handle, listeners).run()


if __name__ == "__main__":
    trio.run(_main)
