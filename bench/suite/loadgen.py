"""Drives the load generator: a process pinned to the load's processor, one JSON object back."""

from __future__ import annotations

import itertools
import json
import os
import queue
import subprocess
import threading
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Self

from bench.suite.machine import cores, pinned
from bench.suite.processes import BenchError, Running, WrongAnswersError
from bench.suite.servers import ANSWER_BYTES, RELEASE, REQUEST_BYTES

if TYPE_CHECKING:
    from pathlib import Path

Answer = dict[str, Any]
_EXTRA_S = 180.0
_SOURCES_EACH = 256
_sources = itertools.count(os.getpid() % 1000 * 16384, _SOURCES_EACH)
"""Source addresses of its own for each load: the ports of the last are in TIME_WAIT for long."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is done to a server; see ``loadgen --help``."""

    mode: str
    connections: int
    seconds: float = 2.0
    warmup_s: float = 0.5
    rate: float = 0.0
    cycles: int = 3
    otp: bool = False
    tokens: Path | None = None
    skip_tokens: int = 0
    batch: int = 1
    messages: int | None = None

    def arguments(self, server: Running) -> list[str]:
        """The command line."""
        words: dict[str, object] = {
            "target": server.target,
            "watch": server.pid,
            "connections": self.connections,
            "duration": self.seconds,
            "warmup": self.warmup_s,
            "cycles": self.cycles,
            "source-base": next(_sources),
            "request-bytes": REQUEST_BYTES,
            "answer-bytes": ANSWER_BYTES,
        }
        if self.rate:
            words["rate"] = self.rate
        if self.mode == "slow":
            words["batch"] = self.batch
        if self.messages is not None:
            words["messages"] = self.messages
        if self.tokens is not None:
            words |= {"tokens": self.tokens, "skip-tokens": self.skip_tokens}
        flags = [word for key, value in words.items() for word in (f"--{key}", str(value))]
        return [self.mode, *flags, *(["--otp"] if self.otp else [])]


@dataclass(slots=True)
class Loading:
    """A load under way. Leaving its ``with`` block ends it."""

    process: subprocess.Popen[str]
    events: queue.Queue[Answer | None] = field(repr=False)
    faults: list[str] = field(default_factory=list)

    def wait_held(self) -> Answer:
        """All connections are up: how that went."""
        return self.wait_event("held")

    def wait_event(self, wanted: str) -> Answer:
        """The detail of the next event of that name; BenchError when the load ended first."""
        while True:
            event = self.events.get(timeout=_EXTRA_S)
            if event is None:
                raise BenchError("; ".join(self.faults) or "the load generator said nothing")
            if event["event"] == wanted:
                detail: Answer = event["detail"]
                return detail

    def release(self) -> Answer:
        """Let idle connections go; the result."""
        if self.process.stdin is not None:
            self.process.stdin.close()
            self.process.stdin = None
        return self.result(_EXTRA_S)

    def result(self, seconds: float) -> Answer:
        """Wait for the end; its JSON, or BenchError with its sentence."""
        try:
            output, _ = self.process.communicate(timeout=seconds + _EXTRA_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise BenchError("the load generator did not end") from None
        if self.process.returncode:
            while self.events.get(timeout=_EXTRA_S) is not None:
                pass
            raise BenchError("; ".join(self.faults) or "the load generator failed")
        answer: Answer = json.loads(output)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(_EXTRA_S)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def begin(load: Load, server: Running) -> Loading:
    """Start a load."""
    with pinned(cores()[1]):
        process = subprocess.Popen(
            [str(RELEASE / "loadgen"), *load.arguments(server)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    events: queue.Queue[Answer | None] = queue.Queue()
    loading = Loading(process, events)
    if process.stderr is None:
        raise BenchError("no standard error")
    errors, process.stderr = process.stderr, None
    threading.Thread(target=_pump, args=(errors, loading), daemon=True).start()
    return loading


def run(load: Load, server: Running) -> Answer:
    """One load from begin to end."""
    with begin(load, server) as loading:
        try:
            return loading.result(load.seconds + load.warmup_s)
        except BenchError as error:
            server.check()
            raise BenchError(f"{server.name}, {load.mode} {load.connections}: {error}") from None


def _pump(stream: IO[str], loading: Loading) -> None:
    with stream:
        for line in stream:
            if line.startswith("{"):
                loading.events.put(json.loads(line))
            elif line.strip():
                loading.faults.append(line.strip())
    loading.events.put(None)


def measures(answer: Answer) -> dict[str, float]:
    """The figures of an answered load, by the names that budgets use.

    WrongAnswersError when anything was answered wrong or not at all: such a round counts for
    nothing.
    """
    wrong = {why: count for why, count in answer["faults"].items() if count}
    unanswered = answer.get("unanswered", 0)
    if wrong or unanswered:
        text = f"{answer['answers']} right answers, {unanswered} owed, faults {wrong}"
        raise WrongAnswersError(text)
    if not answer["answers"]:
        raise BenchError("no answer was wrong or owed, and none came within the window")
    latency, cpu, count = answer["latency_us"], answer["cpu"], answer["answers"]
    found = {
        "p50_us": latency["p50"],
        "p90_us": latency["p90"],
        "p99_us": latency["p99"],
        "p999_us": latency["p99.9"],
        "max_us": latency["max"],
    }
    cpu_us = cpu["watched_s"] * 1e6 / count
    if answer["mode"] == "storm":
        found |= {"handshakes_per_s": answer["handshakes_per_s"], "cpu_us_per_handshake": cpu_us}
    else:
        found |= {"msg_per_s": answer["msg_per_s"], "cpu_us_per_msg": cpu_us}
        found["generator_late_p99_us"] = answer["generator_late_us"]["p99"]
        found["generator_share"] = cpu["generator_s"] / max(float(answer["window_s"]), 1e-9)
    if cpu_us > 0:
        found["per_cpu_s"] = 1e6 / cpu_us
    return found


def others_share(answer: Answer) -> float:
    """The share of one processor that others took while the load was measured."""
    window_s = max(float(answer["window_s"]), 1e-9)
    taken_s = float(answer["cpu"]["other_s"]) + float(answer["cpu"]["steal_s"])
    return taken_s / window_s
