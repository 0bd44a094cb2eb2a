"""The delivery worker on virtual time: at most once, in time, elsewhere when a provider is down."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from otp_server.domain.challenge_type import Channel, PlanRoute
from otp_server.services.ports.delivery import NotSent, SendProblem, Sent, Uncertain
from otp_server.services.ports.outbox import DeliveryReport, LeasedMessage, MessageState
from tests.support.changed_values import replace
from tests.support.queued_messages import EMAIL, SMS, DeliveryStage, plan_of
from tests.support.served import captured_logs

BUSY = NotSent(SendProblem.REJECTED, 0)
REFUSED = NotSent(SendProblem.UNREACHABLE, 0)
BOTH = frozenset({Channel.SMS, Channel.EMAIL})


async def delivered(
    stage: DeliveryStage, count: int, nursery: trio.Nursery
) -> list[DeliveryReport]:
    nursery.start_soon(stage.service.run)
    return await stage.outbox.wait_reports(count)


async def test_the_message_holds_the_derived_code_and_the_contact(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = DeliveryStage()
    message = stage.outbox.add(stage.clock.now_ms(), plan=plan_of(EMAIL))
    [report] = await delivered(stage, 1, nursery)
    [(_, sent)] = stage.email.got
    code = stage.keyring.derive(
        "k1",
        domain="rest",
        tenant="default",
        challenge=message.uuid,
        generation=1,
        alphabet="numeric",
        length=6,
    ).reveal()
    assert sent.to == "jana@example.org"
    assert sent.text == f"Code {code}, good for 5 min"
    assert f"<strong>{code}</strong>" in (sent.html or "")
    assert sent.process == "00000000-0000-0000-0000-000000000001"
    assert sent.id == f"{message.uuid.hex()}-1"
    assert code not in repr(sent)
    assert (report.state, report.reference, report.provider) == (MessageState.SENT, "ref", "told")
    assert stage.count("email", "sent") == 1


@pytest.mark.parametrize(
    ("route", "shown"),
    [
        (SMS, "+420*******01"),
        (EMAIL, "j***@example.org"),
    ],
)
async def test_where_the_words_name_the_contact_it_is_masked(
    nursery: trio.Nursery, autojump_clock: MockClock, route: PlanRoute, shown: str
) -> None:
    stage = DeliveryStage()
    told = replace(route, subject="For ${contact}", text="${answer} for ${contact}")
    stage.outbox.add(stage.clock.now_ms(), plan=plan_of(told))
    await delivered(stage, 1, nursery)
    [(_, sent)] = [*stage.sms.got, *stage.email.got]
    assert sent.text.endswith(f" for {shown}")
    if route is EMAIL:
        assert sent.subject == f"For {shown}"
        assert f"</strong> for {shown}</p>" in (sent.html or "")


async def test_a_notified_worker_sends_at_once(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = DeliveryStage()
    nursery.start_soon(stage.service.run)
    await trio.testing.wait_all_tasks_blocked()
    begun = trio.current_time()
    stage.outbox.add(stage.clock.now_ms())
    stage.service.notify()
    await stage.outbox.wait_reports(1)
    assert trio.current_time() == begun


async def test_a_missed_notice_is_made_up_for(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = DeliveryStage()
    nursery.start_soon(stage.service.run)
    await trio.testing.wait_all_tasks_blocked()
    stage.outbox.add(stage.clock.now_ms())
    await stage.outbox.wait_reports(1)
    assert trio.current_time() <= 5.1


async def test_no_more_are_leased_than_the_sender_takes(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = DeliveryStage()
    leased: list[int] = []

    async def work() -> None:
        states = [row.state for row in stage.outbox.rows.values()]
        leased.append(states.count(MessageState.LEASED))
        await trio.sleep(1)

    stage.sms.work = work
    for _ in range(10):
        stage.outbox.add(stage.clock.now_ms())
    await delivered(stage, 10, nursery)
    assert stage.sms.at_once_max == 4
    assert max(leased) == 4
    assert trio.current_time() == pytest.approx(3)


async def test_a_stalled_provider_does_not_hold_up_the_other_channel(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = DeliveryStage()
    stage.sms.work = trio.sleep_forever
    for _ in range(20):
        stage.outbox.add(stage.clock.now_ms())
    mail = stage.outbox.add(stage.clock.now_ms(), plan=plan_of(EMAIL))
    await delivered(stage, 1, nursery)
    assert stage.outbox.state(mail) is MessageState.SENT
    assert trio.current_time() == 0


async def test_what_the_provider_certainly_has_not_is_tried_again_later_and_later(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = DeliveryStage()
    stage.sms.outcomes.extend([BUSY] * 4)
    stage.outbox.add(stage.clock.now_ms())
    reports = await delivered(stage, 5, nursery)
    assert [report.state for report in reports] == [MessageState.QUEUED] * 4 + [MessageState.SENT]
    times = [at for at, _ in stage.sms.got]
    assert times == pytest.approx([0, 1, 3, 7, 15], abs=0.2)
    assert len({message.id for _, message in stage.sms.got}) == 1


async def test_the_provider_says_when_to_come_again(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = DeliveryStage()
    stage.sms.outcomes.append(NotSent(SendProblem.RATE_LIMITED, 42_000))
    stage.outbox.add(stage.clock.now_ms())
    await delivered(stage, 2, nursery)
    assert [at for at, _ in stage.sms.got] == pytest.approx([0, 42], abs=0.2)


async def test_tries_are_bounded(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    stage = DeliveryStage(tries_max=3)
    stage.sms.then = BUSY
    message = stage.outbox.add(stage.clock.now_ms())
    await delivered(stage, 3, nursery)
    assert stage.outbox.state(message) is MessageState.FAILED
    assert len(stage.sms.got) == 3


async def test_with_another_route_a_message_is_not_tried_for_long(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = DeliveryStage(hold_s=1)
    stage.sms.then = BUSY
    here = stage.outbox.add(stage.clock.now_ms(), plan=plan_of(SMS, EMAIL), channels=BOTH)
    stuck = stage.outbox.add(stage.clock.now_ms(), plan=plan_of(SMS, EMAIL))
    await delivered(stage, 4, nursery)
    assert stage.outbox.state(here) is MessageState.FAILED
    assert stage.outbox.state(stuck) is MessageState.QUEUED


async def test_no_try_is_planned_past_the_codes_end(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = DeliveryStage()
    stage.sms.then = NotSent(SendProblem.RATE_LIMITED, 26_000)
    message = stage.outbox.add(stage.clock.now_ms(), ttl_ms=30_000)
    [report] = await delivered(stage, 1, nursery)
    assert (report.state, report.problem) == (MessageState.FAILED, "rate_limited")
    assert stage.outbox.state(message) is MessageState.FAILED


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (NotSent(SendProblem.INVALID_RECIPIENT), MessageState.FAILED),
        (NotSent(SendProblem.UNKNOWN), MessageState.FAILED),
        (Uncertain(SendProblem.TIMEOUT), MessageState.UNCERTAIN),
        (RuntimeError("a bug with the code 123456"), MessageState.UNCERTAIN),
    ],
)
async def test_what_may_have_been_sent_is_never_sent_again(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
    outcome: NotSent | Uncertain | Exception,
    state: MessageState,
) -> None:
    stage = DeliveryStage()
    stage.sms.outcomes.append(outcome)
    message = stage.outbox.add(stage.clock.now_ms())
    await delivered(stage, 1, nursery)
    await trio.sleep(600)
    assert stage.outbox.state(message) is state
    assert len(stage.sms.got) == 1


async def test_a_message_whose_key_is_gone_fails_without_a_send(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = DeliveryStage()
    message = stage.outbox.add(stage.clock.now_ms())
    row = stage.outbox.rows[message.message_id]
    row.message = replace(row.message, key_id="gone")
    await delivered(stage, 1, nursery)
    assert stage.outbox.state(message) is MessageState.FAILED
    assert stage.sms.got == []
    assert stage.metrics.registry.get_sample_value(
        "otp_handler_crashes_total", {"where": "compose"}
    )


async def test_a_message_that_expires_between_claim_and_send_is_not_sent(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = DeliveryStage()
    message = stage.outbox.add(stage.clock.now_ms(), ttl_ms=10_000)
    claim = stage.outbox.claim_messages

    async def slow_claim(*args: object, **kwargs: object) -> list[LeasedMessage]:
        leased = await claim(*args, **kwargs)  # type: ignore[arg-type] - passed on as they are
        stage.clock.shift_ms = 10_000
        return leased

    monkeypatch.setattr(stage.outbox, "claim_messages", slow_claim)
    [report] = await delivered(stage, 1, nursery)
    assert (report.state, report.problem) == (MessageState.FAILED, "expired")
    assert stage.sms.got == []
    assert stage.outbox.state(message) is MessageState.FAILED


async def test_a_cancelled_send_is_uncertain_and_one_not_begun_is_queued(
    autojump_clock: MockClock,
) -> None:
    stage = DeliveryStage()
    stage.sms.work = trio.sleep_forever
    begun = stage.outbox.add(stage.clock.now_ms())
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.service.run)
            while not stage.sms.got:
                await trio.lowlevel.checkpoint()
            scope.cancel()
    assert stage.outbox.state(begun) is MessageState.UNCERTAIN
    assert stage.sms.closed == stage.email.closed == 1

    other = DeliveryStage()
    waiting = other.outbox.add(other.clock.now_ms())
    claim = other.outbox.claim_messages
    with trio.CancelScope() as scope:

        async def claim_then_cancel(*args: object, **kwargs: object) -> list[LeasedMessage]:
            leased = await claim(*args, **kwargs)  # type: ignore[arg-type] - passed on as they are
            if leased:
                scope.cancel()
            return leased

        other.outbox.claim_messages = claim_then_cancel  # type: ignore[method-assign] - a fault
        await other.service.run()
    assert other.outbox.state(waiting) is MessageState.QUEUED
    assert other.sms.got == []


def stall_claims(
    stage: DeliveryStage, monkeypatch: pytest.MonkeyPatch, *stalls_s: float
) -> list[float]:
    """The first claims that lease something take so long to say so; the stalls still to come."""
    claim, left = stage.outbox.claim_messages, list(stalls_s)

    async def stalled_claim(*args: object, **kwargs: object) -> list[LeasedMessage]:
        leased = await claim(*args, **kwargs)  # type: ignore[arg-type] - passed on as they are
        if leased and left:
            await trio.sleep(left.pop(0))
        return leased

    monkeypatch.setattr(stage.outbox, "claim_messages", stalled_claim)
    return left


async def test_a_claim_that_takes_long_loses_nothing(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = DeliveryStage()
    stall_claims(stage, monkeypatch, 14)
    message = stage.outbox.add(stage.clock.now_ms())
    await delivered(stage, 1, nursery)
    assert stage.outbox.state(message) is MessageState.SENT
    assert len(stage.sms.got) == 1
    assert stage.crashes("delivery worker") == 0


async def test_leases_that_a_stall_used_up_go_back_unsent(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would end in the middle of a send."""
    stage = DeliveryStage()
    stall_claims(stage, monkeypatch, 16)
    message = stage.outbox.add(stage.clock.now_ms())
    back, sent = await delivered(stage, 2, nursery)
    assert (back.state, sent.state) == (MessageState.QUEUED, MessageState.SENT)
    assert [at for at, _ in stage.sms.got] == pytest.approx([16], abs=0.2)
    assert stage.outbox.state(message) is MessageState.SENT


