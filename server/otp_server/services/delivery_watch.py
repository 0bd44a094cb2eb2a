"""Who waits for a message to be delivered is told once what became of it.

The last word of who delivers counts: that a provider took the message, or that no try and no other
route is left, or that nobody knows. A watch begins before its process is stored, since a
worker may be quick. Everything is of this process and in memory: who waits forgets when it goes.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from otp_server.services.ports.outbox import MessageState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otp_server.domain.challenge_type import Channel
    from otp_server.services.ports.outbox import LeasedMessage

WATCHED_MAX = 100_000
"""Processes watched at once: each is a call that waits, so faces are full long before."""


class Watched:
    """The message of one process; from ``DeliveryWatch.watch``."""

    def __init__(self) -> None:
        self._told = trio.Event()
        self._sent = False

    def tell(self, *, sent: bool) -> None:
        """What became of it; the first word counts."""
        if not self._told.is_set():
            self._sent = sent
            self._told.set()

    async def wait(self, within_s: float) -> bool:
        """Whether the provider took the message, as far as is known within so many seconds."""
        with trio.move_on_after(within_s):
            await self._told.wait()
        return self._sent


class DeliveryWatch:
    """The messages watched, by the uuids of their processes. From the Trio thread."""

    def __init__(self, watched_max: int = WATCHED_MAX) -> None:
        self._watched_max = watched_max
        self._watched: dict[bytes, Watched] = {}

    @property
    def count(self) -> int:
        """How many are watched now."""
        return len(self._watched)

    @contextmanager
    def watch(self, uuid: bytes) -> Iterator[Watched]:
        """Watch the message of a process that is about to be stored; a uuid has one watch.

        Past ``watched_max`` it is not watched, and ``wait`` says at once that it was not sent.
        """
        watched = Watched()
        if len(self._watched) >= self._watched_max:
            watched.tell(sent=False)
            yield watched
            return
        self._watched[uuid] = watched
        try:
            yield watched
        finally:
            del self._watched[uuid]

    def judged(
        self, leased: LeasedMessage, state: MessageState, usable: frozenset[Channel]
    ) -> None:
        """What a try made of a message, which is over unless it is queued again or goes on.

        ``usable``: the channels with a provider; a failed message may go on over those. Cheap.
        """
        goes_on = state is MessageState.QUEUED or (
            state is MessageState.FAILED
            and leased.plan.next_route(leased.route, leased.channels & usable) is not None
        )
        if not goes_on:
            self.ended(leased.uuid, sent=state is MessageState.SENT)

    def ended(self, uuid: bytes, *, sent: bool) -> None:
        """A process's message was handed over, or was not and will not be. Cheap."""
        watched = self._watched.get(uuid)
        if watched is not None:
            watched.tell(sent=sent)
