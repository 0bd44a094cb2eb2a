"""Hot operations in batches: gathered, called once, shed by priority. In virtual time."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from otp_server.api.lanes import BATCH_MAX, BEHIND_S, CALLS_MAX, LATE_S, WAITING_MAX
from otp_server.api.operation import Priority
from tests.support.hot_requests import ALONE_MAX, BODY_BYTES_MAX, HotStage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEADLINE_S = 1000


@asynccontextmanager
async def staged() -> AsyncIterator[HotStage]:
    stage = HotStage()
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(stage.face.run)
            yield stage
            nursery.cancel_scope.cancel()


def stall(stage: HotStage, *names: str) -> trio.Event:
    """Calls of these operations wait for the event."""
    go_on = trio.Event()

    async def before(name: str) -> None:
        if name in names:
            await go_on.wait()

    stage.calls.before = before
    return go_on


async def test_what_comes_at_once_is_one_call_each_operation() -> None:
    async with staged() as stage:
        first = stage.ask("start", b"1", b"2")
        second = stage.ask("judge", b"3")
        await wait_all_tasks_blocked()
        assert sorted(stage.calls.batches) == [("judge", [b"3"]), ("start", [b"1", b"2"])]
        assert [stage.answers[each][4] for each in first + second] == [b"1", b"2", b"3"]
        assert not any(lane.calls or lane.take() for lane in stage.face.load.lanes)


async def test_while_calls_are_in_flight_the_next_batch_gathers() -> None:
    async with staged() as stage:
        go_on = stall(stage, "judge")
        for n in range(CALLS_MAX):
            stage.ask("judge", b"%d" % n)
        later = [stage.ask("judge", b"later")[0] for _ in range(BATCH_MAX + 5)]
        await wait_all_tasks_blocked()
        assert len(stage.calls.batches) == CALLS_MAX
        go_on.set()
        await wait_all_tasks_blocked()
        sizes = sorted(len(batch) for _, batch in stage.calls.batches)
        assert sizes == [1] * CALLS_MAX + [5, BATCH_MAX]
        assert stage.statuses(later) == [200] * len(later)


async def test_a_stalled_operation_holds_up_no_other() -> None:
    async with staged() as stage:
        stall(stage, "start")
        stalled = [*stage.ask("start"), *stage.ask("start"), *stage.ask("start")]
        others = [*stage.ask("judge"), *stage.ask("foresee"), *stage.ask("deliver")]
        await wait_all_tasks_blocked()
        assert stage.statuses(stalled) == [0, 0, 0]
        assert stage.statuses(others) == [200, 200, 200]


async def test_who_waits_for_a_delivery_waits_alone() -> None:
    """The quick ones of those that came with a slow one are answered at once."""
    async with staged() as stage:
        slow = trio.Event()

        async def before(name: str) -> None:
            if stage.calls.batches[-1][1] == [b"slow"]:
                await slow.wait()

        stage.calls.before = before
        [first, *others] = stage.ask("deliver", b"slow", *[b"quick"] * 9)
        await wait_all_tasks_blocked()
        assert stage.statuses([first, *others]) == [0] + [200] * 9
        assert all(len(batch) == 1 for _, batch in stage.calls.batches)
        slow.set()
        await wait_all_tasks_blocked()
        assert stage.status(first) == 200


async def test_so_many_wait_alone_and_the_rest_queues() -> None:
    async with staged() as stage:
        go_on = stall(stage, "deliver")
        asked = stage.ask("deliver", *[b""] * (ALONE_MAX + 3))
        await wait_all_tasks_blocked()
        assert len(stage.calls.batches) == ALONE_MAX
        go_on.set()
        await wait_all_tasks_blocked()
        assert stage.statuses(asked) == [200] * len(asked)


@pytest.mark.parametrize("bug", [b"decode-crash", b"render-crash"])
async def test_a_bug_in_one_request_costs_that_request(bug: bytes) -> None:
    async with staged() as stage:
        asked = stage.ask("judge", b"1", bug, b"2")
        await wait_all_tasks_blocked()
        assert stage.statuses(asked) == [200, 500, 200]
        assert stage.answers[asked[1]][4] == b"internal"
        assert stage.crashes() == 1


async def test_a_bug_in_a_call_costs_its_batch_and_nobody_else() -> None:
    async with staged() as stage:
        bad = stage.ask("judge", b"1", b"call-crash")
        good = stage.ask("start", b"1")
        await wait_all_tasks_blocked()
        assert stage.statuses(bad + good) == [500, 500, 200]
        assert stage.crashes() == 1
        again = stage.ask("judge", b"1")
        await wait_all_tasks_blocked()
        assert stage.statuses(again) == [200]


async def test_a_body_that_is_too_large_is_told_in_the_faces_style() -> None:
    async with staged() as stage:
        [asked] = stage.ask("judge", None)
        _, status, _, headers, body = stage.answers[asked]
        assert (status, body) == (413, b"too_large")
        assert ("Connection", "close") in headers
        assert stage.ask("judge", b" " * BODY_BYTES_MAX)


async def test_while_draining_each_answer_is_the_last() -> None:
    async with staged() as stage:
        stage.draining = True
        [good] = stage.ask("judge", b"1")
        [large] = stage.ask("judge", None)
        await wait_all_tasks_blocked()
        for asked in (good, large):
            assert list(stage.answers[asked][3]).count(("Connection", "close")) == 1


# --- the store falls behind -------------------------------------------------------------------


async def test_who_waited_too_long_is_told_and_not_called(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with staged() as stage:
        go_on = stall(stage, "judge")
        called = [*stage.ask("judge"), *stage.ask("judge")]
        await trio.sleep(LATE_S / 2)
        waiting = stage.ask("judge", b"late", b"late")
        await trio.sleep(LATE_S - 0.01)
        assert stage.statuses(waiting) == [0, 0]
        await trio.sleep(0.02)
        assert stage.statuses(waiting) == [503, 503]
        _, _, _, headers, body = stage.answers[waiting[0]]
        assert (body, dict(headers)["Retry-After"]) == (b"overloaded", "1")
        assert stage.shed("judge") == 2
        go_on.set()
        await wait_all_tasks_blocked()
        assert stage.statuses(called) == [200, 200]
        assert all(b"late" not in batch for _, batch in stage.calls.batches)


async def test_a_queue_is_bounded() -> None:
    async with staged() as stage:
        stall(stage, "judge", "start", "foresee")
        for name, priority in (
            ("foresee", Priority.FORESEE),
            ("start", Priority.START),
            ("judge", Priority.JUDGE),
        ):
            for _ in range(CALLS_MAX):
                stage.ask(name)
            fitting = [stage.ask(name)[0] for _ in range(WAITING_MAX[priority])]
            [over] = stage.ask(name)
            assert stage.status(over) == 503
            assert not any(stage.statuses(fitting))


async def test_the_less_important_are_refused_before_the_more_important_find_no_room() -> None:
    """However fast the store is: what its lane holds may be less than it does in ``BEHIND_S``."""
    async with staged() as stage:
        go_on = stall(stage, "judge")
        for _ in range(CALLS_MAX):
            stage.ask("judge")
        judged = [stage.ask("judge")[0] for _ in range(WAITING_MAX[Priority.JUDGE] // 2 - 1)]
        early = stage.ask("start")
        judged += stage.ask("judge")
        refused = [*stage.ask("start"), *stage.ask("foresee")]
        more = stage.ask("judge")
        await wait_all_tasks_blocked()
        assert stage.statuses([*early, *refused]) == [200, 503, 503]
        assert not any(stage.statuses([*judged, *more]))
        go_on.set()
        await wait_all_tasks_blocked()
        assert set(stage.statuses([*judged, *more])) == {200}


async def test_the_less_important_are_refused_while_the_more_important_wait(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with staged() as stage:
        go_on = stall(stage, "judge")
        judged = [stage.ask("judge")[0] for _ in range(CALLS_MAX + 1)]
        await trio.sleep(BEHIND_S / 2)
        early = [*stage.ask("start"), *stage.ask("foresee")]
        await trio.sleep(BEHIND_S)
        refused = [*stage.ask("start"), *stage.ask("foresee"), *stage.ask("deliver")]
        more = stage.ask("judge")
        await wait_all_tasks_blocked()
        assert stage.statuses(early) == [200, 200]
        assert stage.statuses(refused) == [503] * 3
        assert stage.statuses(judged + more) == [0] * (CALLS_MAX + 2)
        go_on.set()
        await wait_all_tasks_blocked()
        recovered = [*stage.ask("start"), *stage.ask("foresee"), *stage.ask("deliver")]
        await wait_all_tasks_blocked()
        assert stage.statuses(judged + more + recovered) == [200] * (CALLS_MAX + 5)


async def test_starts_that_wait_refuse_what_only_foresees_and_nothing_judged(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with staged() as stage:
        stall(stage, "start")
        for _ in range(CALLS_MAX + 1):
            stage.ask("start")
        await trio.sleep(2 * BEHIND_S)
        others = [*stage.ask("judge"), *stage.ask("deliver"), *stage.ask("foresee")]
        await wait_all_tasks_blocked()
        assert stage.statuses(others) == [200, 200, 503]


async def test_slow_deliveries_say_nothing_of_the_store(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with staged() as stage:
        stall(stage, "deliver")
        stage.ask("deliver", *[b""] * (ALONE_MAX + 1))
        await trio.sleep(2 * BEHIND_S)
        others = [*stage.ask("judge"), *stage.ask("start"), *stage.ask("foresee")]
        await wait_all_tasks_blocked()
        assert stage.statuses(others) == [200, 200, 200]


@pytest.mark.parametrize("catches_up", [True, False])
async def test_while_the_store_is_behind_waiting_calls_of_less_priority_are_put_off(
    autojump_clock: trio.testing.MockClock,
    catches_up: bool,
) -> None:
    """They are called once it has caught up, or refused when it takes too long."""
    async with staged() as stage:
        go_on = {name: trio.Event() for name in ("judge", "start")}

        async def before(name: str) -> None:
            await go_on[name].wait()

        stage.calls.before = before
        for _ in range(CALLS_MAX):
            stage.ask("judge")
            stage.ask("start")
        [judged], [started] = stage.ask("judge", b"later"), stage.ask("start", b"later")
        await trio.sleep(BEHIND_S)
        stage.calls.batches.clear()
        go_on["start"].set()
        await wait_all_tasks_blocked()
        assert (stage.calls.batches, stage.status(started)) == ([], 0)
        if catches_up:
            go_on["judge"].set()
            await wait_all_tasks_blocked()
            assert sorted(stage.calls.batches) == [("judge", [b"later"]), ("start", [b"later"])]
            assert stage.statuses([judged, started]) == [200, 200]
        else:
            await trio.sleep(LATE_S)
            assert stage.statuses([judged, started]) == [503, 503]
            assert not stage.calls.batches


async def test_whoever_was_put_off_is_called_when_nobody_more_important_waits_any_longer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Also when those were refused, and none of their calls has ended."""
    async with staged() as stage:
        go_on = {name: trio.Event() for name in ("judge", "start")}

        async def before(name: str) -> None:
            await go_on[name].wait()

        stage.calls.before = before
        for _ in range(CALLS_MAX):
            stage.ask("judge")
            stage.ask("start")
        [judged] = stage.ask("judge")
        await trio.sleep(BEHIND_S / 2)
        [started] = stage.ask("start")
        await trio.sleep(BEHIND_S)
        go_on["start"].set()
        await wait_all_tasks_blocked()
        assert stage.statuses([judged, started]) == [0, 0]
        await trio.sleep(LATE_S - BEHIND_S * 1.4)
        assert stage.statuses([judged, started]) == [503, 200]
