"""First messages leased to their worker from the start: sent without a look into the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from otp_server.domain.challenge_type import Channel
from otp_server.services.ports.delivery import NotSent, SendProblem
from otp_server.services.ports.outbox import MessageState
from tests.support.changed_values import replace
from tests.support.queued_messages import DeliveryStage, ToldBatchSender, ToldSender

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock

    from otp_server.services.first_messages import FirstMessages
    from otp_server.services.ports.outbox import DeliveryReport, FirstLease, LeasedMessage

MARGIN_S, SEND_S = 15, 10


async def running(nursery: trio.Nursery, sender: ToldSender | None = None) -> DeliveryStage:
    """A stage whose workers have found that nobody waits."""
    stage = DeliveryStage(sms=sender)
    nursery.start_soon(stage.service.run)
    await trio.testing.wait_all_tasks_blocked()
    return stage


async def a_second() -> None:
    await trio.sleep(1)


def stored(stage: DeliveryStage, first: FirstMessages, count: int = 1) -> list[LeasedMessage]:
    """Messages as a store keeps them; those without a lease are queued."""
    made: list[LeasedMessage] = []
    for _ in range(count):
        lease = first.lease(Channel.SMS)
        message = stage.outbox.add(stage.clock.now_ms())
        row = stage.outbox.rows[message.message_id]
        if lease is not None:
            row.message = replace(message, lease=lease.lease, tries=1)
            row.state, row.lease_ms = MessageState.LEASED, lease.until_ms
            made.append(row.message)
    return made


async def test_they_are_sent_without_a_claim(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = await running(nursery, ToldBatchSender(concurrency=8))
    claims = stage.outbox.claims
    with stage.service.first_messages() as first:
        messages = stored(stage, first, 5)
        first.bring(messages)
    reports = await stage.outbox.wait_reports(5)
    assert {report.state for report in reports} == {MessageState.SENT}
    assert isinstance(stage.sms, ToldBatchSender)
    assert stage.sms.sizes == stage.outbox.told == [5]
    assert stage.outbox.claims == claims
    assert trio.current_time() == 0
    assert {each.lease_ms for each in stage.outbox.rows.values()} == {
        stage.clock.now_ms() + 1000 * (MARGIN_S + SEND_S)
    }


async def test_no_more_are_lent_than_the_sender_takes(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = await running(nursery)
    stage.sms.work = a_second
    with stage.service.first_messages() as first:
        messages = stored(stage, first, 6)
        assert len(messages) == stage.sms.concurrency == 4
        stage.service.notify()
        await trio.testing.wait_all_tasks_blocked()
        assert stage.sms.got == []  # what is lent is in flight
        first.bring(messages)
    await stage.outbox.wait_reports(6)
    assert stage.sms.at_once_max == 4
    assert trio.current_time() == pytest.approx(2)


async def test_what_was_not_used_comes_back(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = await running(nursery)
    for brings in (0, 1):
        with stage.service.first_messages() as first:
            leases = [first.lease(Channel.SMS) for _ in range(5)]
            assert leases.count(None) == 1
            if brings:
                first.bring(())
                assert first.lease(Channel.SMS) is not None

    def fail() -> None:
        with stage.service.first_messages() as first:
            stored(stage, first, 4)
            raise RuntimeError("the store is down")

    with pytest.raises(RuntimeError):
        fail()
    with stage.service.first_messages() as first:
        assert len(stored(stage, first, 4)) == 4


async def test_room_that_comes_back_is_for_those_who_wait(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = await running(nursery)
    with stage.service.first_messages() as first:
        while first.lease(Channel.SMS) is not None:
            pass
        message = stage.outbox.add(stage.clock.now_ms())
        stage.service.notify()
        await trio.testing.wait_all_tasks_blocked()
        assert stage.outbox.state(message) is MessageState.QUEUED
    await stage.outbox.wait_reports(1)
    assert trio.current_time() == 0


@pytest.mark.parametrize("lent", [0, 4])
async def test_nobody_comes_before_those_who_wait(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, lent: int
) -> None:
    """More wait than there is room for: who comes while they are looked for has to wait too."""
    stage = await running(nursery)
    claim = stage.outbox.claim_messages

    async def slow_claim(*args: object, **kwargs: object) -> list[LeasedMessage]:
        await trio.sleep(0.2)
        return await claim(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they are

    monkeypatch.setattr(stage.outbox, "claim_messages", slow_claim)
    stage.sms.work = a_second
    with stage.service.first_messages() as first:
        first.bring(stored(stage, first, lent))
    for _ in range(8 - lent):
        stage.outbox.add(stage.clock.now_ms())
    stage.service.notify()
    for at in (0.5, 1.3 if not lent else 1.1):  # all are being sent; the next are looked for
        await trio.sleep(at - trio.current_time())
        with stage.service.first_messages() as first:
            assert first.lease(Channel.SMS) is None
            assert first.lease(Channel.EMAIL) is not None
    await stage.outbox.wait_reports(8)
    await trio.sleep(1)
    with stage.service.first_messages() as first:
        assert first.lease(Channel.SMS) is not None


async def test_who_was_asked_for_room_leaves_half_of_it_while_looking(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what comes during each look would be queued, and so make the next look needed."""
    stage = await running(nursery)
    claim = stage.outbox.claim_messages
    asked: list[int] = []

    async def slow_claim(*args: object, **kwargs: int) -> list[LeasedMessage]:
        asked.append(kwargs["limit"])
        await trio.sleep(1)
        return await claim(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they are

    monkeypatch.setattr(stage.outbox, "claim_messages", slow_claim)
    with stage.service.first_messages() as first:
        assert first.lease(Channel.SMS) is not None
    stage.outbox.add(stage.clock.now_ms())
    stage.service.notify()
    await trio.sleep(0.5)
    with stage.service.first_messages() as first:
        messages = stored(stage, first, 2)
        assert len(messages) == 2
        assert first.lease(Channel.SMS) is None
        first.bring(messages)
    await stage.outbox.wait_reports(3)
    assert sorted(asked[:2]) == [2, 4]  # the other channel's worker looks too
    assert stage.sms.at_once_max <= 4


async def test_none_is_leased_from_the_moment_the_provider_is_down(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await running(nursery, ToldBatchSender(*[NotSent(SendProblem.UNREACHABLE, 0)] * 3))
    report = stage.outbox.report_deliveries
    leases: list[FirstLease | None] = []

    async def report_and_ask(batch: Sequence[DeliveryReport]) -> list[bool]:
        with stage.service.first_messages() as first:
            leases.append(first.lease(Channel.SMS))
        return await report(batch)

    monkeypatch.setattr(stage.outbox, "report_deliveries", report_and_ask)
    with stage.service.first_messages() as first:
        first.bring(stored(stage, first, 3))
    await stage.outbox.wait_reports(3)
    assert leases == [None]


async def test_none_is_leased_to_who_does_not_run_or_whose_provider_is_down(
    autojump_clock: MockClock,
) -> None:
    stage = DeliveryStage()
    with stage.service.first_messages() as first:
        assert first.lease(Channel.SMS) is None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.service.run)
        await trio.testing.wait_all_tasks_blocked()
        stage.sms.outcomes.extend([NotSent(SendProblem.UNREACHABLE, 0)] * 3)
        with stage.service.first_messages() as first:
            first.bring(stored(stage, first, 3))
        await stage.outbox.wait_reports(3)
        with stage.service.first_messages() as first:
            assert first.lease(Channel.SMS) is None
        stage.service.drain()
        with stage.service.first_messages() as first:
            assert first.lease(Channel.EMAIL) is None


async def test_what_comes_while_the_service_ends_goes_back(autojump_clock: MockClock) -> None:
    stage = DeliveryStage()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.service.run)
        await trio.testing.wait_all_tasks_blocked()
        with stage.service.first_messages() as first:
            messages = stored(stage, first, 2)
            stage.service.drain()
            await trio.sleep(3)
            assert stage.sms.closed == 0  # it waits for what it lent
            first.bring(messages)
    assert stage.sms.got == []
    assert [stage.outbox.state(each) for each in messages] == [MessageState.QUEUED] * 2
    assert stage.sms.closed == 1


