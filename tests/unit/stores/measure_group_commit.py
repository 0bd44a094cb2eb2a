"""Group commit against single commits, 64 waiting operations: a ratio, both sides in one run.

Run from the repository's root, on the disk to be judged::

    python -m tests.unit.stores.measure_group_commit [FOLDER]

An operation issues one device code. Five interleaved rounds; the medians of codes a second and of
the ratio are printed. Nothing is gated here: one process's disk is another's noise.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import trio

from otp_server.stores.sqlite import SqliteOptions, open_sqlite_store
from tests.contracts.samples import add_devices, new_code

WAITING, ROUNDS = 64, 5
SINGLE, GROUPED = 1500, 12_000


async def codes_a_second(folder: str, group_max: int, count: int) -> float:
    path = Path(folder) / f"{group_max}.db"
    store = await open_sqlite_store(path, SqliteOptions(group_max=group_max))
    await add_devices(store, WAITING)
    batches = iter([[new_code(n, n % WAITING, [[n * 2**200 // 7]])] for n in range(count)])

    async def ask() -> None:
        for batch in batches:
            answer = await store.issue_device_codes(batch)
            assert answer == [0]

    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(WAITING):
            nursery.start_soon(ask)
    elapsed = time.perf_counter() - started
    groups = store.statistics().writer.groups
    await store.aclose()
    assert groups > count if group_max == 1 else groups < count / 8
    return count / elapsed


async def main() -> None:
    rounds = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as folder:
            single = await codes_a_second(folder, 1, SINGLE)
            grouped = await codes_a_second(folder, 1024, GROUPED)
        rounds.append((single, grouped, grouped / single))
    single, grouped, ratio = (median(column) for column in zip(*rounds, strict=True))
    sys.stdout.write(f"single {single:.0f}/s, grouped {grouped:.0f}/s, ratio {ratio:.1f}\n")


if __name__ == "__main__":
    trio.run(main)
