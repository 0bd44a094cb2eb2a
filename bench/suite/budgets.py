"""``budgets.toml`` against what was measured. Pure.

A budget names a measure of one server in one scenario; with ``against`` it is a ratio, taken
within each pass. ``at_least`` or ``at_most`` is the limit, ``tolerance`` the part of it that
the gate forgives, ``aim`` what we would like.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.suite.figures import Quantity, Record, best, ratios, values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_KEYS = {
    "name",
    "scenario",
    "server",
    "measure",
    "against",
    "against_scenario",
    "at_least",
    "at_most",
    "aim",
    "tolerance",
    "gate",
    "reason",
}


class BudgetError(Exception):
    """``budgets.toml`` is wrong; the text says where."""


class State(StrEnum):
    """What became of a budget."""

    HELD = "held"
    MISSED = "MISSED"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Budget:
    """One line of ``budgets.toml``."""

    name: str
    of: Quantity
    to: Quantity | None
    limit: float
    at_least: bool
    aim: float | None
    tolerance: float
    gate: bool
    reason: str

    def is_within_limit(self, value: float) -> bool:
        """Whether nothing needs to be forgiven."""
        return value >= self.limit if self.at_least else value <= self.limit

    def holds(self, value: float) -> bool:
        """Whether the value is within the limit and what is forgiven of it."""
        if self.at_least:
            return value >= self.limit * (1 - self.tolerance)
        return value <= self.limit * (1 + self.tolerance)

    def reaches_aim(self, value: float) -> bool:
        """Whether the value is as good as we would like."""
        if self.aim is None:
            return False
        return value >= self.aim if self.at_least else value <= self.aim

    @property
    def sign(self) -> str:
        """Of the limit, for people."""
        return "≥" if self.at_least else "≤"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A budget and what was found."""

    budget: Budget
    state: State
    value: float | None = None
    passes: int = 0
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """A line of the run's file."""
        return {
            "kind": "budget",
            "name": self.budget.name,
            "state": str(self.state),
            "value": self.value,
            "limit": self.budget.limit,
            "at_least": self.budget.at_least,
            "aim": self.budget.aim,
            "passes": self.passes,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Budgets:
    """The whole file. A ``required`` server that is skipped makes the gate red."""

    required: frozenset[str]
    each: list[Budget]


def load(file: Path) -> Budgets:
    """Read and check the file; BudgetError names the budget and the key."""
    try:
        table = tomllib.loads(file.read_text())
    except tomllib.TOMLDecodeError as error:
        raise BudgetError(f"{file.name}: {error}") from error
    each = [parse(entry) for entry in table.get("budget", [])]
    return Budgets(frozenset(table.get("required", [])), each)


def parse(entry: Mapping[str, Any]) -> Budget:
    """One entry."""
    name = entry.get("name", "?")
    unknown = set(entry) - _KEYS
    if unknown:
        raise BudgetError(f"budget {name!r}: unknown keys {sorted(unknown)}")
    missing = {"name", "scenario", "server", "measure", "reason"} - set(entry)
    if missing:
        raise BudgetError(f"budget {name!r}: {sorted(missing)} missing")
    if ("at_least" in entry) == ("at_most" in entry):
        raise BudgetError(f"budget {name!r}: give one of at_least and at_most")
    of = Quantity(entry["scenario"], entry["server"], entry["measure"])
    to = None
    if "against" in entry or "against_scenario" in entry:
        scenario = entry.get("against_scenario", of.scenario)
        to = Quantity(scenario, entry.get("against", of.server), of.measure)
    at_least = "at_least" in entry
    return Budget(
        name=name,
        of=of,
        to=to,
        limit=float(entry["at_least" if at_least else "at_most"]),
        at_least=at_least,
        aim=float(entry["aim"]) if "aim" in entry else None,
        tolerance=float(entry.get("tolerance", 0.0)),
        gate=bool(entry.get("gate", False)),
        reason=entry["reason"],
    )


def needed(budgets: Sequence[Budget]) -> frozenset[tuple[str, str]]:
    """The scenarios and servers that have to be measured to judge these."""
    quantities = [one for budget in budgets for one in (budget.of, budget.to) if one is not None]
    return frozenset((one.scenario, one.server) for one in quantities)


def is_decided(budgets: Sequence[Budget], records: Sequence[Record], scenario: str) -> bool:
    """Whether every budget of the scenario is held by the best pass: another cannot lose it."""
    concerned = [
        budget
        for budget in budgets
        if scenario in {budget.of.scenario, budget.to.scenario if budget.to else ""}
    ]
    verdicts = judge(concerned, records, take_best=True)
    return all(verdict.state is State.HELD for verdict in verdicts)


def judge(
    budgets: Sequence[Budget],
    records: Sequence[Record],
    *,
    take_best: bool,
    skipped: Mapping[str, str] | None = None,
) -> list[Verdict]:
    """Each budget's verdict: by the median of clean passes, or by the best of all (the gate)."""
    return [
        _judge(budget, records, take_best=take_best, skipped=skipped or {}) for budget in budgets
    ]


def _judge(
    budget: Budget, records: Sequence[Record], *, take_best: bool, skipped: Mapping[str, str]
) -> Verdict:
    if budget.to is None:
        found = list(values(records, budget.of).values())
    else:
        found = ratios(records, budget.of, budget.to, every=take_best)
    if not found:
        servers = dict.fromkeys([budget.of.server, budget.to.server if budget.to else ""])
        missing = [server for server in servers if server in skipped]
        note = f"{' and '.join(missing)} skipped" if missing else ""
        return Verdict(budget, State.NOT_MEASURED, note=note)
    value = best(found, at_least=budget.at_least) if take_best else median(found)
    held = budget.holds(value) if take_best else budget.is_within_limit(value)
    state = State.HELD if held else State.MISSED
    note = "aim reached" if budget.reaches_aim(value) else ""
    if state is State.HELD and not budget.is_within_limit(value):
        note = "only by its tolerance"
    return Verdict(budget, state, value, len(found), note)