async def test_what_is_leased_during_a_drain_goes_back_unsent(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = DeliveryStage()
    stall_claims(stage, monkeypatch, 2)
    message = stage.outbox.add(stage.clock.now_ms())
    nursery.start_soon(stage.service.run)
    await trio.sleep(1)
    stage.service.drain()
    [report] = await stage.outbox.wait_reports(1)
    assert report.state is MessageState.QUEUED
    assert stage.outbox.state(message) is MessageState.QUEUED
    assert stage.sms.got == []


async def test_a_claim_does_not_hold_up_a_cancellation(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store undoes it (tests/unit/stores/test_claim_undo.py)."""
    stage = DeliveryStage()
    stall_claims(stage, monkeypatch, 3600)
    stage.outbox.add(stage.clock.now_ms())
    with trio.move_on_after(0.5):
        await stage.service.run()
    assert trio.current_time() < 2


async def test_a_bug_in_a_report_costs_that_message_only(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = DeliveryStage()
    report = stage.outbox.report_deliveries
    spoilt = stage.outbox.add(stage.clock.now_ms())
    good = stage.outbox.add(stage.clock.now_ms())

    async def report_or_crash(batch: Sequence[DeliveryReport]) -> list[bool]:
        if any(each.message_id == spoilt.message_id for each in batch):
            raise RuntimeError("a bug")
        return await report(batch)

    monkeypatch.setattr(stage.outbox, "report_deliveries", report_or_crash)
    await delivered(stage, 1, nursery)
    await trio.sleep(60)
    assert stage.outbox.state(good) is MessageState.SENT
    assert stage.outbox.state(spoilt) is MessageState.UNCERTAIN
    assert stage.crashes("report") == 1
    assert len(stage.sms.got) == 2


async def test_draining_ends_what_is_in_flight_and_takes_no_more(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = DeliveryStage()

    async def work() -> None:
        await trio.sleep(3)

    stage.sms.work = work
    messages = [stage.outbox.add(stage.clock.now_ms()) for _ in range(6)]
    over = trio.Event()

    async def run() -> None:
        await stage.service.run()
        over.set()

    nursery.start_soon(run)
    await trio.sleep(1)
    stage.service.drain()
    await over.wait()
    assert trio.current_time() == pytest.approx(3)
    states = [stage.outbox.state(message) for message in messages]
    assert states == [MessageState.SENT] * 4 + [MessageState.QUEUED] * 2


async def test_a_report_waits_for_the_store_and_nothing_is_sent_twice(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = DeliveryStage()
    message = stage.outbox.add(stage.clock.now_ms())

    async def work() -> None:
        stage.outbox.down = True

    stage.sms.work = work
    nursery.start_soon(stage.service.run)
    await trio.sleep(5)
    assert stage.outbox.state(message) is MessageState.LEASED
    stage.outbox.down = False
    await stage.outbox.wait_reports(1)
    assert stage.outbox.state(message) is MessageState.SENT
    assert len(stage.sms.got) == 1


async def test_a_report_that_never_gets_through_leaves_the_message_uncertain(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = DeliveryStage()
    message = stage.outbox.add(stage.clock.now_ms())

    async def work() -> None:
        stage.outbox.down = True

    stage.sms.work = work
    nursery.start_soon(stage.service.run)
    await trio.sleep(26)
    stage.outbox.down = False
    await trio.sleep(10)
    assert stage.outbox.state(message) is MessageState.UNCERTAIN
    assert len(stage.sms.got) == 1


async def test_while_a_provider_is_down_messages_wait_for_its_probe(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = DeliveryStage(tries_max=100)
    stage.sms.outcomes.extend([REFUSED] * 3)
    for _ in range(3):
        stage.outbox.add(stage.clock.now_ms())
    nursery.start_soon(stage.service.run)
    await stage.outbox.wait_reports(3)
    assert not stage.service.can_try(Channel.SMS)
    assert stage.service.can_try(Channel.EMAIL)
    late = stage.outbox.add(stage.clock.now_ms())
    stage.service.notify()
    await trio.sleep(9)
    assert len(stage.sms.got) == 3
    await trio.sleep(8)
    assert stage.outbox.state(late) is MessageState.SENT
    assert stage.sms.at_once_max <= 3
    assert stage.service.can_try(Channel.SMS)


async def test_processes_with_another_provider_leave_one_that_is_down(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = DeliveryStage(tries_max=100, hold_s=3)
    stage.sms.outcomes.extend([REFUSED] * 3)
    for _ in range(3):
        stage.outbox.add(stage.clock.now_ms())
    nursery.start_soon(stage.service.run)
    await stage.outbox.wait_reports(3)
    down_at = trio.current_time()
    two_routes = plan_of(SMS, EMAIL)
    leaves = stage.outbox.add(stage.clock.now_ms(), plan=two_routes, channels=BOTH)
    no_contact = stage.outbox.add(stage.clock.now_ms(), plan=two_routes)
    same_provider = stage.outbox.add(stage.clock.now_ms(), plan=plan_of(SMS, SMS))
    stage.service.notify()
    while stage.outbox.state(leaves) is not MessageState.FAILED:
        await stage.outbox.reported.wait()
    await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() - down_at == pytest.approx(3, abs=0.2)
    assert stage.outbox.state(no_contact) is MessageState.QUEUED
    assert stage.outbox.state(same_provider) is MessageState.QUEUED
    assert stage.count("sms", "failed", "provider_down") == 1
    await trio.sleep(20)
    assert stage.outbox.state(no_contact) is MessageState.SENT
    assert stage.outbox.state(same_provider) is MessageState.SENT
    assert len(stage.sms.got) == 3 + 5  # the three first again


async def test_an_outage_leaves_what_waits_alone(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """No lease, no report and no try but those of the probes; all is sent when it is over."""
    stage = DeliveryStage(tries_max=3)
    stage.sms.then = REFUSED
    messages = [stage.outbox.add(stage.clock.now_ms(), ttl_ms=86_400_000) for _ in range(40)]
    nursery.start_soon(stage.service.run)
    await trio.sleep(3600)
    assert 50 <= len(stage.sms.got) <= 80  # at first a handful, then a probe a minute
    assert len(stage.outbox.reports) == len(stage.sms.got)
    assert stage.outbox.claims <= len(stage.sms.got) + 3600 / 5 + 10
    assert {stage.outbox.state(message) for message in messages} == {MessageState.QUEUED}
    stage.sms.then = Sent("ref")
    await trio.sleep(120)
    assert {stage.outbox.state(message) for message in messages} == {MessageState.SENT}


async def test_an_outage_uses_up_no_tries(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    stage = DeliveryStage(tries_max=4)
    stage.sms.then = REFUSED
    message = stage.outbox.add(stage.clock.now_ms(), ttl_ms=86_400_000)
    nursery.start_soon(stage.service.run)
    await trio.sleep(3600)
    assert len(stage.sms.got) > 4
    assert stage.outbox.state(message) is MessageState.QUEUED
    stage.sms.then = Sent("ref")
    await trio.sleep(120)
    assert stage.outbox.state(message) is MessageState.SENT


async def test_nobody_leaves_while_every_provider_is_down(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = DeliveryStage(tries_max=100)
    stage.sms.then = stage.email.then = REFUSED
    for _ in range(3):
        stage.outbox.add(stage.clock.now_ms())
        stage.outbox.add(stage.clock.now_ms(), plan=plan_of(EMAIL))
    nursery.start_soon(stage.service.run)
    await trio.sleep(1)
    both = stage.outbox.add(
        stage.clock.now_ms(), plan=plan_of(SMS, EMAIL), channels=BOTH, ttl_ms=86_400_000
    )
    stage.service.notify()
    await trio.sleep(6)
    assert stage.outbox.state(both) is MessageState.QUEUED
    assert stage.outbox.leaves == 0


async def test_the_worker_outlives_a_store_that_is_down(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    stage = DeliveryStage()
    stage.outbox.down = True
    message = stage.outbox.add(stage.clock.now_ms())
    nursery.start_soon(stage.service.run)
    await trio.sleep(10)
    assert stage.outbox.claims <= 2 * 11
    stage.outbox.down = False
    await stage.outbox.wait_reports(1)
    assert stage.outbox.state(message) is MessageState.SENT


async def test_an_idle_worker_asks_seldom(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    stage = DeliveryStage()
    nursery.start_soon(stage.service.run)
    await trio.sleep(600)
    assert stage.outbox.claims <= 2 * 121


async def test_logs_hold_no_code_and_no_contact(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    with captured_logs() as stream:
        stage = DeliveryStage()
        stage.sms.outcomes.append(RuntimeError("to +420600000001 with ABCDEF"))
        stage.outbox.add(stage.clock.now_ms())
        await delivered(stage, 1, nursery)
    [line] = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (line["event"], line["error"]) == ("delivery crashed", "RuntimeError")
    assert "ABCDEF" not in stream.getvalue()
    assert "+420" not in stream.getvalue()
