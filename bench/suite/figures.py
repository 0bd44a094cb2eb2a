"""Rounds into figures: medians, best rounds, ratios within one round. Pure.

A *record* is what one round of one server in one scenario gave. A ratio is always taken between
records of the same pass, because only what ran side by side may be compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Curve = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Record:
    """One round of one server."""

    scenario: str
    server: str
    pass_number: int
    measures: dict[str, float]
    disturbed: bool = False
    curve: Curve = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """A line of the run's file."""
        return {
            "kind": "record",
            "scenario": self.scenario,
            "server": self.server,
            "pass": self.pass_number,
            "disturbed": self.disturbed,
            "measures": self.measures,
            "curve": self.curve,
        }


@dataclass(frozen=True, slots=True)
class Quantity:
    """One measure of one server in one scenario."""

    scenario: str
    server: str
    measure: str


def clean(records: Iterable[Record], scenario: str, server: str) -> list[Record]:
    """The undisturbed records; all of them where none is undisturbed."""
    found = [r for r in records if r.scenario == scenario and r.server == server]
    return [r for r in found if not r.disturbed] or found


def values(records: Iterable[Record], quantity: Quantity) -> dict[int, float]:
    """The measure by pass."""
    found = clean(records, quantity.scenario, quantity.server)
    return {
        r.pass_number: r.measures[quantity.measure] for r in found if quantity.measure in r.measures
    }


def middle(records: Iterable[Record], quantity: Quantity) -> float | None:
    """The median over passes, None without any."""
    found = values(records, quantity)
    return median(found.values()) if found else None


def ratios(
    records: Sequence[Record], of: Quantity, to: Quantity, *, every: bool = False
) -> list[float]:
    """The ratio in each pass that has both; clean passes only, where there is a clean one.

    With ``every`` the disturbed ones too: for who takes the best, more passes are better.
    """
    pairs = [] if every else _paired(records, of, to, disturbed=False)
    return pairs or _paired(records, of, to, disturbed=True)


def _paired(
    records: Sequence[Record], of: Quantity, to: Quantity, *, disturbed: bool
) -> list[float]:
    taken = [r for r in records if disturbed or not r.disturbed]

    def by_pass(quantity: Quantity) -> dict[int, float]:
        return {
            r.pass_number: r.measures[quantity.measure]
            for r in taken
            if (r.scenario, r.server) == (quantity.scenario, quantity.server)
            and quantity.measure in r.measures
        }

    upper, lower = by_pass(of), by_pass(to)
    return [upper[n] / lower[n] for n in sorted(upper.keys() & lower.keys()) if lower[n] > 0]


def best(found: Sequence[float], *, at_least: bool) -> float:
    """The value nearest to its budget: a noisy neighbour only ever makes it worse."""
    return max(found) if at_least else min(found)


def percentile_curve(histogram: Sequence[Sequence[float]]) -> Curve:
    """``[value, how many at or below]`` of the load generator into ``(percentile, value)``."""
    if not histogram or not histogram[-1][1]:
        return []
    total = histogram[-1][1]
    curve: Curve = []
    for value, count in histogram:
        percentile = round(100 * count / total, 5)
        if curve and curve[-1][0] == percentile:
            curve[-1] = (percentile, value)
        else:
            curve.append((percentile, value))
    return curve


def middle_curve(records: Iterable[Record], scenario: str, server: str) -> Curve:
    """The curve of the pass with the median p99: a curve that was really measured."""
    found = sorted(
        (r for r in clean(records, scenario, server) if r.curve),
        key=lambda r: r.measures.get("p99_us", 0.0),
    )
    return found[len(found) // 2].curve if found else []
