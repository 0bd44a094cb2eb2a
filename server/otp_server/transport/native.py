"""Device connections over the reactor of the Rust core: one Trio task for all of them (Linux).

The reactor owns the sockets in an epoll set of its own. The task waits until the set's descriptor
is readable or a deadline of the reactor has come, polls it, and hands the batch to the face.
Upgrades are decided in a second task, so that polling goes on while the store is asked; the
upgrades that come meanwhile are the next batch. Answers go out in the call that brings them.

Nothing is kept here for a connection that is open: thousands of idle ones cost no Python object.
"""

from __future__ import annotations

import os
from operator import length_hint
from typing import TYPE_CHECKING

import trio

from otp_server.core import Reactor, ReactorOptions
from otp_server.errors import ErrorKind
from otp_server.telemetry import get_logger
from otp_server.transport.options import OUTBOX_BYTES_MAX
from otp_server.transport.seam import Upgrade

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.core import Frame, ReactorBatch, ReactorListener
    from otp_server.telemetry import Metrics
    from otp_server.transport.options import LinkOptions
    from otp_server.transport.seam import FaceSide

POLL_US = 1000
"""How long one poll may keep the other tasks waiting."""

log = get_logger(__name__)


def reactor_options(options: LinkOptions, *, echo: bool = False) -> ReactorOptions:
    """The same bounds, as the core takes them."""
    guard = options.guard
    return ReactorOptions(
        connections_max=options.connections_max,
        entrance_max=options.entrance_max,
        entrance_per_address=options.entrance_per_address,
        trusted=[str(network) for network in options.trusted],
        frame_bytes_max=options.frame_bytes_max,
        message_bytes_max=guard.message_bytes_max,
        fragments_max=guard.fragments_max,
        burst_bytes=guard.burst_bytes,
        bytes_per_s=guard.bytes_per_s,
        item_bytes=guard.item_bytes,
        outbox_bytes_max=4 * guard.message_bytes_max if echo else OUTBOX_BYTES_MAX,
        upgrade_ms=_ms(options.upgrade_s),
        frame_ms=_ms(options.frame_s),
        ping_interval_ms=_ms(options.ping_interval_s),
        ping_misses=options.ping_misses,
        close_ms=_ms(options.close_s),
        write_ms=_ms(guard.write_s),
        echo=echo,
    )


