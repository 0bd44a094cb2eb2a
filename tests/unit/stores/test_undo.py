"""Cancelling an issue at every stage: not applied, or void before any later call sees it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
import trio.testing

from otp_server.errors import StoreUnavailable
from otp_server.services.ports import AcceptRefusal
from otp_server.stores.sqlite import group_commit, issue_statements, open_sqlite_store
from tests.contracts.samples import accept, digest, guess, new_code, state_of
from tests.unit.stores.gates import Gate, at_commits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import apsw
    import pytest

    from otp_server.stores.sqlite import SqliteStore

NOT_LIVE = AcceptRefusal.NOT_LIVE


@asynccontextmanager
async def issuing(store: SqliteStore) -> AsyncIterator[trio.CancelScope]:
    """Issue code 1 beside the block; the block cancels it, and it ends without an answer."""
    answers: list[object] = []
    scope = trio.CancelScope()

    async def issue() -> None:
        with scope:
            answers.append(await store.issue_device_codes([new_code(1, 0, [[1]])]))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(issue)
            yield scope
    assert answers == []
    assert scope.cancelled_caught


async def test_cancelled_while_queued_it_never_runs(store: SqliteStore) -> None:
    gate = Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store._writer.call, gate.stand)
        await gate.reached()
        async with issuing(store) as scope:
            await trio.testing.wait_all_tasks_blocked()
            assert store.statistics().writer.queued == 1
            scope.cancel()
        # Its task is gone and the gate still closed: it did not wait for the disk.
        assert store.statistics().writer.queued == 0
        gate.open()
    assert await state_of(store, 1) is None


async def test_cancelled_in_a_group_before_its_turn_it_never_runs(store: SqliteStore) -> None:
    first, second = Gate(), Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store._writer.call, first.stand)
        await first.reached()
        nursery.start_soon(store._writer.call, second.stand)
        await trio.testing.wait_all_tasks_blocked()
        async with issuing(store) as scope:
            await trio.testing.wait_all_tasks_blocked()
            first.open()
            await second.reached()  # in one group with the issue, and before it
            assert store.statistics().writer.queued == 0
            scope.cancel()
        second.open()
    assert await state_of(store, 1) is None
    assert store.statistics().writer.undos == 0


async def test_cancelled_while_running_it_is_void(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    issue = issue_statements.issue_device_codes

    def slow(connection: apsw.Connection, **batch: object) -> object:
        answer = issue(connection, **batch)
        gate.stand()
        return answer

    monkeypatch.setattr(issue_statements, "issue_device_codes", slow)
    async with issuing(store) as scope:
        await gate.reached()
        scope.cancel()
    assert store.statistics().writer.undos_owed == 1
    gate.open()
    assert await state_of(store, 1) == "void"
    assert store.statistics().writer.undos_owed == 0


async def test_calls_that_wait_meanwhile_see_it_void(store: SqliteStore) -> None:
    gate = Gate()
    await at_commits(store, gate)
    seen: list[object] = []

    async def later() -> None:
        seen.extend(await store.accept_device_codes([accept(1)]))
        [found] = await store.count_guesses([(guess(1), [digest(1)])])
        seen.append(None if found is None else found.state.value)

    async with trio.open_nursery() as nursery:
        async with issuing(store) as scope:
            await gate.reached()  # its COMMIT has begun
            scope.cancel()
        nursery.start_soon(later)
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert seen == [NOT_LIVE, "void"]
    assert store.statistics().writer.undos == 1


async def test_a_count_on_the_reader_waits_for_the_undo(store: SqliteStore) -> None:
    issued, undone = Gate(), Gate()
    await at_commits(store, issued, undone)
    counts: list[object] = []

    async def count() -> None:
        counts.append(await store.live_device_codes(0))

    async with trio.open_nursery() as nursery:
        async with issuing(store) as scope:
            await issued.reached()
            scope.cancel()
        issued.open()
        await undone.reached()  # the code is committed, its end not yet
        nursery.start_soon(count)
        await trio.testing.wait_all_tasks_blocked()
        while store.statistics().reader.queued:
            await trio.lowlevel.checkpoint()
        undone.open()
    assert counts == [{}]


async def test_cancelled_between_commit_and_answer_it_is_void(store: SqliteStore) -> None:
    gate = Gate()
    await at_commits(store, gate)
    before = store.statistics().writer.groups
    async with issuing(store) as scope:
        await gate.reached()
        gate.open()
        while store.statistics().writer.groups == before:
            pass  # no checkpoint: the answer cannot reach its task
        scope.cancel()
    assert await store.accept_device_codes([accept(1)]) == [NOT_LIVE]
    assert await state_of(store, 1) == "void"


async def test_the_code_it_superseded_stays_ended_and_it_may_be_tried_again(
    store: SqliteStore,
) -> None:
    await store.issue_device_codes([new_code(9, 0, [[9]])])
    gate = Gate()
    await at_commits(store, gate)
    async with issuing(store) as scope:
        await gate.reached()
        scope.cancel()
    gate.open()
    assert await store.issue_device_codes([new_code(2, 0, [[1]])]) == [0]
    assert await state_of(store, 9) == "superseded"
    assert await store.live_device_codes(0) == {6: 1}


async def test_until_the_undo_succeeds_nothing_else_runs(store: SqliteStore) -> None:
    gate = Gate()
    await at_commits(store, gate, True, True, False)
    async with issuing(store) as scope:
        await gate.reached()
        scope.cancel()
    outcomes: list[object] = []

    async def confirm() -> None:
        try:
            outcomes.extend(await store.accept_device_codes([accept(1)]))
        except StoreUnavailable:
            outcomes.append("unavailable")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(confirm)
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    while outcomes[-1] == "unavailable":
        await confirm()
    assert outcomes[0] == "unavailable"
    assert outcomes[-1] is NOT_LIVE
    assert await state_of(store, 1) == "void"
    assert store.statistics().writer.failed_groups == 2


async def test_a_failed_undo_is_tried_again_by_itself(store: SqliteStore) -> None:
    gate, undone = Gate(), Gate()
    await at_commits(store, gate, True, undone)
    async with issuing(store) as scope:
        await gate.reached()
        scope.cancel()
    gate.open()
    with trio.fail_after(20):
        await undone.reached()  # nobody asked for anything
    undone.open()
    assert await state_of(store, 1) == "void"


async def test_an_issue_whose_commit_failed_owes_nothing(store: SqliteStore) -> None:
    gate = Gate(refuse=True)
    await at_commits(store, gate)
    async with issuing(store) as scope:
        await gate.reached()
        scope.cancel()
    gate.open()
    await store.probe()
    assert store.statistics().writer.undos_owed == 0
    assert store.statistics().writer.undos == 0
    assert await state_of(store, 1) is None


async def test_closing_undoes_first(store: SqliteStore, path: Path) -> None:
    gate = Gate()
    await at_commits(store, gate)
    async with issuing(store) as scope:
        await gate.reached()
        scope.cancel()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store._writer.aclose)
            await trio.testing.wait_all_tasks_blocked()
            gate.open()
    await store.aclose()
    again = await open_sqlite_store(path)
    assert await state_of(again, 1) == "void"
    await again.aclose()


async def test_closing_ends_though_the_undo_never_succeeds(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "UNDO_RETRY_S", 0.001)
    gate = Gate()
    await at_commits(store, gate, *([True] * 1000))
    async with issuing(store) as scope:
        await gate.reached()
        scope.cancel()
    gate.open()
    with trio.fail_after(20):
        await store.aclose()
    assert not store._writer._thread.is_alive()
    assert store.statistics().writer.undos_owed == 1


async def test_a_write_without_undo_may_stay(store: SqliteStore) -> None:
    gate = Gate()
    await at_commits(store, gate)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.revoke_device, "device-2", 5)
            await gate.reached()
            nursery.cancel_scope.cancel()
    gate.open()
    await store.probe()
    [device] = await store.get_devices(["device-2"])
    assert device is not None
    assert device.revoked