async def test_what_comes_when_the_provider_is_down_goes_back(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    refusals = [NotSent(SendProblem.UNREACHABLE, 0)] * 40
    stage = await running(nursery, ToldBatchSender(*refusals, concurrency=40))
    with stage.service.first_messages() as first, stage.service.first_messages() as second:
        early, later = stored(stage, first, 5), stored(stage, second, 20)
        first.bring(early)
        await stage.outbox.wait_reports(5)
        assert not stage.service.can_try(Channel.SMS)
        second.bring(later)
        await stage.outbox.wait_reports(25)
    assert sum(stage.sms.sizes) == 5
    assert {stage.outbox.state(each) for each in later} == {MessageState.QUEUED}


async def test_what_comes_too_late_for_a_whole_send_goes_back(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = await running(nursery)
    with stage.service.first_messages() as first:
        messages = stored(stage, first)
        await trio.sleep(MARGIN_S)
        first.bring(messages)
    await stage.outbox.wait_reports(2)
    assert [report.state for report in stage.outbox.reports] == [
        MessageState.QUEUED,
        MessageState.SENT,
    ]
    assert len(stage.sms.got) == 1


async def test_what_was_lent_by_one_who_was_cancelled_is_left_to_its_lease(
    autojump_clock: MockClock,
) -> None:
    stage = DeliveryStage()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.service.run)
        await trio.testing.wait_all_tasks_blocked()
        first = stage.service.first_messages()
        messages = stored(stage, first)
        nursery.cancel_scope.cancel()
    first.bring(messages)
    assert stage.sms.got == []
    assert stage.outbox.state(messages[0]) is MessageState.LEASED
