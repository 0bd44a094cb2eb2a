"""Our device transports alone: a face that answers each frame with a fixed one.

    python -m bench.echo_face --transport trio-websocket [--answer-bytes 40] [--timer]

Prints ``listening port=N``; ends at SIGTERM. With ``--timer`` a 1 ms timer runs beside it and each
SIGUSR1 prints how late it was. Exit status 3, with the reason, when the transport is not there.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import trio

from bench.lateness import TimerWatch
from otp_server.core import encode_frame
from otp_server.telemetry import Metrics, configure_logging
from otp_server.transport.guard import GuardLimits
from otp_server.transport.options import SEND_BUFFER_BYTES, LinkOptions
from otp_server.transport.sockets import (
    open_listener,
    open_reactor_listener,
    raise_descriptor_limit,
)
from otp_server.transport.websocket import WebSocketTransport

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otp_server.core import Frame
    from otp_server.errors import ErrorKind
    from otp_server.transport.seam import LinkSide, Upgrade

EXIT_NOT_HERE = 3
OTP_RESPONSE = 20
_UNBOUNDED = 1 << 30
_HEADER_BYTES = 3


class EchoFace:
    """Lets everybody in and answers each frame."""

    def __init__(self, answer: bytes, *, planted: bool) -> None:
        self._answer = answer
        self._links: LinkSide | None = None
        self._planted = planted

    def attach(self, links: LinkSide) -> None:
        """Give the transport that answers go to."""
        self._links = links

    async def admit(self, upgrades: Sequence[Upgrade]) -> list[ErrorKind | None]:
        """Everybody."""
        return [None] * len(upgrades)

    def received(self, frames: Iterable[tuple[int, Frame]]) -> None:
        """One answer a frame."""
        answers = [(connection, self._answer) for connection, _ in frames]
        if self._planted:
            for _ in answers:
                sum(range(20_000))  # a regression, planted to see the gate red
        if self._links is not None:
            self._links.send_many(answers)

    def closed(self, connections: Iterable[int]) -> None:
        """Nothing is kept."""


def fixed_answer(length: int) -> bytes:
    """The frame that the floor and every peer give too."""
    return encode_frame(OTP_RESPONSE, bytes(n % 251 for n in range(_HEADER_BYTES, length)))


def make_transport(name: str, face: EchoFace) -> tuple[Any, Any, int]:
    """The transport of that name mounted on the face, what it serves, and the port.

    ImportError when there is none of that name.
    """
    options = LinkOptions(
        path="/ws/device",
        frame_bytes_max=1024,
        connections_max=raise_descriptor_limit(),
        ping_interval_s=3600,
        ping_misses=2,
        guard=GuardLimits(burst_bytes=_UNBOUNDED, bytes_per_s=_UNBOUNDED),
    )
    if name == "trio-websocket":
        opened = open_listener("127.0.0.1", 0)
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(opened))]
        port: int = opened.getsockname()[1]
        return WebSocketTransport(face, options, Metrics()), listeners, port
    from otp_server.transport.native import NativeTransport  # noqa: PLC0415 - Linux only

    listener = open_reactor_listener("127.0.0.1", 0, send_buffer_bytes=SEND_BUFFER_BYTES)
    return NativeTransport(face, options, Metrics()), listener, listener.getsockname()[1]


async def serve(name: str, answer_bytes: int, *, timer: bool) -> None:
    """Serve until SIGTERM."""
    face = EchoFace(fixed_answer(answer_bytes), planted=bool(os.environ.get("BENCH_PLANT")))
    transport, listener, port = make_transport(name, face)
    face.attach(transport)
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.serve, listener)
        if timer:
            watch = TimerWatch()
            await nursery.start(watch.report_on_signal)
            nursery.start_soon(watch.run)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            print(f"listening port={port}", flush=True)
            await anext(signals)
        nursery.cancel_scope.cancel()


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--transport", default="trio-websocket")
    parser.add_argument("--answer-bytes", type=int, default=40)
    parser.add_argument("--timer", action="store_true")
    arguments = parser.parse_args()
    configure_logging("error")
    try:
        trio.run(lambda: serve(arguments.transport, arguments.answer_bytes, timer=arguments.timer))
    except ImportError as error:
        print(f"the transport {arguments.transport!r} is not there: {error}", file=sys.stderr)
        return EXIT_NOT_HERE
    return 0


if __name__ == "__main__":
    sys.exit(main())
