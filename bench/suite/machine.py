"""Processors, memory and descriptors of this machine."""

from __future__ import annotations

import os
import platform
import re
import resource
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_KIB = 1024
_LOOK_S = 0.1
_RESTING_SHARE = 0.15


def cores() -> tuple[int, int]:
    """The processor of the servers and that of the load; the same one where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[1 if len(allowed) > 1 else 0]


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Processes started inside run on this processor, with all their threads, from the start."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_descriptors() -> int:
    """Raise the soft descriptor limit to the hard one; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def pss_bytes(pid: int) -> int:
    """The proportional set size: this process's memory, shared pages divided by their sharers."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    if found is None:
        raise OSError(f"no Pss for process {pid}")
    return int(found[1]) * _KIB


def kernel_bytes() -> int:
    """What the kernel holds for all of the machine: its slabs and the TCP buffers."""
    meminfo = Path("/proc/meminfo").read_text()
    slab = re.search(r"^Slab:\s+(\d+) kB", meminfo, re.MULTILINE)
    buffers = re.search(r"^TCP: .* mem (\d+)", Path("/proc/net/sockstat").read_text(), re.MULTILINE)
    pages = int(buffers[1]) if buffers else 0
    return (int(slab[1]) * _KIB if slab else 0) + pages * resource.getpagesize()


def cpu_seconds(pid: int) -> float:
    """What its threads have used so far, to the nanosecond where the kernel keeps it."""
    exact = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            exact += int((thread / "schedstat").read_text().split()[0])
        except (OSError, IndexError):
            continue
    return exact / 1e9


def process_cpu_seconds(pid: int) -> float:
    """The process's CPU time so far, of threads that ended too (``clock_getcpuclockid(3)``)."""
    return time.clock_gettime(~pid << 3 | 2)


def settle(pid: int, within_s: float = 30.0) -> None:
    """Wait until the process rests: it may be busy for long with connections that just ended.

    What others wrote is on the disk then: their write-back would else be in its commits.
    """
    os.sync()
    until = time.monotonic() + within_s
    before = cpu_seconds(pid)
    while time.monotonic() < until:
        time.sleep(_LOOK_S)
        now = cpu_seconds(pid)
        if now - before < _LOOK_S * _RESTING_SHARE:
            return
        before = now


def open_descriptors(pid: int) -> int:
    """How many descriptors the process holds."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def describe() -> dict[str, object]:
    """What a reader of the figures must know; no names of machines."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        model = found[1] if found else ""
    return {
        "processors": len(os.sched_getaffinity(0)),
        "model": model,
        "architecture": platform.machine(),
        "kernel": ".".join(platform.release().split(".")[:2]),
        "python": platform.python_version(),
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
    }
