"""HTTP connections over the reactor of the Rust core: one Trio task for all of them (Linux).

The reactor reads the requests for the hot operations, and the face answers them in batches. A
connection's first request for anything else hands its socket to Hypercorn (``transport.http``),
with the bytes read so far, for the rest of its life: so both are behind one port.

A connection that asks only for hot operations is no Python object, and costs no task.
"""

from __future__ import annotations

import os
import socket
from functools import partial
from time import time
from typing import TYPE_CHECKING

import trio

from otp_server.core import HttpReactor, HttpReactorOptions
from otp_server.telemetry import get_logger
from otp_server.transport.http import (
    CLOSE_S,
    HEAD_BYTES_MAX,
    HEAD_S,
    KEEP_ALIVE_S,
    REQUEST_S,
    WRITE_S,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from otp_server.core import HttpBatch, ReactorListener
    from otp_server.telemetry import Metrics
    from otp_server.transport.hot_seam import Answer, HotOptions, HotSide
    from otp_server.transport.http import HttpConnections, HttpLimits

POLL_US = 1000
"""How long one poll may keep the other tasks waiting."""
_TELL_AGAIN_S = 10
_MS = 1000

log = get_logger(__name__)


def reactor_options(options: HotOptions, limits: HttpLimits) -> HttpReactorOptions:
    """The bounds of ``transport.http``, as the core takes them."""
    return HttpReactorOptions(
        routes=options.routes,
        connections_max=limits.connections,
        per_address_max=limits.per_address,
        trusted=[str(network) for network in limits.trusted_proxies],
        head_bytes_max=HEAD_BYTES_MAX,
        body_bytes_max=options.body_bytes_max,
        head_ms=HEAD_S * _MS,
        request_ms=REQUEST_S * _MS,
        idle_ms=KEEP_ALIVE_S * _MS,
        write_ms=WRITE_S * _MS,
        close_ms=CLOSE_S * _MS,
    )


class HotTransport:
    """Serves hot operations on one listener. Implements :class:`transport.hot_seam.AnswerSide`."""

    def __init__(
        self,
        face: HotSide,
        connections: HttpConnections,
        options: HttpReactorOptions,
        metrics: Metrics,
    ) -> None:
        """``connections`` takes what is handed over, within its own limits."""
        self._face = face
        self._connections = connections
        self._options = options
        self._metrics = metrics
        self._reactor: HttpReactor | None = None
        self._draining = False
        self._idle = trio.CancelScope()  # around the wait, while there is one
        self._starved_told_at = float("-inf")

    def send_many(self, answers: Sequence[Answer]) -> None:
        """Send whole answers; what cannot be said in HTTP is a bug, and its peer is told 500."""
        reactor = self._reactor
        if reactor is None:
            return
        try:
            unsayable = reactor.send_many(answers, _now_ms(), _unix_s())
        except Exception:
            log.exception("answers were not taken", count=len(answers))
            unsayable = sum(_send_alone(reactor, answer) for answer in answers)
        if unsayable:
            self._note_crashes(unsayable)
            log.error("answers that are no HTTP", count=unsayable)
        self._look_again(reactor)

    async def serve(
        self, listener: ReactorListener, *, stop: Callable[[], Awaitable[None]]
    ) -> None:
        """Serve until ``stop`` returns, then end what is idle and finish what was begun.

        The listener is consumed. Cancellation ends every connection; it is how the caller bounds
        the finishing.
        """
        reactor = HttpReactor(listener, self._options)
        self._reactor = reactor
        try:
            async with trio.open_nursery() as handling:
                async with trio.open_nursery() as polling:
                    polling.start_soon(self._drain_after, stop, reactor)
                    while not self._draining or reactor.connections or reactor.has_more:
                        await self._wait(reactor)
                        self._hand_on(reactor.poll(_now_ms(), POLL_US, _unix_s()))
                        for number, begun, _ in reactor.take_handovers():
                            taken = _socket_of(number)
                            if taken is not None:
                                handling.start_soon(self._connections.adopt, taken, begun)
                await self._connections.drain()  # those that came while it drained
        finally:
            self._reactor = None  # and with it every socket

    async def _drain_after(self, stop: Callable[[], Awaitable[None]], reactor: HttpReactor) -> None:
        await stop()
        reactor.stop_accepting()
        reactor.drain()
        self._draining = True
        self._idle.cancel()
        await self._connections.drain()

    async def _wait(self, reactor: HttpReactor) -> None:
        if reactor.has_more:
            await trio.lowlevel.checkpoint()
            return
        with trio.CancelScope(deadline=_trio_time(reactor.next_deadline())) as self._idle:
            await trio.lowlevel.wait_readable(reactor.fileno())

    def _look_again(self, reactor: HttpReactor) -> None:
        """A call from outside may have left something to poll for, or an earlier deadline."""
        if reactor.has_more:
            self._idle.cancel()
            return
        deadline = _trio_time(reactor.next_deadline())
        self._idle.deadline = min(self._idle.deadline, deadline)

    def _hand_on(self, batch: HttpBatch) -> None:
        if batch.requests:
            try:
                self._face.received(batch.requests)
            except Exception:  # what is not answered then, its deadline ends
                self._note_crashes(1)
                log.exception("taking requests failed", count=len(batch.requests))
        if batch.refused:
            self._connections.note_refusals(batch.refused)
        if batch.starved is not None and trio.current_time() >= self._starved_told_at:
            self._starved_told_at = trio.current_time() + _TELL_AGAIN_S
            log.warning("accepting HTTP connections pauses", why=os.strerror(batch.starved))
        if batch.panics:
            self._note_crashes(batch.panics)
            log.error("the core lost HTTP connections to a bug", count=batch.panics)

    def _note_crashes(self, count: int) -> None:
        self._metrics.crashes.labels(where="http").inc(count)


def _socket_of(number: int) -> socket.socket | None:
    """The socket of a descriptor; None when it broke so badly that it cannot be told apart."""
    try:
        return socket.socket(fileno=number)
    except OSError:
        os.close(number)
        return None


def _send_alone(reactor: HttpReactor, answer: Answer) -> int:
    """Send one answer: 0, or 1 when it cannot be said and 500 was told."""
    request, _, _, _, _ = answer
    send = partial(reactor.send_many, now_ms=_now_ms(), unix_s=_unix_s())
    try:
        return send([answer])
    except Exception:
        log.exception("an answer was not taken")
        send([(request, 500, "", (), b"")])
        return 1


def _now_ms() -> int:
    return int(trio.current_time() * _MS)


def _unix_s() -> int:
    return int(time())


def _trio_time(deadline_ms: int | None) -> float:
    """The deadline on Trio's clock, rounded up: a poll before its time would do nothing."""
    return float("inf") if deadline_ms is None else (deadline_ms + 1) / _MS
