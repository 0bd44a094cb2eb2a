"""What the disk and other processes may do to the file; it recovers without a restart (41)."""
# ruff: noqa: ASYNC240 - a rename in a test's own folder blocks nobody

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import apsw
import pytest
import trio
import trio.testing

from otp_server.errors import StoreUnavailable
from otp_server.stores.sqlite import SqliteOptions, open_sqlite_store
from tests.contracts.samples import accept, add_devices, device, find, new_code, state_of
from tests.support.changed_values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from otp_server.domain.device import Device
    from otp_server.stores.sqlite import SqliteStore


def big_device(n: int) -> Device:
    return replace(device(n), name="n" * 50_000)


async def fill(store: SqliteStore, start: int = 1000) -> int:
    """Add big devices until the disk is full; how many were added."""
    with pytest.raises(StoreUnavailable, match=r"disk|failed") as caught:  # noqa: PT012
        for n in range(start, start + 1000):
            added = n - start
            await store.add_device(big_device(n))
    assert isinstance(caught.value.__cause__, apsw.Error)
    return added


async def test_a_full_database_refuses_and_recovers(store: SqliteStore) -> None:
    def limit(pages: int) -> Callable[[apsw.Connection], object]:
        return lambda connection: connection.pragma("max_page_count", pages)

    pages = await store._writer.call(lambda connection: connection.pragma("page_count"))
    await store._writer.call(limit(pages + 30))
    with trio.fail_after(30):
        added = await fill(store)
        with pytest.raises(StoreUnavailable, match="disk full: free space on the volume of"):
            await store.add_device(big_device(999))
        assert len(await store.list_devices()) == 4 + added  # reads go on
        await store._writer.call(limit(10**6))
        await store.add_device(big_device(999))
    assert len(await store.list_devices()) == 5 + added


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", bytes(folder), b"tmpfs", 0, b"size=1m"):
        pytest.skip(f"a file system cannot be mounted here: {os.strerror(ctypes.get_errno())}")
    yield folder
    libc.umount2(bytes(folder), 2)  # MNT_DETACH


async def test_a_full_disk_refuses_and_recovers(tiny_disk: Path) -> None:
    store = await open_sqlite_store(tiny_disk / "otp.db")
    await add_devices(store, 2)
    with trio.fail_after(30):
        ballast = tiny_disk / "ballast"
        ballast.write_bytes(bytes(512 * 1024))
        added = await fill(store)
        with pytest.raises(StoreUnavailable):  # noqa: PT012
            for n in range(1000):  # what is left of the WAL may take a few
                await store.issue_device_codes([new_code(n, n % 2, [[n]])])
        assert await store.get_devices(["device-1"]) == [device(1)]
        ballast.unlink()
        assert await store.issue_device_codes([new_code(5000, 0, [[5000]])]) == [0]
        assert await state_of(store, 5000) == "issued"
        await store.aclose()
    assert added > 0


SCRIPT_HEAD = """
import sys, signal, resource, pathlib, trio
from otp_server.stores.sqlite import open_sqlite_store, SqliteOptions
from otp_server.errors import StoreUnavailable
from tests.contracts.samples import *
path = pathlib.Path(sys.argv[1])
"""


def script(body: str, path: Path) -> subprocess.Popen[str]:
    """Another process, importing what this one does."""
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT_HEAD + textwrap.dedent(body), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)},
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out


def test_a_file_size_limit_refuses_and_recovers(path: Path) -> None:
    """EFBIG from the system, which SQLite calls an I/O error: the connection is opened anew."""
    process = script(
        """
        async def main():
            store = await open_sqlite_store(path)
            await add_devices(store, 2)
            size = path.with_name("otp.db-wal").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20_000, resource.RLIM_INFINITY))
            refused = 0
            for n in range(200):
                try:
                    await store.issue_device_codes([new_code(n, n % 2, [[n]])])
                except StoreUnavailable as error:
                    refused += 1
                    assert "check the disk" in str(error) or "disk full" in str(error), error
            assert refused > 100, refused
            assert await store.get_devices(["device-1"]) == [device(1)]
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            assert await store.issue_device_codes([new_code(999, 0, [[999]])]) == [0]
            assert await state_of(store, 999) == "issued"
            await store.aclose()
            print("recovered")
        trio.run(main)
        """,
        path,
    )
    assert finish(process) == "recovered\n"


async def test_a_file_moved_away_refuses_until_it_is_back(store: SqliteStore, path: Path) -> None:
    elsewhere = path.with_name("elsewhere.db")
    path.rename(elsewhere)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="gone: move it back"):
            await store.issue_device_codes([new_code(1, 0, [[1]])])
        with pytest.raises(StoreUnavailable, match="gone: move it back"):
            await store.get_devices(["device-0"])
    elsewhere.rename(path)
    assert await store.issue_device_codes([new_code(2, 0, [[2]])]) == [0]
    assert await state_of(store, 1) is None
    assert await store.get_devices(["device-0"]) == [device(0)]


async def test_another_file_in_its_place_is_refused(store: SqliteStore, path: Path) -> None:
    elsewhere = path.with_name("elsewhere.db")
    path.rename(elsewhere)
    path.write_bytes(b"")
    with pytest.raises(StoreUnavailable, match="replaced by another file"):
        await store.probe()
    assert path.read_bytes() == b""
    elsewhere.rename(path)
    await store.probe()