class NativeTransport:
    """Serves a face on one listener. Implements :class:`otp_server.transport.seam.LinkSide`."""

    def __init__(self, face: FaceSide, options: LinkOptions, metrics: Metrics) -> None:
        self._face = face
        self._options = options
        self._metrics = metrics
        self._reactor: Reactor | None = None
        self._stopped = False
        self._idle = trio.CancelScope()  # around the wait, while there is one
        self._upgrades: list[Upgrade] = []
        self._upgrades_came = trio.Event()
        self._deciding: set[int] = set()
        self._died_deciding: set[int] = set()
        self._starved_told_at = float("-inf")

    def send_many(self, frames: Sequence[tuple[int, bytes]]) -> None:
        """Queue whole frames; a connection whose queue is full is closed as a slow reader."""
        if self._reactor is not None:
            self._reactor.send_many(frames, _now_ms())
            self._look_again(self._reactor)

    def close_many(self, connections: Sequence[tuple[int, ErrorKind]]) -> None:
        """Close with the kind's close code, after what is queued."""
        if self._reactor is not None:
            within_ms = {kind: _ms(self._options.close_within_s(kind)) for _, kind in connections}
            closes = [
                (number, kind.close_code, kind.token, within_ms[kind])
                for number, kind in connections
            ]
            self._reactor.close_many(closes, _now_ms())
            self._look_again(self._reactor)

    async def serve(
        self,
        listener: ReactorListener,
        *,
        task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept and serve until :meth:`stop_accepting` and the last connection's end.

        The listener is consumed. Cancellation ends every connection at once, without a close frame.
        """
        reactor = Reactor(listener, reactor_options(self._options))
        self._reactor = reactor
        try:
            async with trio.open_nursery() as tasks:
                tasks.start_soon(self._decide, reactor)
                task_status.started(None)
                while not self._stopped or reactor.connections or reactor.has_more:
                    await self._wait(reactor)
                    self._hand_over(reactor.poll(_now_ms(), POLL_US))
                    self._metrics.connections.set(reactor.connections)
                tasks.cancel_scope.cancel()
        finally:
            self._reactor = None  # and with it every socket
            self._closed([(number, "peer") for number in reactor.abandon()])
            self._metrics.connections.set(0)

    def stop_accepting(self) -> None:
        """Close the listener; connections stay."""
        self._stopped = True
        if self._reactor is not None:
            self._reactor.stop_accepting()
            self._idle.cancel()

    def close_all(self, kind: ErrorKind) -> None:
        """Close every connection."""
        if self._reactor is not None:
            self._reactor.close_all(kind.close_code, kind.token)
            self._idle.cancel()

    async def _wait(self, reactor: Reactor) -> None:
        if reactor.has_more:
            await trio.lowlevel.checkpoint()
            return
        with trio.CancelScope(deadline=_trio_time(reactor.next_deadline())) as self._idle:
            await trio.lowlevel.wait_readable(reactor.fileno())

    def _look_again(self, reactor: Reactor) -> None:
        """A call from outside may have left something to poll for, or an earlier deadline."""
        if reactor.has_more:
            self._idle.cancel()
            return
        deadline = _trio_time(reactor.next_deadline())
        self._idle.deadline = min(self._idle.deadline, deadline)

    def _hand_over(self, batch: ReactorBatch) -> None:
        for number, peer, target, headers, over_limit in batch.upgrades:
            self._deciding.add(number)
            refusal = self._refusal(target, over_limit=over_limit)
            if refusal is None:
                self._upgrades.append(Upgrade(number, peer, headers))
                self._upgrades_came.set()
            else:
                self._answer([(number, refusal)])
        if batch.frames:
            self._received(batch.frames)
        if batch.closed:
            self._closed(batch.closed)
        if batch.dropped:
            self._metrics.upgrades.labels(outcome="dropped").inc(batch.dropped)
        if batch.starved is not None and trio.current_time() >= self._starved_told_at + 1:
            self._starved_told_at = trio.current_time()
            log.warning("accepting device connections pauses", why=os.strerror(batch.starved))
        if batch.panics:
            self._metrics.crashes.labels(where="device_connection").inc(batch.panics)
            log.error("the core lost device connections to a bug", count=batch.panics)

    def _refusal(self, target: str, *, over_limit: bool) -> ErrorKind | None:
        if over_limit:
            return ErrorKind.OVERLOADED
        if target.partition("?")[0] != self._options.path:
            return ErrorKind.NOT_FOUND
        return None

    def _received(self, frames: list[tuple[int, Frame]]) -> None:
        """Hand frames over; a bug of the face costs the connection whose frame it was."""
        rest = iter(frames)
        while left := length_hint(rest):
            try:
                self._face.received(rest)
            except Exception:
                self._note_crash()
                log.exception("taking frames failed")
                if length_hint(rest) == left:
                    next(rest)
                number, _ = frames[len(frames) - length_hint(rest) - 1]
                self.close_many([(number, ErrorKind.INTERNAL)])
            else:
                return

    def _tell_closed(self, connections: Sequence[int]) -> None:
        rest = iter(connections)
        while left := length_hint(rest):
            try:
                self._face.closed(rest)
            except Exception:
                self._note_crash()
                log.exception("a connection's end was not taken")
                if length_hint(rest) == left:
                    next(rest)
            else:
                return

    def _note_crash(self) -> None:
        self._metrics.crashes.labels(where="device_connection").inc()

    def _closed(self, connections: Sequence[tuple[int, str]]) -> None:
        gone = []
        for number, kind in connections:
            if number in self._deciding:
                self._died_deciding.add(number)
            else:
                self._metrics.closes.labels(kind=kind).inc()
                gone.append(number)
        self._tell_closed(gone)

    async def _decide(self, reactor: Reactor) -> None:
        """Ask the face about upgrades, all that wait in one question."""
        while True:
            await self._upgrades_came.wait()
            self._upgrades_came = trio.Event()
            upgrades, self._upgrades = self._upgrades, []
            self._answer(await self._admit(upgrades))
            self._look_again(reactor)

    async def _admit(self, upgrades: Sequence[Upgrade]) -> list[tuple[int, ErrorKind | None]]:
        """The face's verdicts; a bug of the face costs the upgrade it has with, and no other."""
        numbers = [upgrade.connection for upgrade in upgrades]
        try:
            return list(zip(numbers, await self._face.admit(upgrades), strict=True))
        except Exception:
            if len(upgrades) > 1:
                log.warning("upgrades are decided one by one", count=len(upgrades))
                return [verdict for one in upgrades for verdict in await self._admit([one])]
            self._note_crash()
            log.exception("an upgrade was not decided")
            return [(numbers[0], ErrorKind.INTERNAL)]

    def _answer(self, verdicts: Sequence[tuple[int, ErrorKind | None]]) -> None:
        """Pass the face's verdicts on; who left meanwhile was let in all the same, and is gone."""
        if self._reactor is None:
            return
        responses: list[tuple[int, bytes | None]] = []
        gone = []
        for number, refusal in verdicts:
            self._deciding.discard(number)
            if number not in self._died_deciding:
                outcome = "accepted" if refusal is None else "refused"
                self._metrics.upgrades.labels(outcome=outcome).inc()
                responses.append((number, None if refusal is None else _response(refusal)))
                continue
            self._died_deciding.discard(number)
            self._metrics.upgrades.labels(outcome="dropped").inc()
            if refusal is None:
                self._metrics.closes.labels(kind="peer").inc()
                gone.append(number)
        self._reactor.decide_many(responses, _now_ms())
        self._tell_closed(gone)


def _response(refusal: ErrorKind) -> bytes:
    """The HTTP answer that refuses an upgrade."""
    body = f"{refusal.token}: {refusal.text}\n"
    headers = ["content-type: text/plain", "cache-control: no-store"]
    if refusal is ErrorKind.UNAUTHORIZED:
        headers.append('www-authenticate: Bearer realm="device"')
    lines = [f"HTTP/1.1 {refusal.http_status} ", *headers, f"Content-length: {len(body)}", "", body]
    return "\r\n".join(lines).encode()


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _now_ms() -> int:
    return int(trio.current_time() * 1000)


def _trio_time(deadline_ms: int | None) -> float:
    """The deadline on Trio's clock, rounded up: a poll before its time would do nothing."""
    return float("inf") if deadline_ms is None else (deadline_ms + 1) / 1000
