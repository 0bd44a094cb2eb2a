"""The requests of the REST benches: every attempt has the answer that its line wants."""

from __future__ import annotations

from collections import defaultdict

import pytest

from bench.suite.rest_requests import KINDS, SAMPLES, Requests, processes_for

CONNECTIONS = 64


def processes(count: int) -> list[dict[str, str]]:
    return [{"uuid": f"u{n}", "code": f"right{n}", "wrong": f"wrong{n}"} for n in range(count)]


def test_the_right_code_is_the_last_attempt_of_its_process() -> None:
    lines = Requests(processes(1000)).next_of("attempt", 10_000)
    wants = defaultdict(list)
    for line in lines:
        _, target, want, body = line.split("\t")
        number = target.split("/")[2].removeprefix("u")
        assert body == f'{{"code":"{"right" if want == "accepted" else "wrong"}{number}"}}'
        wants[number].append(want)
    assert len(wants) == 1000
    assert all(of[-1] == "accepted" and of.count("accepted") == 1 for of in wants.values())
    assert {len(of) for of in wants.values()} == {1, 2, 3, 4}


def test_attempts_of_a_process_are_further_apart_than_there_are_connections() -> None:
    last: dict[str, int] = {}
    for place, line in enumerate(Requests(processes(1000)).next_of("attempt", 10_000)):
        target = line.split("\t")[1]
        assert place - last.get(target, -1000) > CONNECTIONS
        last[target] = place


@pytest.mark.parametrize("attempts", [1, 500, 9_999])
def test_there_are_processes_for_so_many_attempts(attempts: int) -> None:
    requests = Requests(processes(processes_for(attempts)))
    assert len(requests.next_of("attempt", attempts)) == attempts


@pytest.mark.parametrize("kind", ["init", "attempt"])
def test_what_was_asked_is_not_asked_again(kind: str) -> None:
    requests = Requests(processes(1000))
    first = requests.next_of(kind, 100)
    requests.asked(kind, 40)
    assert requests.next_of(kind, 60) == first[40:]
    requests.asked(kind, 60)
    assert not set(requests.next_of(kind, 100)) & set(first)


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_is_of_its_kind(kind: str) -> None:
    for line in Requests(processes(500)).next_of(kind, 100):
        method, target, want, _ = line.split("\t")
        sample = SAMPLES[kind]
        assert method == sample.method
        assert target.partition("?")[0].count("/") == sample.rule.count("/")
        assert want.split()[0] in ("handshake", "init", "accepted", "wrong", "found")