async def test_a_connection_that_failed_is_opened_anew(store: SqliteStore) -> None:
    def broken(_: apsw.Connection) -> None:
        raise apsw.IOError("the disk coughed")

    first = await store._writer.call(lambda connection: connection)
    with pytest.raises(StoreUnavailable, match="check the disk"):
        await store._writer.call(broken)
    await store.probe()
    assert await store._writer.call(lambda connection: connection) is not first
    with pytest.raises(apsw.ConnectionClosedError):
        first.execute("SELECT 1")


async def test_a_connection_still_sound_goes_on_at_once(store: SqliteStore) -> None:
    def busy(connection: apsw.Connection) -> None:
        connection.execute("UPDATE probes SET writes = -1")
        raise apsw.BusyError("another process")

    first = await store._writer.call(lambda connection: connection)
    with pytest.raises(StoreUnavailable, match="is locked"):
        await store._writer.call(busy)
    writes = await store._writer.call(lambda c: c.execute("SELECT writes FROM probes").get)
    assert writes >= 0
    assert await store._writer.call(lambda connection: connection) is first


async def test_a_lock_of_another_process_refuses_writes_only(
    store: SqliteStore, path: Path
) -> None:
    process = script(
        """
        import apsw
        other = apsw.Connection(str(path))
        other.set_busy_timeout(10_000)
        other.execute("BEGIN IMMEDIATE")
        print("locked", flush=True)
        sys.stdin.readline()
        other.execute("ROLLBACK")
        print("released", flush=True)
        """,
        path,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert await trio.to_thread.run_sync(process.stdout.readline) == "locked\n"
    with trio.fail_after(20):
        with pytest.raises(StoreUnavailable, match="is locked: end the process"):
            await store.probe()
        assert await store.get_devices(["device-0"]) == [device(0)]
    process.stdin.write("go\n")
    process.stdin.flush()
    assert await trio.to_thread.run_sync(process.stdout.readline) == "released\n"
    await store.probe()
    finish(process)


async def test_a_lock_released_in_time_is_waited_for(path: Path) -> None:
    store = await open_sqlite_store(path)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.probe)
            await trio.testing.wait_all_tasks_blocked()
            while store.statistics().writer.queued:
                await trio.lowlevel.checkpoint()
            other.execute("ROLLBACK")
    assert store.statistics().writer.failed_groups == 0
    other.close()
    await store.aclose()


async def test_another_process_registers_and_revokes_beside_us(
    store: SqliteStore, path: Path
) -> None:
    await store.issue_device_codes([new_code(1, 0, [[1]])])
    cursor, _ = await store.revocations_since(0)
    process = script(
        """
        async def main():
            store = await open_sqlite_store(path)
            await store.add_device(device(77))
            assert await store.revoke_device("device-0", 5)
            await store.aclose()
        trio.run(main)
        """,
        path,
    )
    await trio.to_thread.run_sync(finish, process)
    _, revoked = await store.revocations_since(cursor)
    assert revoked == ["device-0"]
    assert await store.get_devices(["device-77"]) == [device(77)]
    assert await state_of(store, 1) == "revoked"


async def test_killed_in_the_middle_every_acknowledged_code_is_there(path: Path) -> None:
    process = script(
        """
        async def worker(store, k):
            for n in range(k, 10**9, 8):
                [index] = await store.issue_device_codes([new_code(n, k, [[n]])])
                assert index == 0
                print(n, flush=True)

        async def main():
            store = await open_sqlite_store(path)
            await add_devices(store, 8)
            async with trio.open_nursery() as nursery:
                for k in range(8):
                    nursery.start_soon(worker, store, k)
        trio.run(main)
        """,
        path,
    )
    with process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(300)]
        process.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout.read().split("\n")[:-1]]
    store = await open_sqlite_store(path)
    assert await store._reader.call(lambda c: c.pragma("integrity_check")) == "ok"
    for n in acknowledged:
        assert await find(store, n) is not None
    newest = [max(n for n in acknowledged if n % 8 == k) for k in range(8)]
    live = await store.live_device_codes(0)
    assert live == {6: 8}
    for n in newest:
        assert await state_of(store, n) in {"issued", "superseded"}  # the next one unheard of
    await store.aclose()


async def test_a_damaged_file_is_named(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    await store.aclose()
    bad = tmp_path / "bad.db"
    shutil.copy(path, bad)
    with bad.open("r+b") as file:
        file.write(b"nonsense" * 512)
    with pytest.raises(StoreUnavailable, match="no SQLite database: stop the server"):
        await open_sqlite_store(bad)


async def test_a_trio_run_that_ends_without_closing_leaves_no_answer_behind(path: Path) -> None:
    """The writer outlives a run that crashed; what it issued unheard is undone."""
    process = script(
        """
        import threading
        held = threading.Event()
        async def main():
            global store
            store = await open_sqlite_store(path)
            await add_devices(store, 1)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store._writer.call, lambda c: held.wait(20))
                nursery.start_soon(store.issue_device_codes, [new_code(1, 0, [[1]])])
                await trio.testing.wait_all_tasks_blocked()
                raise KeyError
        import trio.testing
        try:
            trio.run(main)
        except* KeyError:
            held.set()
        print("ended")
        """,
        path,
    )
    assert await trio.to_thread.run_sync(finish, process) == "ended\n"
    store = await open_sqlite_store(path, SqliteOptions())
    assert (await store.accept_device_codes([accept(1)]))[0] == "not_live"
    await store.aclose()
