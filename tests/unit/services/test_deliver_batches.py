"""Many messages at once: sent as one where the provider takes it so, reported as one anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from otp_server.domain.challenge_type import Channel
from otp_server.domain.process_id import format_uuid
from otp_server.services.compose import MessageComposer
from otp_server.services.ports.delivery import BatchSender, NotSent, SendProblem, Sent, Uncertain
from otp_server.services.ports.outbox import MessageState
from tests.support.changed_values import replace
from tests.support.queued_messages import (
    EMAIL,
    SMS,
    DeliveryStage,
    ToldBatchSender,
    ToldSender,
    plan_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock

    from otp_server.services.ports.delivery import Message
    from otp_server.services.ports.outbox import DeliveryReport, LeasedMessage

MANY = 40
REFUSED = NotSent(SendProblem.UNREACHABLE, 0)


def staged(sender: ToldSender, count: int = MANY) -> tuple[DeliveryStage, list[LeasedMessage]]:
    stage = DeliveryStage(sms=sender)
    return stage, [stage.outbox.add(stage.clock.now_ms()) for _ in range(count)]


def states(stage: DeliveryStage, messages: Sequence[LeasedMessage]) -> list[MessageState]:
    return [stage.outbox.state(message) for message in messages]


async def test_they_leave_as_one_and_are_reported_as_one(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    sender = ToldBatchSender()
    stage, messages = staged(sender)
    nursery.start_soon(stage.service.run)
    await stage.outbox.wait_reports(MANY)
    assert sender.sizes == stage.outbox.told == [MANY]
    processes = [message.process for _, message in sender.got]
    assert processes == [format_uuid(each.uuid) for each in messages]
    assert {report.state for report in stage.outbox.reports} == {MessageState.SENT}
    assert stage.count("sms", "sent") == MANY
    counted = stage.metrics.registry.get_sample_value
    assert counted("otp_delivery_seconds_count", {"channel": "sms"}) == MANY
    assert not isinstance(ToldSender(), BatchSender)


async def test_no_more_are_with_the_provider_than_it_takes(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    sender = ToldBatchSender(concurrency=15)

    async def work() -> None:
        await trio.sleep(1)

    sender.work = work
    stage, messages = staged(sender)
    nursery.start_soon(stage.service.run)
    await stage.outbox.wait_reports(MANY)
    assert sender.sizes == [15, 15, 10]
    assert trio.current_time() == pytest.approx(3)  # the end of one is the next one's beginning
    assert sender.at_once_max == 15
    assert states(stage, messages) == [MessageState.SENT] * MANY


async def test_each_has_an_outcome_of_its_own(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    outcomes = [Sent("a"), NotSent(SendProblem.OPTED_OUT), REFUSED, Uncertain(SendProblem.TIMEOUT)]
    sender = ToldBatchSender(*outcomes)
    stage, messages = staged(sender, 5)
    nursery.start_soon(stage.service.run)
    reports = (await stage.outbox.wait_reports(5))[:5]
    assert [(report.state, report.problem, report.reference) for report in reports] == [
        (MessageState.SENT, None, "a"),
        (MessageState.FAILED, "opted_out", ""),
        (MessageState.QUEUED, "unreachable", ""),
        (MessageState.UNCERTAIN, "timeout", ""),
        (MessageState.SENT, None, "ref"),
    ]
    await trio.sleep(1.5)
    assert sender.sizes == [5, 1]  # the one that the provider certainly has not
    assert stage.outbox.state(messages[2]) is MessageState.SENT


async def test_what_cannot_be_put_into_words_or_is_too_late_is_no_part_of_it(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = ToldBatchSender()
    stage, messages = staged(sender, 4)
    rows = stage.outbox.rows
    rows[1].message = replace(rows[1].message, key_id="gone")
    rows[3].message = replace(rows[3].message, expires_at_ms=stage.clock.now_ms() + 10_000)
    claim = stage.outbox.claim_messages

    async def slow_claim(*args: object, **kwargs: object) -> list[LeasedMessage]:
        leased = await claim(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they are
        stage.clock.shift_ms = 10_000
        return leased

    monkeypatch.setattr(stage.outbox, "claim_messages", slow_claim)
    nursery.start_soon(stage.service.run)
    reports = await stage.outbox.wait_reports(4)
    assert [report.problem for report in reports] == ["unknown", None, "expired", None]
    sent, failed = MessageState.SENT, MessageState.FAILED
    assert states(stage, messages) == [failed, sent, failed, sent]
    assert sender.sizes == [2]


async def test_words_that_took_too_long_are_not_sent(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last look at the clock is after all of them are put into words."""
    sender = ToldBatchSender()
    stage, _ = staged(sender, 0)
    soon = stage.outbox.add(stage.clock.now_ms(), ttl_ms=10_000)
    later = stage.outbox.add(stage.clock.now_ms())
    compose = MessageComposer.compose

    def slow_compose(self: MessageComposer, leased: LeasedMessage, now_ms: int) -> Message:
        stage.clock.shift_ms = 10_000
        return compose(self, leased, now_ms)

    monkeypatch.setattr(MessageComposer, "compose", slow_compose)
    nursery.start_soon(stage.service.run)
    await stage.outbox.wait_reports(2)
    assert states(stage, [soon, later]) == [MessageState.FAILED, MessageState.SENT]
    assert len(sender.got) == 1


