"""Many waiting operations are one commit, and one bad operation spoils no other."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from otp_server.errors import AlreadyExists, StoreUnavailable
from otp_server.stores.sqlite import SqliteOptions, open_sqlite_store
from tests.contracts.samples import device, new_code, state_of
from tests.unit.stores.gates import Gate, at_commits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import apsw

    from otp_server.stores.sqlite import SqliteStore

OPEN_FILES = Path("/proc/self/fd")


async def queue_up(
    store: SqliteStore, calls: list[Callable[[], Awaitable[object]]]
) -> list[object]:
    """Hold the writer until all calls wait, let it go; the answers, errors among them."""
    answers: list[object] = [None] * len(calls)
    gate = Gate()

    async def ask(place: int) -> None:
        try:
            answers[place] = await calls[place]()
        except BaseException as error:  # noqa: BLE001 - the answer
            answers[place] = error

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store._writer.call, gate.stand)
            await gate.reached()
            for place in range(len(calls)):
                nursery.start_soon(ask, place)
            await trio.testing.wait_all_tasks_blocked()
            assert store.statistics().writer.queued == len(calls)
            gate.open()
    return answers


async def test_all_that_wait_share_one_commit(store: SqliteStore) -> None:
    before = store.statistics().writer
    answers = await queue_up(
        store,
        [lambda n=n: store.issue_device_codes([new_code(n, n % 4, [[n]])]) for n in range(64)],
    )
    assert answers == [[0]] * 64
    after = store.statistics().writer
    assert after.groups - before.groups == 2  # the gate's, and one for all
    assert after.operations - before.operations == 65
    assert after.queued == 0


async def test_a_group_is_bounded(path: Path) -> None:
    store = await open_sqlite_store(path, SqliteOptions(group_max=10))
    before = store.statistics().writer.groups
    await queue_up(store, [store.probe] * 64)
    assert store.statistics().writer.groups - before == 1 + 7
    await store.aclose()


async def test_the_queue_is_bounded(path: Path) -> None:
    store = await open_sqlite_store(path, SqliteOptions(queue_max=3))
    gate = Gate()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store._writer.call, gate.stand)
            await gate.reached()
            for _ in range(3):
                nursery.start_soon(store.probe)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(StoreUnavailable, match="3 operations wait"):
                await store.probe()
            gate.open()
    await store.probe()
    await store.aclose()


@pytest.mark.parametrize("error", [ValueError("a bug"), SystemExit(3), KeyboardInterrupt()])
async def test_an_operation_that_raises_is_rolled_back_alone(
    store: SqliteStore, error: BaseException
) -> None:
    def bad(connection: apsw.Connection) -> None:
        connection.execute("DELETE FROM probes")
        raise error

    answers = await queue_up(
        store,
        [
            lambda: store.issue_device_codes([new_code(1, 0, [[1]])]),
            lambda: store._writer.call(bad),
            lambda: store.issue_device_codes([new_code(2, 1, [[2]])]),
        ],
    )
    assert answers == [[0], error, [0]]
    assert await store._reader.call(lambda c: c.execute("SELECT * FROM probes").fetchone())
    assert [await state_of(store, n) for n in (1, 2)] == ["issued", "issued"]


async def test_one_that_raises_alone_leaves_nothing(store: SqliteStore) -> None:
    def bad(connection: apsw.Connection) -> None:
        connection.execute("DELETE FROM probes")
        raise ValueError("a bug")

    await store.probe()
    before = store.statistics().writer
    with pytest.raises(ValueError, match="a bug"):
        await store._writer.call(bad)
    assert await store._reader.call(lambda c: c.execute("SELECT * FROM probes").fetchone())
    after = store.statistics().writer
    assert (after.operations - before.operations, after.failed_groups) == (1, 0)
    await store.probe()


@pytest.mark.skipif(not OPEN_FILES.exists(), reason="no list of open files")
async def test_no_page_is_written_to_a_temporary_file(store: SqliteStore) -> None:
    """What a savepoint may bring back is more than SQLite keeps in memory by itself."""

    def fill(connection: apsw.Connection) -> None:
        connection.execute(
            "WITH RECURSIVE n (v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 9999)"
            " INSERT INTO contact_failures SELECT 'tenant', randomblob(32), 1, v FROM n"
        )

    seen: list[set[str]] = []

    def change(connection: apsw.Connection) -> None:
        seen.append(open_files())
        connection.execute("UPDATE contact_failures SET failures = 2")
        seen.append(open_files())

    await store._writer.call(fill)
    await queue_up(store, [lambda: store._writer.call(change), store.probe])
    before, after = seen
    assert any(name.endswith("otp.db") for name in before)
    assert not [name for name in after - before if name.endswith("(deleted)")]


def open_files() -> set[str]:
    names: set[str] = set()
    for file in OPEN_FILES.iterdir():
        with suppress(OSError):  # closed meanwhile
            names.add(str(file.readlink()))
    return names


async def test_a_taken_name_is_its_callers_alone(store: SqliteStore) -> None:
    answers = await queue_up(store, [lambda n=n: store.add_device(device(n)) for n in (8, 8, 2, 9)])
    kinds = [type(answer) for answer in answers]
    assert kinds[2:] == [AlreadyExists, type(None)]
    assert sorted(kind.__name__ for kind in kinds[:2]) == ["AlreadyExists", "NoneType"]


async def test_a_statement_that_is_wrong_is_its_callers_alone(store: SqliteStore) -> None:
    def twice(connection: apsw.Connection) -> None:
        connection.execute("INSERT INTO probes (only, writes) VALUES (1, 1)")

    answers = await queue_up(store, [lambda: store._writer.call(twice), store.probe])
    assert [type(a).__name__ for a in answers] == ["ConstraintError", "NoneType"]


async def test_when_the_commit_fails_all_hear_it_and_nothing_was_applied(
    store: SqliteStore,
) -> None:
    def bug(_: apsw.Connection) -> None:
        raise ValueError

    await at_commits(store, False, True)  # the gate's passes
    answers = await queue_up(
        store,
        [lambda n=n: store.issue_device_codes([new_code(n, n, [[n]])]) for n in range(3)]
        + [lambda: store._writer.call(bug)],
    )
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 3 + [ValueError]
    assert len({id(answer) for answer in answers}) == 4  # no traceback is shared
    assert [await state_of(store, n) for n in range(3)] == [None] * 3
    assert await store.issue_device_codes([new_code(1, 0, [[1]])]) == [0]
    assert store.statistics().writer.failed_groups == 1


async def test_a_read_sees_every_write_acknowledged_before_it(store: SqliteStore) -> None:
    for n in range(10, 60):
        await store.add_device(device(n))
        assert await store.get_devices([f"device-{n}"]) == [device(n)]


async def test_reads_go_on_while_the_writer_stands(store: SqliteStore) -> None:
    gate = Gate()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store._writer.call, gate.stand)
            await gate.reached()
            assert await store.get_devices(["device-1"]) == [device(1)]
            gate.open()


async def test_closing_finishes_what_is_queued(store: SqliteStore, path: Path) -> None:
    gate = Gate()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store._writer.call, gate.stand)
            await gate.reached()
            nursery.start_soon(store.add_device, device(7))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(store._writer.aclose)
            await trio.testing.wait_all_tasks_blocked()
            gate.open()
    await store.aclose()
    assert not store._writer._thread.is_alive()
    assert not store._reader._thread.is_alive()
    assert not path.with_name("otp.db-wal").exists()  # folded into the file
    again = await open_sqlite_store(path)
    assert await again.get_devices(["device-7"]) == [device(7)]
    await again.aclose()


async def test_reader_and_writer_own_their_connections(store: SqliteStore) -> None:
    with pytest.raises(Exception, match="readonly"):
        await store._reader.call(lambda c: c.execute("UPDATE probes SET writes = 0"))
    assert (await store._writer.call(lambda c: c.pragma("synchronous"))) == 2
    assert (await store._writer.call(lambda c: c.pragma("journal_mode"))) == "wal"
    assert (await store._writer.call(lambda c: c.pragma("foreign_keys"))) == 1


async def test_devices_are_read_by_many_in_few_transactions(store: SqliteStore) -> None:
    await add_devices_in_parallel(store, 30)
    before = store.statistics().reader
    async with trio.open_nursery() as nursery:
        for n in range(200):
            nursery.start_soon(store.get_devices, [f"device-{n % 34}"])
    after = store.statistics().reader
    assert after.operations - before.operations == 200
    assert after.groups - before.groups < 100


async def add_devices_in_parallel(store: SqliteStore, count: int) -> None:
    async with trio.open_nursery() as nursery:
        for n in range(4, 4 + count):
            nursery.start_soon(store.add_device, device(n))
