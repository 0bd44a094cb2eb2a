"""picows on uvloop: callbacks, no task a connection."""

from __future__ import annotations

import asyncio

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from bench.peers import ANSWER, listener


class _Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        elif frame.msg_type == WSMsgType.BINARY:
            transport.send(WSMsgType.BINARY, ANSWER)


def _make(_: WSUpgradeRequest) -> _Echo:
    return _Echo()


async def _main() -> None:
    server = await ws_create_server(_make, sock=listener(), backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main())
