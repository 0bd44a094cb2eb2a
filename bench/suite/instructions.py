"""Instructions of each operation of the Rust core, counted by callgrind.

The count of an operation is the difference of two runs with different numbers of repetitions,
divided by the difference of the numbers: starting and preparing cancel out. It depends on the
compiler, the C library and valgrind, so committed figures name theirs and bind only these.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.suite.processes import BenchError, NotHereError
from bench.suite.servers import RELEASE, ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = ROOT / "bench" / "instructions.toml"
TOLERANCE = 0.02
FEW, MANY = 1_000, 3_000
_ROUNDING = 1e-9
_REGENERATE = "where it is meant, regenerate with: make bench-baseline"
_HEAD = """\
# Instructions of one operation of the Rust core, by callgrind. Written by `make bench-baseline`;
# checked by `make bench-gate` within {percent:g} %, where they were made with the same.
made_with = "{made_with}"

[operations]
"""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The committed figures."""

    made_with: str
    operations: dict[str, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One operation beside its committed figure."""

    operation: str
    found: float | None
    committed: float | None
    fails: bool
    note: str

    def as_json(self) -> dict[str, object]:
        """A line of the run's file."""
        return {
            "kind": "instructions",
            "operation": self.operation,
            "found": self.found,
            "committed": self.committed,
            "fails": self.fails,
            "note": self.note,
        }


def toolchain() -> str:
    """What a count depends on: the compiler and its target, the C library, valgrind."""
    done = subprocess.run(
        [shutil.which("rustc") or "rustc", "-vV"], capture_output=True, text=True, check=True
    )
    found = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    valgrind = subprocess.run(
        [need_valgrind(), "--version"], capture_output=True, text=True, check=True
    )
    libc = " ".join(platform.libc_ver())
    rustc = f"rustc {found.get('release', '?')} {found.get('host', '?')}"
    return f"{rustc}, {libc}, {valgrind.stdout.strip()}"


def need_valgrind() -> str:
    """Where valgrind is. In CI it is installed, or the gate fails; a person may go without."""
    found = shutil.which("valgrind")
    if found is None and os.environ.get("CI") == "true":
        apt = shutil.which("apt-get")
        if apt is not None:
            for words in (["update", "-qq"], ["install", "-y", "-qq", "valgrind"]):
                subprocess.run([apt, *words], check=False, capture_output=True, timeout=300)
        found = shutil.which("valgrind")
        if found is None:
            raise BenchError("valgrind is not there and could not be installed")
    if found is None:
        raise NotHereError("valgrind is not installed (apt-get install valgrind)")
    return found


def count_all(features: str = "") -> dict[str, float]:
    """Instructions of each operation. ``features`` builds the driver with a planted regression."""
    valgrind = need_valgrind()
    binary = RELEASE / "instructions"
    if features:
        _build(features)
    try:
        listed = subprocess.run([binary, "list"], capture_output=True, text=True, check=True)
        counts = {}
        for operation in listed.stdout.split():
            few, many = (_count(valgrind, str(binary), operation, n) for n in (FEW, MANY))
            counts[operation] = round((many - few) / (MANY - FEW), 1)
    finally:
        if features:
            _build("")
    return counts


def _build(features: str) -> None:
    words = ["--features", features] if features else []
    cargo = shutil.which("cargo") or "cargo"
    subprocess.run(
        [cargo, "build", "-q", "--release", "--locked", "-p", "bench_instructions", *words],
        cwd=ROOT,
        check=True,
        timeout=600,
    )


def _count(valgrind: str, binary: str, operation: str, times: int) -> int:
    done = subprocess.run(
        [
            *(valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null"),
            *(binary, operation, str(times)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise BenchError(f"{operation} cannot be counted: {done.stderr.strip()[-300:]}")
    return int(found[1])


def read() -> Baseline | None:
    """The committed figures; None before the first."""
    if not FILE.exists():
        return None
    table = tomllib.loads(FILE.read_text())
    return Baseline(table["made_with"], {k: float(v) for k, v in table["operations"].items()})


def write(made_with: str, counts: Mapping[str, float]) -> None:
    """Commit new figures."""
    lines = [f"{operation} = {count}" for operation, count in counts.items()]
    FILE.write_text(
        _HEAD.format(percent=TOLERANCE * 100, made_with=made_with) + "\n".join(lines) + "\n"
    )


def compare(
    baseline: Baseline | None, made_with: str, counts: Mapping[str, float]
) -> list[Comparison]:
    """Each operation against its figure; made with something else nothing fails."""
    committed = baseline.operations if baseline else {}
    binding = baseline is not None and baseline.made_with == made_with
    compared = []
    for operation in dict.fromkeys([*committed, *counts]):
        found, figure = counts.get(operation), committed.get(operation)
        if found is None:
            fails, note = binding, f"no longer counted; {_REGENERATE}"
        elif figure is None:
            fails, note = binding, f"has no committed figure; {_REGENERATE}"
        else:
            change = found / figure - 1
            fails = binding and abs(change) > TOLERANCE + _ROUNDING
            note = f"{change:+.1%}" + (f"; {_REGENERATE}" if fails else "")
        if not binding:
            note += f" (figures are of {baseline.made_with if baseline else 'nobody'}: not binding)"
        compared.append(Comparison(operation, found, figure, fails, note))
    return compared