@pytest.mark.parametrize("outcome", [RuntimeError("a bug with 123456"), None])
async def test_a_bug_of_the_sender_leaves_all_uncertain(
    nursery: trio.Nursery, autojump_clock: MockClock, outcome: Exception | None
) -> None:
    sender = ToldBatchSender()
    if outcome is None:  # too few answers

        async def answer_one(_: object) -> Sequence[Sent]:
            await trio.lowlevel.checkpoint()
            return [Sent()]

        sender.send_many = answer_one  # type: ignore[method-assign]  # a fault
    else:
        sender.outcomes.append(outcome)
    stage, messages = staged(sender, 3)
    nursery.start_soon(stage.service.run)
    await stage.outbox.wait_reports(3)
    await trio.sleep(600)
    assert states(stage, messages) == [MessageState.UNCERTAIN] * 3
    assert stage.crashes("send") == 1
    assert len(sender.sizes) <= 1


async def test_cancelled_they_are_uncertain(autojump_clock: MockClock) -> None:
    sender = ToldBatchSender()
    sender.work = trio.sleep_forever
    stage, messages = staged(sender)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.service.run)
            while not sender.got:
                await trio.lowlevel.checkpoint()
            scope.cancel()
    assert states(stage, messages) == [MessageState.UNCERTAIN] * MANY
    assert stage.outbox.told == [MANY]


async def test_cancelled_before_the_first_leaves_they_wait_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = ToldBatchSender()
    stage, messages = staged(sender)
    compose, composed = MessageComposer.compose, 0
    with trio.CancelScope() as scope:

        def compose_and_cancel(
            self: MessageComposer, leased: LeasedMessage, now_ms: int
        ) -> Message:
            nonlocal composed
            composed += 1
            scope.cancel()
            return compose(self, leased, now_ms)

        monkeypatch.setattr(MessageComposer, "compose", compose_and_cancel)
        await stage.service.run()
    assert 0 < composed < MANY  # the event loop has its turn in between
    assert states(stage, messages) == [MessageState.QUEUED] * MANY
    assert sender.got == []


