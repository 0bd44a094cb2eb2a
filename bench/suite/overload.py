"""More than the server can do: attempts and inits in turn, twice as many as it can answer.

overload-most   closed loop: how many of the mix it answers
overload        open loop at twice that rate on so many connections that the server sees it all;
                then the load falls to a quarter of that maximum

The attempts are to be answered within bounds while inits are refused with 503 and a Retry-After;
once the load has fallen everything is answered at once. ``p99_us`` and the like are of what was
let in, ``attempt_p99_us`` and ``init_p99_us`` of one kind of it, ``init_shed_p99_us`` of refusals.

``init_shed_share`` is the part of the inits that was refused, ``recovered_s`` the time from the
fall to the last answer that was a refusal or took longer than 0.1 s (all of the time, when such
answers did not end), ``after_p99_us`` of what was asked after it, ``unsent_at_fall`` how many had
no connection until then and gave up: more than a few, and the server was the slower one by far.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.suite.figures import Quantity, middle
from bench.suite.http_load import HttpLoad
from bench.suite.http_servers import OURS, RATE_MOST, Servers
from bench.suite.rounds import interleave

if TYPE_CHECKING:
    from bench.suite.loadgen import Answer
    from bench.suite.processes import Running
    from bench.suite.scenarios import Bench

MOST, OVER = "overload-most", "overload"
_CLOSED = 256
_OPEN, _SOURCES, _LET_IN = 4_000, 8, 4_096
"""Connections of the open loop, from several addresses, each of which may have a quarter of those
let in: as many as a server lets in that may have 33 000 descriptors."""
_TIMES, _FALL = 2.0, 0.25
_SECONDS_LEAST = 2.0
_FALL_S = 3.0


def overload(bench: Bench) -> None:
    """The maximum first, then twice of it."""
    if not bench.wanted(OVER, OURS):
        return
    settings = bench.settings
    seconds = max(settings.seconds, _SECONDS_LEAST)
    closed = HttpLoad("closed", _CLOSED, seconds, settings.warmup_s)
    attempts = settings.plan.most * 2 * int((seconds + settings.warmup_s) * RATE_MOST[OURS])
    with Servers(
        bench, [OURS], ("mix",), attempts={OURS: attempts}, devices={}, connections=_LET_IN
    ) as servers:
        chosen = {OURS: servers.running[OURS]}

        def at_most(server: Running) -> tuple[Answer, dict[str, float]]:
            return servers.run(server, "mix", closed), {}

        interleave(bench.ledger, settings.plan, MOST, chosen, at_most)
        most = middle(bench.ledger.records, Quantity(MOST, OURS, "msg_per_s"))
        if most is None:
            return
        over = replace(
            closed,
            mode="open",
            connections=_OPEN,
            sources=_SOURCES,
            rate=_TIMES * most,
            may_shed=True,
            fall=(_FALL * most, _FALL_S),
        )
        count = int((seconds + settings.warmup_s) * over.rate + _FALL_S * _FALL * most) + _OPEN

        def beyond(server: Running) -> tuple[Answer, dict[str, float]]:
            answer = servers.run(server, "mix", over, count)
            return answer, {"rate": over.rate, **figures_of(answer)}

        interleave(bench.ledger, settings.plan, OVER, chosen, beyond)


def figures_of(answer: Answer) -> dict[str, float]:
    """By kind of request, and of the recovery."""
    found: dict[str, float] = {}
    for kind, told in answer["classes"].items():
        good, shed = told["answers"], told["shed"]
        found[f"{kind}_shed_share"] = shed / max(good + shed, 1)
        if good:
            found[f"{kind}_p50_us"] = told["latency_us"]["p50"]
            found[f"{kind}_p99_us"] = told["latency_us"]["p99"]
        if shed:
            found[f"{kind}_shed_p99_us"] = told["shed_latency_us"]["p99"]
    after = answer["after"]
    recovered_s = after["recovered_s"]
    found["recovered_s"] = _FALL_S if recovered_s is None else recovered_s
    found["after_p99_us"] = after["latency_us"]["p99"]
    found["after_shed"] = float(after["shed"])
    found["unsent_at_fall"] = float(after["unsent"])
    return found
