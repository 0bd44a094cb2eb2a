"""Who waits for a delivery: told once, in time or not at all, and nothing is left behind."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from otp_server.domain.challenge_type import Channel
from otp_server.services.delivery_watch import DeliveryWatch
from otp_server.services.ports.delivery import NotSent, SendOutcome, SendProblem, Sent, Uncertain
from tests.support.queued_messages import EMAIL, SMS, DeliveryStage, plan_of

UUID = bytes(range(16))
BUSY = NotSent(SendProblem.REJECTED, 1000)
BOTH = frozenset({Channel.SMS, Channel.EMAIL})


@pytest.mark.parametrize("sent", [True, False])
async def test_the_first_word_counts(autojump_clock: MockClock, sent: bool) -> None:
    watch = DeliveryWatch()
    with watch.watch(UUID) as watched:
        watch.ended(UUID, sent=sent)
        watch.ended(UUID, sent=not sent)
        assert await watched.wait(5) is sent
    assert trio.current_time() == 0


async def test_nobody_waits_longer_than_asked(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    watch = DeliveryWatch()
    with watch.watch(UUID) as watched:
        assert await watched.wait(5) is False
        assert trio.current_time() == 5
        watch.ended(bytes(16), sent=True)  # another's
        assert await watched.wait(0) is False
        watch.ended(UUID, sent=True)
        assert await watched.wait(0) is True


async def test_who_waits_is_woken(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    watch = DeliveryWatch()

    async def deliver() -> None:
        await trio.sleep(3)
        watch.ended(UUID, sent=True)

    with watch.watch(UUID) as watched:
        nursery.start_soon(deliver)
        assert await watched.wait(5) is True
    assert trio.current_time() == 3


async def test_what_is_over_is_forgotten(autojump_clock: MockClock) -> None:
    watch = DeliveryWatch()
    with watch.watch(UUID):
        assert watch.count == 1
    assert watch.count == 0
    watch.ended(UUID, sent=True)  # too late, and nobody minds
    with pytest.raises(RuntimeError), watch.watch(UUID):
        raise RuntimeError
    with trio.move_on_after(1), watch.watch(UUID) as watched:
        await watched.wait(60)
    assert watch.count == 0


async def test_the_table_is_bounded(autojump_clock: MockClock) -> None:
    watch = DeliveryWatch(watched_max=1)
    with watch.watch(UUID) as first:
        with watch.watch(bytes(16)) as second:
            watch.ended(bytes(16), sent=True)
            assert await second.wait(60) is False
            assert watch.count == 1
        watch.ended(UUID, sent=True)
        assert await first.wait(0) is True
    with watch.watch(bytes(16)) as third:
        watch.ended(bytes(16), sent=True)
        assert await third.wait(0) is True
    assert trio.current_time() == 0


# What the delivery workers tell.


class Stage(DeliveryStage):
    def __init__(self, **options: float) -> None:
        self.watch = DeliveryWatch()
        super().__init__(watch=self.watch, **options)


@pytest.mark.parametrize(
    ("outcomes", "sent", "at_s"),
    [
        ([Sent("ref")], True, 0),
        ([BUSY, BUSY, Sent()], True, 2),
        ([NotSent(SendProblem.INVALID_RECIPIENT)], False, 0),
        ([BUSY, NotSent(SendProblem.INVALID_RECIPIENT)], False, 1),
        ([Uncertain(SendProblem.TIMEOUT)], False, 0),
        ([RuntimeError("a bug")], False, 0),
    ],
    ids=["sent", "sent later", "refused", "refused later", "uncertain", "crashed"],
)
async def test_the_workers_last_word_is_told(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
    outcomes: list[SendOutcome | Exception],
    sent: bool,
    at_s: float,
) -> None:
    stage = Stage(backoff_ms=100)
    stage.email.outcomes.extend(outcomes)
    message = stage.outbox.add(stage.clock.now_ms(), plan=plan_of(EMAIL))
    with stage.watch.watch(message.uuid) as watched:
        nursery.start_soon(stage.service.run)
        assert await watched.wait(60) is sent
    assert trio.current_time() == pytest.approx(at_s, abs=0.3)


async def test_a_slow_provider_is_late(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    stage = Stage()

    async def slow() -> None:
        await trio.sleep(7)

    stage.email.work = slow
    message = stage.outbox.add(stage.clock.now_ms(), plan=plan_of(EMAIL))
    with stage.watch.watch(message.uuid) as watched:
        nursery.start_soon(stage.service.run)
        assert await watched.wait(5) is False
        assert trio.current_time() == 5
    await stage.outbox.wait_reports(1)
    assert trio.current_time() == 7
    assert stage.watch.count == 0


async def test_what_goes_over_another_route_is_not_over(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = Stage()
    stage.sms.outcomes.append(NotSent(SendProblem.INVALID_RECIPIENT))
    message = stage.outbox.add(stage.clock.now_ms(), plan=plan_of(SMS, EMAIL), channels=BOTH)
    with stage.watch.watch(message.uuid) as watched:
        nursery.start_soon(stage.service.run)
        await stage.outbox.wait_reports(1)
        assert await watched.wait(1) is False
        assert trio.current_time() == 1, "nobody was told anything"


async def test_the_store_does_not_hold_up_the_word(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = Stage()

    async def work() -> None:
        stage.outbox.down = True

    stage.email.work = work
    message = stage.outbox.add(stage.clock.now_ms(), plan=plan_of(EMAIL))
    with stage.watch.watch(message.uuid) as watched:
        nursery.start_soon(stage.service.run)
        assert await watched.wait(5) is True
    assert trio.current_time() == 0
