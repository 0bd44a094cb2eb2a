from pathlib import Path
from typing import Any

import pytest

from bench.suite.budgets import Budget, BudgetError, State, is_decided, judge, load, needed, parse
from bench.suite.figures import Record
from bench.suite.scenarios import SCENARIOS

ROOT = Path(__file__).parents[3]
ENTRY: dict[str, Any] = {
    "name": "CPU against the floor",
    "scenario": "rr-64",
    "server": "native",
    "against": "floor",
    "measure": "cpu_us_per_msg",
    "at_most": 1.5,
    "aim": 1.2,
    "reason": "two system calls",
}


def budget(**changes: object) -> Budget:
    entry = {**ENTRY, **changes}
    return parse({key: value for key, value in entry.items() if value is not None})


def rounds(native: list[float], floor: list[float]) -> list[Record]:
    return [
        Record("rr-64", server, number, {"cpu_us_per_msg": value})
        for server, found in (("native", native), ("floor", floor))
        for number, value in enumerate(found)
    ]


def test_a_budget_is_held_by_the_median() -> None:
    [verdict] = judge([budget()], rounds([14.0, 30.0, 12.0], [10.0] * 3), take_best=False)
    assert (verdict.state, verdict.value, verdict.passes) == (State.HELD, 1.4, 3)
    assert verdict.note == ""


def test_the_gate_takes_the_best_of_several() -> None:
    noisy = rounds([40.0, 30.0, 14.0], [10.0] * 3)
    assert judge([budget()], noisy, take_best=False)[0].state is State.MISSED
    assert judge([budget()], noisy, take_best=True)[0].state is State.HELD


def test_a_regression_is_missed_even_by_the_best() -> None:
    [verdict] = judge([budget()], rounds([28.0, 30.0, 29.0], [10.0] * 3), take_best=True)
    assert (verdict.state, verdict.value) == (State.MISSED, 2.8)


def test_the_tolerance_is_forgiven_and_no_more() -> None:
    forgiving = budget(tolerance=0.1)
    assert forgiving.holds(1.65)
    assert not forgiving.holds(1.66)
    least = budget(at_most=None, at_least=10, tolerance=0.1)
    assert least.holds(9.0)
    assert not least.holds(8.9)


def test_what_was_forgiven_is_told() -> None:
    [verdict] = judge([budget(tolerance=0.1)], rounds([16.0], [10.0]), take_best=True)
    assert (verdict.state, verdict.note) == (State.HELD, "only by its tolerance")


def test_only_the_gate_forgives() -> None:
    [verdict] = judge([budget(tolerance=0.1)], rounds([16.0], [10.0]), take_best=False)
    assert (verdict.state, verdict.note) == (State.MISSED, "")


def test_the_aim_is_noted() -> None:
    [verdict] = judge([budget()], rounds([11.0], [10.0]), take_best=False)
    assert verdict.note == "aim reached"


def test_what_was_not_measured_is_neither_held_nor_missed() -> None:
    [verdict] = judge([budget()], [], take_best=True, skipped={"native": "not here"})
    assert (verdict.state, verdict.value) == (State.NOT_MEASURED, None)
    assert verdict.note == "native skipped"
    [verdict] = judge([budget()], rounds([1.0], []), take_best=True)
    assert (verdict.state, verdict.note) == (State.NOT_MEASURED, "")


def test_a_plain_figure_and_a_ratio_between_scenarios() -> None:
    records = [
        Record("idle", "a", 1, {"bytes": 300.0}),
        Record("beside", "a", 1, {"cpu": 11.0}),
        Record("alone", "a", 1, {"cpu": 10.0}),
    ]
    plain = budget(scenario="idle", server="a", measure="bytes", against=None, at_most=512)
    between = budget(
        scenario="beside", server="a", measure="cpu", against=None, against_scenario="alone"
    )
    found = judge([plain, between], records, take_best=False)
    assert [verdict.value for verdict in found] == [300.0, 1.1]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"colour": "red"}, "colour"),
        ({"reason": None}, "reason"),
        ({"at_least": 1}, "one of"),
        ({"at_most": None}, "one of"),
    ],
)
def test_a_wrong_budget_is_named(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(BudgetError, match="CPU against the floor") as caught:
        budget(**changes)
    assert word in str(caught.value)


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text("[[budget]\n")
    with pytest.raises(BudgetError, match=r"budgets\.toml"):
        load(file)


def test_the_committed_budgets_can_be_measured() -> None:
    budgets = load(ROOT / "bench" / "budgets.toml").each
    assert len({budget.name for budget in budgets}) == len(budgets)
    assert any(budget.gate for budget in budgets)
    for one in budgets:
        quantities = [one.of] if one.to is None else [one.of, one.to]
        for quantity in quantities:
            assert quantity.scenario.split("-")[0] in {name.split("-")[0] for name in SCENARIOS}
        assert len(one.reason) > 20
        if one.aim is not None:
            assert one.aim >= one.limit if one.at_least else one.aim <= one.limit


def test_the_gate_measures_what_its_budgets_name() -> None:
    plain = budget(against=None, scenario="timer-1000", measure="timer_late_own_p99_ms")
    assert needed([budget(), plain]) == {
        ("rr-64", "native"),
        ("rr-64", "floor"),
        ("timer-1000", "native"),
    }


def test_a_scenario_is_decided_once_all_its_budgets_are_held() -> None:
    held, hard = budget(), budget(at_most=1.1)
    found = rounds([14.0], [10.0])
    assert is_decided([held], found, "rr-64")
    assert not is_decided([held, hard], found, "rr-64")
    assert not is_decided([held], rounds([], []), "rr-64")
    assert is_decided([held, budget(scenario="rr-1000")], found, "rr-64")


def test_a_budget_over_two_scenarios_is_decided_when_both_are_measured() -> None:
    beside = budget(against=None, against_scenario="idle-alone", scenario="idle-beside")
    alone = Record("idle-alone", "native", 1, {"cpu_us_per_msg": 10.0})
    later = Record("idle-beside", "native", 1, {"cpu_us_per_msg": 11.0})
    assert not is_decided([beside], [alone], "idle-alone")
    assert is_decided([beside], [alone, later], "idle-beside")
