"""The scenarios of the faces of apps: our whole server over both transports, beside peers.

rest-KIND-N      one request outstanding on each of N keep-alive connections (``rest_requests``);
                 more than 64 are for what commits: init and attempt
confirm-N        the same, of codes that devices were issued
svc-verify-N     the same, of codes that accounts were sent, for a web client with an open socket
...-half         open loop on 64 connections, of each of our transports at half of its own maximum

The servers are those of ``http_servers``; Go's net/http is beside the handshake alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.suite.figures import Quantity, middle
from bench.suite.http_load import HttpLoad
from bench.suite.http_servers import (
    BARE,
    CONNECTIONS,
    GO,
    GO_JSON,
    GO_SAME,
    OURS,
    RATE_MOST,
    SIZES_MOST,
    SLOW,
    Servers,
)
from bench.suite.machine import process_cpu_seconds, settle
from bench.suite.rest_requests import KINDS
from bench.suite.rounds import interleave

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.suite.loadgen import Answer
    from bench.suite.processes import Running
    from bench.suite.scenarios import Bench

_CONFIRMS_MOST = {OURS: 20_000.0, SLOW: 1_500.0}
"""A second: for each that might be answered there is a device."""
_NOT_HOT = frozenset({"search", "page"})
"""Both transports answer these alike."""
_COMMITTED = frozenset({"init", "attempt"})
"""Those that share a commit are asked over more connections too."""
SCENARIOS = {
    **{kind: f"rest-{kind}" for kind in KINDS},
    "confirm": "confirm",
    "verify": "svc-verify",
}
"""What each kind's scenarios are called, without their last word."""


@dataclass(frozen=True, slots=True)
class _Scenario:
    """``half``: the open loop."""

    name: str
    kind: str
    connections: int
    half: bool

    @property
    def servers(self) -> tuple[str, ...]:
        """Who may be in it."""
        if self.half:
            return (OURS,) if self.kind in _NOT_HOT else (OURS, SLOW)
        beside = (OURS, SLOW, BARE)
        return (*beside, GO, GO_JSON, GO_SAME) if self.kind == "handshake" else beside


def rest(bench: Bench) -> None:
    """The rest face."""
    _measure_kinds(bench, KINDS)


def confirm(bench: Bench) -> None:
    """The codes of devices."""
    _measure_kinds(bench, ("confirm",))


def svc(bench: Bench) -> None:
    """The svc face."""
    _measure_kinds(bench, ("verify",))


def _measure_kinds(bench: Bench, kinds: Sequence[str]) -> None:
    """Each kind at each number of connections, then at half of the most."""
    wanted = {
        scenario: names
        for scenario in _scenarios(bench, kinds)
        if _says_something(scenario, names := bench.wanted(scenario.name, *scenario.servers))
    }
    if not wanted:
        return
    attempts = sum(scenario.kind == "attempt" for scenario in wanted)
    each = {name: attempts * _requests_most(bench, RATE_MOST[name]) for name in (OURS, SLOW)}
    everybody = dict.fromkeys(name for names in wanted.values() for name in names)
    devices = {name: _codes_most(bench, name) for name in (OURS, SLOW) if "confirm" in kinds}
    with Servers(bench, list(everybody), kinds, attempts=each, devices=devices) as servers:
        for scenario, names in wanted.items():
            _measure(bench, servers, scenario, names)


def _scenarios(bench: Bench, kinds: Sequence[str]) -> list[_Scenario]:
    sizes = bench.settings.http_sizes
    closed = [
        _Scenario(f"{SCENARIOS[kind]}-{size}", kind, size, half=False)
        for kind in kinds
        for size in sizes
        if size <= CONNECTIONS or kind in _COMMITTED
    ]
    half = [_Scenario(f"{SCENARIOS[kind]}-half", kind, CONNECTIONS, half=True) for kind in kinds]
    return closed + half


def _says_something(scenario: _Scenario, names: Sequence[str]) -> bool:
    """A figure of a full load says nothing without another server's."""
    return bool(names) if scenario.half else len(names) > 1


def _requests_most(bench: Bench, rate: float) -> int:
    """Of one scenario."""
    settings = bench.settings
    return int(settings.plan.most * ((settings.seconds + settings.warmup_s) * rate + SIZES_MOST))


def _codes_most(bench: Bench, name: str) -> int:
    """Of one round."""
    settings = bench.settings
    return int((settings.seconds + settings.warmup_s) * _CONFIRMS_MOST[name]) + CONNECTIONS


def _measure(bench: Bench, servers: Servers, scenario: _Scenario, names: Sequence[str]) -> None:
    chosen = {name: servers.running[name] for name in names if name in servers.running}
    rates = _half_rates(bench, scenario, chosen) if scenario.half else {}
    if scenario.half:
        chosen = {name: server for name, server in chosen.items() if name in rates}
    settings = bench.settings
    load = HttpLoad(
        "open" if scenario.half else "closed",
        scenario.connections,
        seconds=settings.seconds,
        warmup_s=settings.warmup_s,
    )

    def measure(server: Running) -> tuple[Answer, dict[str, float]]:
        own = replace(load, rate=rates.get(server.name, 0.0))
        before = process_cpu_seconds(server.pid)
        answer = servers.run(server, scenario.kind, own)
        settle(server.pid)  # what was accepted is delivered too
        whole_us = (process_cpu_seconds(server.pid) - before) * 1e6
        more = {"whole_cpu_us_per_msg": whole_us / max(int(answer["asked"]), 1)}
        return answer, more | ({"rate": own.rate} if own.rate else {})

    if chosen:
        interleave(bench.ledger, settings.plan, scenario.name, chosen, measure)


def _half_rates(
    bench: Bench, scenario: _Scenario, servers: Mapping[str, Running]
) -> dict[str, float]:
    """Half of what each reached."""
    full = f"{SCENARIOS[scenario.kind]}-{CONNECTIONS}"
    most = {
        name: middle(bench.ledger.records, Quantity(full, name, "msg_per_s")) for name in servers
    }
    return {name: rate / 2 for name, rate in most.items() if rate is not None}
