"""One server, two faces: what the load of the one does to the other. Our server, each transport.

beside-devices-alone      64 devices at a constant rate, alone
beside-devices-attempt    the same beside 64 HTTP connections with an attempt outstanding on each
beside-devices-handshake  the same beside 64 with a handshake outstanding on each
beside-http-alone         attempts at a constant rate over HTTP, alone
beside-http-devices       the same beside 1 000 devices with a request outstanding on each

The rates are fixed and low. What is beside is checked like what is measured, and begins before it
and ends after it; ``beside_msg_per_s`` is how much of it was answered.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.suite.http_load import HttpLoad
from bench.suite.http_servers import CONNECTIONS, OURS, RATE_MOST, SLOW, Servers
from bench.suite.loadgen import Answer, Load, begin, measures, run
from bench.suite.rounds import interleave

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.suite.processes import Running
    from bench.suite.scenarios import Bench

    Measure = Callable[[Running], tuple[Answer, dict[str, float]]]

DEVICES = 64
RATE = 250.0
"""Of either face, a second: below half of what the slower transport answers alone."""
SATURATING = 1_000
NAMES = (OURS, SLOW)
SCENARIOS = (
    "beside-devices-alone",
    "beside-devices-attempt",
    "beside-devices-handshake",
    "beside-http-alone",
    "beside-http-devices",
)
_LONGER_S = 0.5
"""What is beside goes on for, so that it is there to the end."""


def beside(bench: Bench) -> None:
    """All of them, interleaved by server."""
    wanted = {name: bench.wanted(name, *NAMES) for name in SCENARIOS}
    names = list(dict.fromkeys(server for servers in wanted.values() for server in servers))
    if not names:
        return
    rounds = bench.settings.plan.most
    loads = _Loads(bench)
    attempts = {
        name: rounds * (loads.attempts_beside(name) + 2 * loads.attempts_measured())
        for name in names
    }
    devices = dict.fromkeys(names, DEVICES + SATURATING)
    with Servers(bench, names, ("attempt",), attempts=attempts, devices=devices) as servers:
        for scenario in SCENARIOS:
            chosen = {name: servers.running[name] for name in wanted[scenario]}
            measure = _measure_of(scenario, servers, loads)
            interleave(bench.ledger, bench.settings.plan, scenario, chosen, measure)


class _Loads:
    """What is asked, and for how long."""

    def __init__(self, bench: Bench) -> None:
        self._warmup_s = bench.settings.warmup_s
        self._seconds = bench.settings.seconds

    def attempts_beside(self, name: str) -> int:
        """At the most."""
        return int((self._seconds + 2 * self._warmup_s + _LONGER_S) * RATE_MOST[name]) + CONNECTIONS

    def attempts_measured(self) -> int:
        """At the most."""
        return int((self._seconds + self._warmup_s) * RATE) + CONNECTIONS

    def http(self, *, saturating: bool) -> HttpLoad:
        """One request outstanding on each connection, or the constant rate."""
        if saturating:
            longer = self._seconds + self._warmup_s + _LONGER_S
            return HttpLoad("closed", CONNECTIONS, seconds=longer, warmup_s=self._warmup_s)
        return HttpLoad("open", CONNECTIONS, self._seconds, self._warmup_s, rate=RATE)

    def devices(self, server: Running, servers: Servers, *, saturating: bool) -> Load:
        """Each with its token; the saturating ones are others than those of the constant rate."""
        tokens = servers.installed[server.name].device_tokens
        load = Load("open", DEVICES, self._seconds, self._warmup_s, RATE, otp=True, tokens=tokens)
        if not saturating:
            return replace(load, skip_tokens=SATURATING)
        longer = self._seconds + self._warmup_s + _LONGER_S
        return replace(load, mode="closed", connections=SATURATING, seconds=longer, rate=0.0)


def _measure_of(scenario: str, servers: Servers, loads: _Loads) -> Measure:
    """What is measured, and what is beside it."""
    _, measured_face, other = scenario.split("-")

    def measured(server: Running) -> Answer:
        if measured_face == "devices":
            load = loads.devices(server, servers, saturating=False)
            return run(load, server.facing("device"))
        most = loads.attempts_measured()
        return servers.run(server, "attempt", loads.http(saturating=False), most)

    def alone(server: Running) -> tuple[Answer, dict[str, float]]:
        return measured(server), {"rate": RATE}

    def beside_devices(server: Running) -> tuple[Answer, dict[str, float]]:
        load = loads.devices(server, servers, saturating=True)
        with begin(load, server.facing("device")) as loading:
            loading.wait_event("measuring")
            answer = measured(server)
            found = measures(loading.result(load.seconds))
        return answer, {"rate": RATE, "beside_msg_per_s": found["msg_per_s"]}

    def beside_http(server: Running) -> tuple[Answer, dict[str, float]]:
        load = servers.ready(
            server, other, loads.http(saturating=True), loads.attempts_beside(server.name)
        )
        with begin(load, server) as loading:
            loading.wait_event("measuring")
            answer = measured(server)
            under = loading.result(load.seconds)
        servers.asked(server, other, under)
        return answer, {"rate": RATE, "beside_msg_per_s": measures(under)["msg_per_s"]}

    if other == "alone":
        return alone
    return beside_devices if other == "devices" else beside_http
