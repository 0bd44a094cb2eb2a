from typing import Any

import pytest

from bench.suite.loadgen import measures, others_share
from bench.suite.processes import BenchError, WrongAnswersError

ANSWER: dict[str, Any] = {
    "mode": "closed",
    "answers": 1000,
    "unanswered": 0,
    "faults": {},
    "window_s": 2.0,
    "msg_per_s": 500.0,
    "latency_us": {"p50": 1.0, "p90": 2.0, "p99": 3.0, "p99.9": 4.0, "max": 5.0},
    "generator_late_us": {"p99": 0.5},
    "cpu": {"watched_s": 0.5, "generator_s": 0.1, "other_s": 0.25, "steal_s": 0.05},
}


def test_figures_have_the_names_of_budgets() -> None:
    found = measures(ANSWER)
    assert found["cpu_us_per_msg"] == 500.0
    assert found["per_cpu_s"] == 2000.0
    assert found["p999_us"] == 4.0


def test_a_storm_counts_handshakes() -> None:
    found = measures({**ANSWER, "mode": "storm", "handshakes_per_s": 7.0})
    assert found["cpu_us_per_handshake"] == 500.0
    assert "msg_per_s" not in found


@pytest.mark.parametrize("wrong", [{"faults": {"an answer had other bytes": 1}}, {"unanswered": 1}])
def test_a_round_with_a_wrong_answer_counts_for_nothing(wrong: dict[str, Any]) -> None:
    with pytest.raises(WrongAnswersError):
        measures({**ANSWER, **wrong})


def test_a_window_without_an_answer_is_no_wrong_answer_and_no_figure() -> None:
    with pytest.raises(BenchError) as raised:
        measures({**ANSWER, "answers": 0})
    assert not isinstance(raised.value, WrongAnswersError)


def test_what_others_took() -> None:
    assert others_share(ANSWER) == pytest.approx(0.15)
