"""What became of messages, told to the store: those that wait, in one call of it.

Who has a report while another's call is on its way leaves it to that one. A report is tried for as
long as its message's lease lasts; a bug costs the report that meets it, and no other.
"""

from __future__ import annotations

import traceback
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import trio

from otp_server.errors import StoreError
from otp_server.services.ports.outbox import MessageState
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from otp_server.domain.challenge_type import Channel
    from otp_server.services.ports.outbox import DeliveryReport, OutboxStore
    from otp_server.telemetry import Metrics

_STORE_PATIENCE_S = 1.0
_LAST_WORD_S = 1.0
"""How long a cancelled worker still tries to write down what it knows."""
_BATCH_MAX = 256

log = get_logger(__name__)


class _Waiting(msgspec.Struct, frozen=True, gc=False):
    """A report, and until when it is tried, on Trio's clock."""

    report: DeliveryReport
    until: float


class DeliveryReports:
    """The reports of one channel. From the Trio thread."""

    def __init__(
        self,
        channel: Channel,
        store: OutboxStore,
        metrics: Metrics,
        *,
        patience_s: float,
        again: Callable[[], None],
        failed: Callable[[], None],
    ) -> None:
        """``again`` is called when a message waits for another try, ``failed`` when one failed."""
        self._channel = channel
        self._store = store
        self._metrics = metrics
        self._patience_s = patience_s
        self._calls = {MessageState.QUEUED: again, MessageState.FAILED: failed}
        self._waiting: list[_Waiting] = []
        self._is_writing = False

    async def write(self, reports: Iterable[DeliveryReport]) -> None:
        """Write them down, or leave them to who is writing now. Raises nothing.

        Cancellation: one more short try, for all that were left to this caller, also meanwhile.
        """
        until = trio.current_time() + self._patience_s
        made = [_Waiting(report, until) for report in reports]
        counts = Counter((each.report.state, each.report.problem) for each in made)
        for (state, problem), count in counts.items():
            self.count(state, problem, count)
        self._waiting += made
        if self._is_writing:
            return
        self._is_writing = True
        try:
            while self._waiting:
                await self._write_some()
        except trio.Cancelled:
            while self._waiting:
                left, self._waiting = self._waiting, []
                await self.last_word([each.report for each in left])
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

    def count(self, state: MessageState, problem: str | None, count: int) -> None:
        """Tell the metrics what became of so many tries."""
        self._metrics.deliveries.labels(
            channel=self._channel.value, outcome=state.value, problem=problem or "none"
        ).inc(count)

    async def _write_some(self) -> None:
        """The first of those that wait, which wait again while the store is down."""
        some = self._waiting[:_BATCH_MAX]
        try:
            with trio.move_on_at(min(each.until for each in some)):
                await self._tell([each.report for each in some])
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
            try:
                with trio.move_on_at(each.until):
                    await self._tell([each.report])
            except StoreError:
                left.append(each)
            except Exception as error:  # noqa: BLE001 - as above
                count_crash(self._metrics, "report", error)
        self._waiting[: len(some)] = left

    async def _tell(self, reports: Sequence[DeliveryReport]) -> None:
        written = await self._store.report_deliveries(reports)
        if not all(written):
            self._came_too_late(written.count(False))
        for state in {each.state for each in reports} & self._calls.keys():
            self._calls[state]()

    def _give_up(self) -> None:
        now = trio.current_time()
        left = [each for each in self._waiting if each.until > now]
        if len(left) < len(self._waiting):
            self._came_too_late(len(self._waiting) - len(left))
        self._waiting = left

    def _came_too_late(self, count: int) -> None:
        log.warning("a delivery's report came too late", channel=self._channel.value, count=count)


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