async def test_a_provider_that_refuses_them_all_is_probed_with_one(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    sender = ToldBatchSender()
    sender.then = REFUSED
    stage, messages = staged(sender)
    nursery.start_soon(stage.service.run)
    await trio.sleep(200)
    assert sender.sizes[0] == MANY
    assert set(sender.sizes[1:]) == {1}
    assert set(states(stage, messages)) == {MessageState.QUEUED}
    sender.then = Sent()
    await trio.sleep(120)
    assert set(states(stage, messages)) == {MessageState.SENT}


async def test_reports_that_wait_share_a_call(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a provider that takes one at a time too; no report waits for a second call's end."""
    sender = ToldSender(concurrency=30)
    stage, messages = staged(sender, 30)
    report = stage.outbox.report_deliveries

    async def slow_report(batch: Sequence[DeliveryReport]) -> list[bool]:
        await trio.sleep(1)
        return await report(batch)

    async def work() -> None:
        await trio.sleep(len(sender.got) % 2 / 2)

    sender.work = work
    monkeypatch.setattr(stage.outbox, "report_deliveries", slow_report)
    nursery.start_soon(stage.service.run)
    await stage.outbox.wait_reports(30)
    assert trio.current_time() == pytest.approx(2)
    assert stage.outbox.told == [15, 15]
    assert states(stage, messages) == [MessageState.SENT] * 30


async def test_channels_share_a_call(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    stage = DeliveryStage(sms=ToldBatchSender(), email=ToldBatchSender())
    for route in (SMS, EMAIL):
        for _ in range(5):
            stage.outbox.add(stage.clock.now_ms(), plan=plan_of(route))
    nursery.start_soon(stage.service.run)
    await stage.outbox.wait_reports(10)
    assert stage.outbox.told == [10]
    assert [stage.count(channel.value, "sent") for channel in Channel] == [5, 5]


async def test_of_reports_that_wait_a_bug_costs_one(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, messages = staged(ToldBatchSender(), 10)
    report = stage.outbox.report_deliveries

    async def report_or_crash(batch: Sequence[DeliveryReport]) -> list[bool]:
        if any(each.message_id == messages[3].message_id for each in batch):
            raise RuntimeError("a bug")
        return await report(batch)

    monkeypatch.setattr(stage.outbox, "report_deliveries", report_or_crash)
    nursery.start_soon(stage.service.run)
    await stage.outbox.wait_reports(9)
    await trio.sleep(60)
    expected = [MessageState.SENT] * 10
    expected[3] = MessageState.UNCERTAIN
    assert states(stage, messages) == expected
    assert stage.crashes("report") == 1


async def test_reports_outlive_an_outage_of_the_store_and_are_cancelled_with_a_last_word(
    autojump_clock: MockClock,
) -> None:
    sender = ToldBatchSender()
    stage, messages = staged(sender)

    async def work() -> None:
        stage.outbox.down = True

    sender.work = work
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.service.run)
            await trio.sleep(5)
            assert states(stage, messages) == [MessageState.LEASED] * MANY
            stage.outbox.down = False
            scope.cancel()
    assert states(stage, messages) == [MessageState.SENT] * MANY


async def test_reports_made_while_a_last_word_is_said_are_not_lost(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A send that cannot be cut off, such as one in a thread, may end in that second."""
    sender = ToldSender(concurrency=2)
    stage, messages = staged(sender, 2)
    report = stage.outbox.report_deliveries

    async def slow_report(batch: Sequence[DeliveryReport]) -> list[bool]:
        await trio.sleep(0.5)
        return await report(batch)

    async def work() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.4 * (len(sender.got) - 1))

    sender.work = work
    monkeypatch.setattr(stage.outbox, "report_deliveries", slow_report)
    with trio.move_on_after(0.2):
        await stage.service.run()
    assert states(stage, messages) == [MessageState.SENT] * 2


async def test_of_a_last_word_a_bug_costs_one(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = ToldBatchSender()
    sender.work = trio.sleep_forever
    stage, messages = staged(sender, 3)
    report = stage.outbox.report_deliveries

    async def report_or_crash(batch: Sequence[DeliveryReport]) -> list[bool]:
        if any(each.message_id == messages[1].message_id for each in batch):
            raise RuntimeError("a bug")
        return await report(batch)

    monkeypatch.setattr(stage.outbox, "report_deliveries", report_or_crash)
    with trio.move_on_after(1):
        await stage.service.run()
    assert states(stage, messages) == [
        MessageState.UNCERTAIN,
        MessageState.LEASED,
        MessageState.UNCERTAIN,
    ]
    assert stage.crashes("report") == 1
