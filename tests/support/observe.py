"""Watching another process: wait for something to become true, by an absolute deadline."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import trio

if TYPE_CHECKING:
    from collections.abc import Callable

_LOOK_AGAIN_S = 0.02


def wait_until(true: Callable[[], bool], within_s: float, what: str) -> None:
    """Look until ``true()``; AssertionError names ``what`` when it never was."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(_LOOK_AGAIN_S)


async def until(true: Callable[[], bool], within_s: float = 10) -> None:
    """The same inside a Trio run. Raises TooSlowError when it never was true."""
    with trio.fail_after(within_s):
        while not true():  # noqa: ASYNC110 - what is observed has no event to give
            await trio.sleep(0.001)


def resident_mib(pid: int) -> float:
    """The resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has no VmRSS")


def metric(ops_url: str, name: str) -> float:
    """The value of one line of ``/metrics``, labels included in its name; 0 where it is not."""
    text = httpx2.get(f"{ops_url}/metrics", timeout=10, trust_env=False).text
    for line in text.splitlines():
        if line.rpartition(" ")[0] == name:
            return float(line.rpartition(" ")[2])
    return 0.0
