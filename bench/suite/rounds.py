"""Interleaved rounds: A B C, A B C, ... on the same machine in the same minute.

A pass is *disturbed* when others took more than their share of the processors while any of its
servers was measured. Disturbed passes are repeated, within a bound; they stay in the record,
marked, and count only where a server has no undisturbed one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.suite.figures import Record, percentile_curve
from bench.suite.loadgen import Answer, measures, others_share
from bench.suite.machine import settle
from bench.suite.processes import BenchError, NotHereError, Running, WrongAnswersError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bench.suite.servers import Workplace

OTHERS_SHARE_MAX = 0.10
"""Of one processor: more, and somebody else's work is in the figures."""
_FAILURES_MAX = 1


@dataclass
class Ledger:
    """What a run found: records, what was skipped and why, what failed and why."""

    records: list[Record] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    is_decided: Callable[[str], bool] = lambda _: False
    """Whether no further pass of that scenario can change a verdict."""
    on_record: Callable[[Record], None] = lambda _: None
    on_note: Callable[[str], None] = lambda _: None

    def add(self, record: Record) -> None:
        """Keep a record."""
        self.records.append(record)
        self.on_record(record)

    def skip(self, server: str, why: str) -> None:
        """A server cannot be had here."""
        if server not in self.skipped:
            self.skipped[server] = why
            self.on_note(f"{server} skipped: {why}")

    def fail(self, what: str, why: str) -> None:
        """A measurement came to nothing."""
        self.failed[what] = why
        self.on_note(f"{what} failed: {why}")


@dataclass(frozen=True, slots=True)
class Plan:
    """How many passes, and how many more where some were disturbed.

    After ``decided`` passes it is enough that every verdict is.
    """

    passes: int
    extra: int
    decided: int = 1

    @property
    def most(self) -> int:
        """The bound."""
        return self.passes + self.extra


class Started:
    """The servers of a scenario, all up before the first round. Leaving the block ends them."""

    def __init__(self, workplace: Workplace, names: Iterable[str], ledger: Ledger) -> None:
        self.servers: dict[str, Running] = {}
        self._workplace, self._names, self._ledger = workplace, list(names), ledger

    def __enter__(self) -> dict[str, Running]:
        try:
            for name in self._names:
                try:
                    self.servers[name] = self._workplace.start(name)
                except NotHereError as error:
                    self._ledger.skip(name, str(error))
        except BaseException:
            self.__exit__()
            raise
        return self.servers

    def __exit__(self, *_: object) -> None:
        for server in self.servers.values():
            server.stop()


def interleave(
    ledger: Ledger,
    plan: Plan,
    scenario: str,
    servers: dict[str, Running],
    measure: Callable[[Running], tuple[Answer, dict[str, float]]],
) -> None:
    """Rounds over the servers until enough passes are undisturbed, or the bound is reached.

    Or until nothing more can come of it: see :attr:`Ledger.is_decided`.

    ``measure`` gives the load generator's answer and figures to add. A server that fails twice is
    left out of the rest, and its failure noted.
    """
    left = dict(servers)
    failures: dict[str, int] = {}
    undisturbed = 0
    for number in range(1, plan.most + 1):
        found: list[tuple[str, Answer, dict[str, float]]] = []
        for name, server in list(left.items()):
            try:
                answer, more = measure(server)
                found.append((name, answer, measures(answer) | more))
                settle(server.pid)
            except BenchError as error:
                failures[name] = failures.get(name, 0) + 1
                what = f"{scenario}, {name}, pass {number}"
                ledger.fail(what, str(error))
                if isinstance(error, WrongAnswersError):
                    ledger.wrong.append(what)
                if failures[name] > _FAILURES_MAX or server.process.poll() is not None:
                    del left[name]
        disturbed = any(others_share(answer) > OTHERS_SHARE_MAX for _, answer, _ in found)
        for name, answer, figures in found:
            share = {"others_share": others_share(answer)}
            curve = percentile_curve(answer["histogram"])
            ledger.add(Record(scenario, name, number, figures | share, disturbed, curve))
        undisturbed += not disturbed
        if undisturbed >= plan.passes or not left:
            break
        if number >= plan.decided and ledger.is_decided(scenario):
            break
