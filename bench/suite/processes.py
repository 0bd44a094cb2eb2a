"""Start a server pinned to its processor, see where it listens, end it. Only what was started."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Self

from bench.suite.machine import cores, pinned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

READY_S = 120.0
STOP_S = 20.0


class NotHereError(Exception):
    """This server cannot run here; the text says why. It is skipped, not failed."""


class BenchError(Exception):
    """The benches cannot go on; the text says why."""


class WrongAnswersError(BenchError):
    """A server answered wrong, or not at all: no figure of that round counts."""


@dataclass(slots=True)
class Running:
    """A server that listens. End it with ``stop`` or by leaving its ``with`` block."""

    name: str
    process: subprocess.Popen[str]
    port: int
    lines: queue.Queue[str] = field(repr=False)
    log: Path
    ports: dict[str, int] = field(default_factory=dict)
    """Of a whole server: where each of its faces listens."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def target(self) -> str:
        """Where devices connect."""
        return f"127.0.0.1:{self.port}"

    def facing(self, face: str) -> Running:
        """The same process, seen from another of its faces; the first one ends it."""
        return replace(self, port=self.ports[face])

    def check(self) -> None:
        """BenchError with the end of its log when it is gone."""
        status = self.process.poll()
        if status is not None:
            raise BenchError(f"{self.name} ended with {status}: {tail(self.log)}")

    def take_timer(self) -> dict[str, float]:
        """How late its 1 ms timer was since the last call."""
        self.process.send_signal(signal.SIGUSR1)
        while True:
            line = self.lines.get(timeout=STOP_S)
            if line.startswith('{"timer"'):
                figures: dict[str, float] = json.loads(line)["timer"]
                return figures
            if not line:
                self.check()
                raise BenchError(f"{self.name} closed its output")

    def stop(self) -> None:
        """SIGTERM, then SIGKILL."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_S)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(
    name: str,
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    *,
    face: str = "device",
) -> Running:
    """Start a server and wait until it listens; of a whole one the port of that face is kept.

    NotHereError with its reason when it ends with status 3, BenchError when it does not start.
    """
    with log.open("a") as errors, pinned(cores()[0]):
        process = subprocess.Popen(
            list(command),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **(environment or {})},
        )
    lines: queue.Queue[str] = queue.Queue()
    if process.stdout is None:
        raise BenchError("no output")
    threading.Thread(target=_pump, args=(process.stdout, lines), daemon=True).start()
    running = Running(name, process, 0, lines, log)
    try:
        running.port = _listening(running, face)
    except BaseException:
        running.stop()
        raise
    return running


def _listening(running: Running, face: str) -> int:
    """The face's port, once the server said all it says at its start."""
    while True:
        try:
            line = running.lines.get(timeout=READY_S)
        except queue.Empty:
            raise BenchError(f"{running.name} did not start within {READY_S:.0f} s") from None
        words = dict(word.split("=", 1) for word in line.split()[1:] if "=" in word)
        if "port" in words:
            return int(words["port"])
        if "face" in words:
            running.ports[words["face"]] = int(words["url"].split(":")[2].partition("/")[0])
        if line == "ready":
            return running.ports[face]
        if not line:
            status = running.process.wait(STOP_S)
            reason = tail(running.log)
            if status == 3:  # noqa: PLR2004 - the servers of bench/ say so: not here
                raise NotHereError(reason)
            raise BenchError(f"{running.name} did not start ({status}): {reason}")


def tail(log: Path) -> str:
    """The last line of a log."""
    lines = [line for line in log.read_text().splitlines() if line.strip()]
    return lines[-1][-300:] if lines else "it said nothing"


def _pump(stream: IO[str], lines: queue.Queue[str]) -> None:
    try:
        for line in stream:
            lines.put(line.rstrip("\n"))
    except ValueError:  # closed: it was stopped
        pass
    lines.put("")
