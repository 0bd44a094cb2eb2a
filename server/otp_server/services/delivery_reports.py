"""What became of messages, told to the store: those that wait, in one call of it.

Who has a report while another's call is on its way, or about to be, leaves it to that one. A report
is tried for as long as its message's lease lasts; a bug costs the report that meets it, and no
other.
"""

from __future__ import annotations

import traceback
from itertools import groupby, repeat
from operator import attrgetter
from typing import TYPE_CHECKING, TypeAlias

import trio

from otp_server.errors import StoreError
from otp_server.services.ports.outbox import MessageState
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otp_server.domain.challenge_type import Channel
    from otp_server.services.ports.outbox import DeliveryReport, OutboxStore
    from otp_server.telemetry import Metrics

    Call: TypeAlias = Callable[[], None]
    _Waiting: TypeAlias = tuple[DeliveryReport, float, Call]
    """A report, until when it is tried, on Trio's clock, and who to call if it says to try again.
    """

_STORE_PATIENCE_S = 1.0
_LAST_WORD_S = 1.0
"""How long a cancelled worker still tries to write down what it knows."""
_BATCH_MAX = 256
_OUTCOME = attrgetter("state", "problem")

log = get_logger(__name__)


class DeliveryReports:
    """The reports of all channels. From the Trio thread."""

    def __init__(
        self, store: OutboxStore, metrics: Metrics, *, patience_s: float, failed: Call
    ) -> None:
        """``failed`` is called when a message failed: the next route's may be of any channel."""
        self._store = store
        self._metrics = metrics
        self._patience_s = patience_s
        self._failed = failed
        self._waiting: list[_Waiting] = []  # those that are tried longest last
        self._is_writing = False

    async def write(self, channel: Channel, reports: Sequence[DeliveryReport], again: Call) -> None:
        """Write them down, or leave them to who is writing now. Raises nothing.

        ``again`` is called when one of them is stored that waits for another try.

        Cancellation: one more short try, for all that were left to this caller, also meanwhile.
        """
        for (state, problem), alike in groupby(reports, _OUTCOME):
            self.count(channel, state, problem, len([*alike]))
        until = trio.current_time() + self._patience_s
        self._waiting += zip(reports, repeat(until), repeat(again))
        if self._is_writing:
            return
        self._is_writing = True
        try:
            await trio.lowlevel.cancel_shielded_checkpoint()  # another channel may have some too
            while self._waiting:
                await self._write_some()
        except trio.Cancelled:
            while self._waiting:
                left, self._waiting = self._waiting, []
                await self.last_word([report for report, *_ in left])
            raise
        finally:
            self._is_writing = False

    async def last_word(self, reports: Sequence[DeliveryReport]) -> None:
        """Write down what is known, although cancelled; the lease's end says ``uncertain`` too."""
        with trio.CancelScope(shield=True), trio.move_on_after(_LAST_WORD_S):
            try:
                await self._store.report_deliveries(reports)
            except StoreError as error:
                log.warning("a delivery's last report is lost", why=str(error))
            except Exception as error:  # noqa: BLE001 - the other messages must outlive a bug
                if len(reports) == 1:
                    count_crash(self._metrics, "report", error)
                    return
                for report in reports:
                    await self.last_word([report])

    def count(self, channel: Channel, state: MessageState, problem: str | None, count: int) -> None:
        """Tell the metrics what became of so many tries."""
        self._metrics.deliveries.labels(
            channel=channel.value, outcome=state.value, problem=problem or "none"
        ).inc(count)

    async def _write_some(self) -> None:
        """The first of those that wait, which wait again while the store is down."""
        some = self._waiting[:_BATCH_MAX]
        try:
            _, until, _ = some[0]
            with trio.move_on_at(until):
                await self._tell(some)
                del self._waiting[: len(some)]
                return
        except StoreError as error:
            log.warning("a delivery's report waits for the store", why=str(error))
            await trio.sleep(_STORE_PATIENCE_S)
        except Exception as error:  # noqa: BLE001 - the other messages must outlive a bug
            if len(some) == 1:
                count_crash(self._metrics, "report", error)
                del self._waiting[0]
                return
            await self._write_each(some)
            return
        self._give_up()

    async def _write_each(self, some: Sequence[_Waiting]) -> None:
        """After a bug that one of them met."""
        left: list[_Waiting] = []
        for each in some:
            _, until, _ = each
            try:
                with trio.move_on_at(until):
                    await self._tell([each])
            except StoreError:
                left.append(each)
            except Exception as error:  # noqa: BLE001 - as above
                count_crash(self._metrics, "report", error)
        self._waiting[: len(some)] = left

    async def _tell(self, some: Sequence[_Waiting]) -> None:
        written = await self._store.report_deliveries([report for report, *_ in some])
        if not all(written):
            self._came_too_late(written.count(False))
        for call in {again for report, _, again in some if report.state is MessageState.QUEUED}:
            call()
        if any(report.state is MessageState.FAILED for report, *_ in some):
            self._failed()

    def _give_up(self) -> None:
        now = trio.current_time()
        left = [each for each in self._waiting if each[1] > now]
        if len(left) < len(self._waiting):
            self._came_too_late(len(self._waiting) - len(left))
        self._waiting = left

    def _came_too_late(self, count: int) -> None:
        log.warning("a delivery's report came too late", count=count)


def count_crash(metrics: Metrics, where: str, error: Exception) -> None:
    """Count and log a bug by its type and place: its text may hold a code or a contact."""
    metrics.crashes.labels(where=where).inc()
    place = traceback.extract_tb(error.__traceback__)[-1:]
    log.error(
        "delivery crashed",
        where=where,
        error=type(error).__name__,
        path=[f"{frame.filename}:{frame.lineno}" for frame in place],
    )
