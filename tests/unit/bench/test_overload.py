"""What the overload's answer becomes, and which of the mix is asked."""

from __future__ import annotations

import queue
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.suite.http_load import HttpLoad
from bench.suite.overload import figures_of
from bench.suite.processes import Running
from bench.suite.rest_requests import Requests

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def running() -> Iterator[Running]:
    with subprocess.Popen([sys.executable, "-c", ""], text=True) as process:
        yield Running("rest", process, 7, queue.Queue(), Path("log"), {"http": 7, "device": 8})


def told(answers: int, shed: int) -> dict[str, Any]:
    return {
        "answers": answers,
        "shed": shed,
        "latency_us": {"p50": 1.0, "p99": 2.0},
        "shed_latency_us": {"p50": 3.0, "p99": 4.0},
    }


def after(recovered_s: float | None) -> dict[str, Any]:
    return {"recovered_s": recovered_s, "shed": 1, "unsent": 6, "latency_us": {"p99": 5.0}}


def test_figures_are_apart_by_kind_and_outcome() -> None:
    classes = {"attempt": told(10, 0), "init": told(1, 3)}
    assert figures_of({"classes": classes, "after": after(0.5)}) == {
        "attempt_shed_share": 0.0,
        "attempt_p50_us": 1.0,
        "attempt_p99_us": 2.0,
        "init_shed_share": 0.75,
        "init_p50_us": 1.0,
        "init_p99_us": 2.0,
        "init_shed_p99_us": 4.0,
        "recovered_s": 0.5,
        "after_p99_us": 5.0,
        "after_shed": 1.0,
        "unsent_at_fall": 6.0,
    }


def test_a_kind_of_which_none_was_answered_has_no_latency() -> None:
    found = figures_of({"classes": {"init": told(0, 2)}, "after": after(0.5)})
    assert found["init_shed_share"] == 1.0
    assert "init_p99_us" not in found


def test_who_does_not_recover_took_all_of_the_time() -> None:
    found = figures_of({"classes": {}, "after": after(None)})
    assert found["recovered_s"] > 2  # the limit of its budget


def test_the_mix_is_attempts_and_inits_in_turn_and_none_twice() -> None:
    processes = [{"uuid": f"u{n}", "code": f"c{n}", "wrong": f"w{n}"} for n in range(50)]
    requests = Requests(processes)
    first = requests.next_of("mix", 7)
    assert [line.split("\t")[0] for line in first] == ["PUT", "POST"] * 3 + ["PUT"]
    requests.asked("mix", 7)
    again = requests.next_of("mix", 100)
    assert not set(first) & set(again)
    assert not set(first) & set(requests.next_of("attempt", 100) + requests.next_of("init", 100))


def test_the_load_is_spelled_as_the_generator_reads_it(running: Running) -> None:
    plain = HttpLoad("closed", 64, seconds=1.0, warmup_s=0.5).arguments(running)
    assert plain[:2] == ["http", "closed"]
    assert not {"--shed", "--wrap", "--rate", "--fall-to", "--token"} & set(plain)
    over = HttpLoad("open", 64, rate=8.0, may_shed=True, sources=8, fall=(2.0, 3.0))
    words = over.arguments(running)
    for name, value in {"--rate": "8.0", "--sources": "8", "--fall-to": "2.0"}.items():
        assert words[words.index(name) + 1] == value
    assert "--shed" in words


def test_a_server_is_loaded_at_the_face_that_is_meant(running: Running) -> None:
    device = running.facing("device")
    assert (device.target, device.pid) == ("127.0.0.1:8", running.pid)
    assert HttpLoad("closed", 1).arguments(running)[3] == "127.0.0.1:7"
