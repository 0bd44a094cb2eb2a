"""The core's HTTP alone: batches of requests, decoded and answered in Python with msgspec.

    python -m bench.hot_face

One operation, ``POST /otp/handshake``: its body is read as ``Asked``, its bearer token is looked
at, and the answer is rendered anew each time. Nothing is stored. Prints ``listening port=N``; ends
at SIGTERM.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import msgspec
import trio

from otp_server.core import HttpReactor, HttpReactorOptions, ReactorListener

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.core import HttpRequest

PATH = "/otp/handshake"
POLL_US = 1000
CONNECTIONS = 4096
BODY_BYTES_MAX = 65_536

HttpAnswer = tuple["HttpRequest", int, str, "Sequence[tuple[str, str]]", bytes]


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """What a request's body says."""

    type: str
    email: str


class Answered(msgspec.Struct):
    """What is answered."""

    type: str
    contact: str
    attempts: int
    ttl: int
    length: int


_decode = msgspec.json.Decoder(Asked).decode
_encode = msgspec.json.Encoder().encode


def answer_to(body: bytes) -> bytes:
    """The answer's body for a request's; ValueError when it cannot be read."""
    asked = _decode(body)
    return _encode(Answered(asked.type, asked.email, 3, 300, 6))


def answer_all(requests: Sequence[HttpRequest], *, planted: bool) -> list[HttpAnswer]:
    """An answer to each."""
    answers: list[HttpAnswer] = []
    for request in requests:
        if planted:
            sum(range(20_000))  # a regression, planted to see the gate red
        status, body = 200, b"{}"
        if not request.headers.get("authorization", "").startswith("Bearer "):
            status = 401
        else:
            try:
                body = answer_to(request.body or b"")
            except msgspec.DecodeError:
                status = 400
        answers.append((request, status, "application/json", (), body))
    return answers


async def serve(reactor: HttpReactor) -> None:
    """Answer until cancelled."""
    planted = bool(os.environ.get("BENCH_PLANT"))
    while True:
        if reactor.has_more:
            await trio.lowlevel.checkpoint()
        else:
            deadline = reactor.next_deadline()
            due = float("inf") if deadline is None else (deadline + 1) / 1000
            with trio.CancelScope(deadline=due):
                await trio.lowlevel.wait_readable(reactor.fileno())
        now_ms, unix_s = int(trio.current_time() * 1000), int(time.time())
        batch = reactor.poll(now_ms, POLL_US, unix_s)
        if batch.requests:
            answers = answer_all(batch.requests, planted=planted)
            reactor.send_many(answers, now_ms, unix_s)


async def main() -> None:
    """Serve until SIGTERM."""
    listener = ReactorListener("127.0.0.1", 0)
    _, port = listener.getsockname()
    options = HttpReactorOptions(
        routes=[("POST", PATH)],
        connections_max=CONNECTIONS,
        per_address_max=CONNECTIONS,
        trusted=[],
        head_bytes_max=16_384,
        body_bytes_max=BODY_BYTES_MAX,
        head_ms=8_000,
        request_ms=30_000,
        idle_ms=75_000,
        write_ms=10_000,
        close_ms=2_000,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, HttpReactor(listener, options))
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            print(f"listening port={port}", flush=True)
            await anext(signals)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
