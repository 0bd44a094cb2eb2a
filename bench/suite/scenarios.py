"""What is measured. Each scenario starts its servers, loads them in turn, and adds records.

rr-N            request and answer, one outstanding on each of N connections
open-10k        10 000 messages a second on 1 000 connections, from the intended time
otp-1000        a code for each request, durable; beside it bare answers
otp-half-*      open loop at half of what otp-1000 reached; the floor at the same rate
timer-1000      how late a 1 ms Trio timer is at full load
idle            memory of connections held; 64 active devices alone and beside them
idle-many       the same over several processes
storm           every connection dropped and back, tokens checked; 64 established devices
slow-none       64 active devices
slow            the same beside peers that never read, until the server has cut all of these
churn           100 000 connections come and go: memory before and after
rest            OTP processes over HTTP (``rest``)
confirm         codes of devices confirmed over HTTP (``rest``)
svc             codes of accounts verified over HTTP (``rest``)
beside          devices beside HTTP, HTTP beside devices (``beside``)
overload        attempts and inits at twice the maximum rate (``overload``)
hot             the core's HTTP alone, beside Go's (``hot``)
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.suite.beside import beside
from bench.suite.figures import Quantity, Record, middle
from bench.suite.hot import hot
from bench.suite.loadgen import Answer, Load, begin, measures, run
from bench.suite.machine import kernel_bytes, open_descriptors, pss_bytes, settle
from bench.suite.overload import overload
from bench.suite.processes import BenchError, NotHereError, Running
from bench.suite.rest import confirm, rest, svc
from bench.suite.rounds import Ledger, Plan, Started, interleave
from bench.suite.servers import PEERS, TRANSPORTS, Workplace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ACTIVE = 64
ACTIVE_RATE = 500.0
OPEN_RATE = 10_000.0
OPEN_CONNECTIONS = 1_000
_MANY = 5_000
_TURN_S = 1.0
"""In less a slow server on a busy machine does not get round a thousand connections once."""
SLOW_RATE, SLOW_BATCH = 8.0, 10
"""What each slow reader writes a second, and the longest pings in it: what a peer may send of them
at once and in the seconds after it is enough to meet the bound before the time. (Requests are not:
their answers are small beside what a frame counts.)"""
PONG_BYTES = 127
SLOW_BYTES = 60_000
"""Pongs that fill the kernel's buffers (up to twice SEND_BUFFER_BYTES) and less than the 64 KiB
beyond them that the server keeps."""
SLOW_S = 24.0
"""They have 10 s to read, after some to fill what there is."""
SLOW_MOST_S = 45.0
"""In which they have to be cut, however busy the machine is."""
SLOW_CUT_LEAST = 0.9
"""The kernel may take all answers of some that fall silent: those are no slow readers."""
_REACHABLE = 1.25
"""A rate is offered only to servers whose own maximum is this much above it."""


@dataclass(frozen=True)
class Settings:
    """How much of everything."""

    plan: Plan
    seconds: float
    warmup_s: float
    sizes: tuple[int, ...] = (1, 64, 1_000, 10_000)
    http_sizes: tuple[int, ...] = (1, 64, 256)
    servers: frozenset[str] | None = None
    idle_connections: int = 10_000
    idle_processes: int = 1
    storm_connections: int = 5_000
    storm_cycles: int = 1
    slow_connections: int = 20
    churn_connections: int = 100_000
    churn_at_once: int = 5_000
    timer_connections: int = 1_000
    needed: frozenset[tuple[str, str]] | None = None
    """Scenarios and servers; None for all. The gate measures what its budgets name."""


@dataclass
class Bench:
    """A run: its settings, its workplace, what it found."""

    settings: Settings
    workplace: Workplace
    ledger: Ledger

    def wanted(self, scenario: str, *names: str) -> list[str]:
        """Those of the servers that this run is about in that scenario."""
        chosen, needed = self.settings.servers, self.settings.needed
        names = tuple(name for name in names if chosen is None or name in chosen)
        return [name for name in names if needed is None or (scenario, name) in needed]

    def load(self, server: Running, mode: str, connections: int, **more: float) -> Load:
        """A load of the run's length; with tokens and codes where the server is a whole one."""
        otp = server.name.startswith("otp-")
        seconds = self.settings.seconds * more.get("longer", 1.0)
        if mode == "closed" and connections >= OPEN_CONNECTIONS:
            seconds = max(seconds, _TURN_S)
        return Load(
            mode,
            connections,
            seconds=seconds,
            warmup_s=self.settings.warmup_s * more.get("longer", 1.0),
            rate=more.get("rate", 0.0),
            cycles=self.settings.storm_cycles,
            otp=otp,
            tokens=self.workplace.tokens if otp else None,
            skip_tokens=int(more.get("skip_tokens", 0)),
        )

    def active(self, server: Running, skip_tokens: int) -> Load:
        """64 devices that go on asking, at a low constant rate."""
        return self.load(
            server,
            "open",
            ACTIVE,
            rate=ACTIVE_RATE,
            skip_tokens=skip_tokens,
        )


def ours(prefix: str = "") -> list[str]:
    """Our transports, the native one first."""
    return [prefix + name for name in TRANSPORTS]


def request_answer(bench: Bench) -> None:
    """One request outstanding on every connection."""
    for size in bench.settings.sizes:
        names = bench.wanted(f"rr-{size}", "floor", *ours(), *PEERS)
        with Started(bench.workplace, names, bench.ledger) as servers:

            def measure(server: Running, size: int = size) -> tuple[Answer, dict[str, float]]:
                longer = 3.0 if size >= _MANY else 1.0  # a slow server needs seconds for one turn
                return run(bench.load(server, "closed", size, longer=longer), server), {}

            interleave(bench.ledger, bench.settings.plan, f"rr-{size}", servers, measure)


def open_loop(bench: Bench) -> None:
    """A constant rate, where it can be reached."""
    names = bench.wanted("open-10k", "floor", *ours(), *PEERS)
    with Started(bench.workplace, names, bench.ledger) as servers:
        for name, server in list(servers.items()):
            quantity = Quantity(f"rr-{OPEN_CONNECTIONS}", name, "msg_per_s")
            most = middle(bench.ledger.records, quantity)
            if most is None:
                load = bench.load(server, "closed", OPEN_CONNECTIONS)
                most = float(run(load, server)["msg_per_s"])
                settle(server.pid)
            if most < OPEN_RATE * _REACHABLE:
                why = f"answers {most:.0f}/s at most, {OPEN_RATE:.0f}/s are asked"
                bench.ledger.skip(f"{name} in open-10k", why)
                servers.pop(name).stop()

        def measure(server: Running) -> tuple[Answer, dict[str, float]]:
            load = bench.load(server, "open", OPEN_CONNECTIONS, rate=OPEN_RATE)
            return run(load, server), {}

        interleave(bench.ledger, bench.settings.plan, "open-10k", servers, measure)


def otp(bench: Bench) -> None:
    """A code for each request, durable; then at half of that rate, beside the floor."""
    bench.workplace.need_devices(OPEN_CONNECTIONS)
    names = bench.wanted("otp-1000", "floor", *ours("otp-"), "trio-websocket")
    with Started(bench.workplace, names, bench.ledger) as servers:

        def full(server: Running) -> tuple[Answer, dict[str, float]]:
            return run(bench.load(server, "closed", OPEN_CONNECTIONS), server), {}

        interleave(bench.ledger, bench.settings.plan, "otp-1000", servers, full)
        for name in [name for name in servers if name.startswith("otp-")]:
            scenario = "otp-half-" + name.removeprefix("otp-")
            if not bench.wanted(scenario, name):
                continue
            most = middle(bench.ledger.records, Quantity("otp-1000", name, "msg_per_s"))
            if most is None:
                continue
            rate = most / 2

            def half(server: Running, rate: float = rate) -> tuple[Answer, dict[str, float]]:
                load = bench.load(server, "open", OPEN_CONNECTIONS, rate=rate)
                return run(load, server), {"rate": rate}

            pair = {key: servers[key] for key in ("floor", name) if key in servers}
            interleave(bench.ledger, bench.settings.plan, scenario, pair, half)


def timer(bench: Bench) -> None:
    """How late a 1 ms timer is while every connection has a request outstanding."""
    connections = bench.settings.timer_connections
    bench.workplace.need_devices(connections)
    scenario = f"timer-{connections}"
    for name in bench.wanted(scenario, *ours(), *ours("otp-")):
        try:
            server = bench.workplace.start(name, timer=True)
        except NotHereError as error:
            bench.ledger.skip(name, str(error))
            continue

        def measure(server: Running) -> tuple[Answer, dict[str, float]]:
            with begin(bench.load(server, "closed", connections), server) as loading:
                loading.wait_event("measuring")
                server.take_timer()
                loading.wait_event("measured")
                late = server.take_timer()
                answer = loading.result(bench.settings.seconds)
            return answer, {f"timer_late_{key}": value for key, value in late.items()}

        with server:
            plan = bench.settings.plan
            # Not settled at rest: the timer itself keeps it busy.
            interleave(bench.ledger, plan, scenario, {name: server}, measure)


def idle(bench: Bench) -> None:
    """Memory of connections held, and what they cost the active ones."""
    count = bench.settings.idle_connections
    bench.workplace.need_devices(count + ACTIVE)
    for name in bench.wanted("idle", "floor", *ours("otp-"), *ours(), *PEERS):
        _hold(bench, [name], count, scenario="idle")


def idle_many(bench: Bench) -> None:
    """Several processes filled, each with a store of its own, and 64 active devices at one.

    The floor has 64 active devices too: what it feels of so many sockets is the machine's doing.
    """
    count = bench.settings.idle_connections
    bench.workplace.need_devices(count + ACTIVE)
    processes = bench.settings.idle_processes
    for name in bench.wanted("idle-many", *ours("otp-")):
        names = [*([name] * processes), *bench.wanted("idle-many", "floor")]
        _hold(bench, names, count, scenario="idle-many")


def _hold(bench: Bench, names: Sequence[str], count: int, *, scenario: str) -> None:
    """Fill all servers of the first one's name; the others are there to be compared with."""
    name = names[0]
    with ExitStack() as stack:
        try:
            servers = [stack.enter_context(bench.workplace.start(each)) for each in names]
        except NotHereError as error:
            bench.ledger.skip(name, str(error))
            return
        try:
            _hold_all(bench, stack, servers, count, scenario)
        except BenchError as error:
            bench.ledger.fail(f"{scenario}, {name}", str(error))


def _hold_all(
    bench: Bench, stack: ExitStack, started: Sequence[Running], count: int, scenario: str
) -> None:
    first = started[0]
    servers = [server for server in started if server.name == first.name]
    compared = {server.name: server for server in reversed(started)}

    def active(server: Running) -> tuple[Answer, dict[str, float]]:
        return run(bench.active(server, skip_tokens=count), server), {}

    plan = bench.settings.plan
    active(first)  # what grows once is no part of the comparison
    settle(first.pid)
    interleave(bench.ledger, plan, f"{scenario}-alone", compared, active)
    for server in servers:
        settle(server.pid)
    before = sum(pss_bytes(server.pid) for server in servers)
    kernel_before = kernel_bytes()
    holding = []
    handshakes_s = 0.0
    for server in servers:
        loading = stack.enter_context(begin(bench.load(server, "idle", count), server))
        handshakes_s += loading.wait_held()["seconds"]
        settle(server.pid)
        holding.append(loading)
    after = sum(pss_bytes(server.pid) for server in servers)
    held = count * len(servers)
    figures = {
        # Of both ends: the devices are on this machine too.
        "kernel_bytes_per_connection": (kernel_bytes() - kernel_before) / held,
        "descriptors": float(max(open_descriptors(server.pid) for server in servers)),
        "pss_bytes_per_connection": (after - before) / held,
        "pss_bytes_before": float(before),
        "pss_bytes_after": float(after),
        "connections": float(held),
        "processes": float(len(servers)),
        "connects_per_s": held / max(handshakes_s, 1e-9),
    }
    bench.ledger.add(Record(scenario, first.name, 1, figures))
    interleave(bench.ledger, plan, f"{scenario}-beside", compared, active)
    lost = sum(loading.release()["connections_lost"] for loading in holding)
    if lost:
        bench.ledger.fail(f"{scenario}, {first.name}", f"{lost} held connections were lost")


def storm(bench: Bench) -> None:
    """Every connection dropped and back at once, while 64 established devices go on."""
    count = bench.settings.storm_connections
    bench.workplace.need_devices(count + ACTIVE)
    names = bench.wanted("storm", "floor", *ours("otp-"), "trio-websocket")
    with Started(bench.workplace, names, bench.ledger) as servers:

        def alone(server: Running) -> tuple[Answer, dict[str, float]]:
            return run(bench.active(server, skip_tokens=count), server), {}

        def measure(server: Running) -> tuple[Answer, dict[str, float]]:
            with begin(bench.active(server, skip_tokens=count), server) as established:
                established.wait_event("measuring")
                answer = run(bench.load(server, "storm", count), server)
                figures = measures(established.result(bench.settings.seconds))
            more = {
                "connections": float(count),
                "refused": float(answer["refused"]),
                "established_p50_us": figures["p50_us"],
                "established_p99_us": figures["p99_us"],
            }
            return answer, more

        interleave(bench.ledger, bench.settings.plan, "storm-none", servers, alone)
        interleave(bench.ledger, bench.settings.plan, "storm", servers, measure)


def churn(bench: Bench) -> None:
    """Many connections come and go: does memory return to its level?"""
    settings = bench.settings
    at_once = settings.churn_at_once
    bench.workplace.need_devices(at_once)
    for name in bench.wanted("churn", *ours("otp-")):
        try:
            server = bench.workplace.start(name)
        except NotHereError as error:
            bench.ledger.skip(name, str(error))
            continue
        with server:
            try:
                # What the allocator keeps after a first lot is the level.
                before = _come_and_go(bench, server, 1)
                after = _come_and_go(bench, server, settings.churn_connections // at_once)
            except BenchError as error:
                bench.ledger.fail(f"churn, {name}", str(error))
                continue
        figures = {
            "connections": float(settings.churn_connections),
            "pss_bytes_before": float(before),
            "pss_bytes_after": float(after),
            "pss_after_to_before": after / before,
        }
        bench.ledger.add(Record("churn", name, 1, figures))


def _come_and_go(bench: Bench, server: Running, lots: int) -> int:
    """Connect and drop that many lots; the server's memory once it rests."""
    load = bench.load(server, "storm", bench.settings.churn_at_once)
    load = replace(load, cycles=max(lots, 1), seconds=0.0)
    measures(run(load, server))
    settle(server.pid)
    return pss_bytes(server.pid)


def slow(bench: Bench) -> None:
    """Peers that ask and never read: they are cut, and the others are served all the while.

    Half of them ask on and on, and meet the bound of what may wait for them; the other half fill
    the kernel's buffers and fall silent, and meet the time within which they have to read.
    """
    each = max(1, bench.settings.slow_connections // 2)
    bench.workplace.need_devices(2 * each + ACTIVE)
    # Not the reference: on a busy processor it is at its limit with so many requests.
    names = bench.wanted("slow", "otp-native", "native")

    def others(server: Running) -> Load:
        return bench.active(server, skip_tokens=2 * each)

    def alone(server: Running) -> tuple[Answer, dict[str, float]]:
        return run(others(server), server), {}

    def measure(server: Running) -> tuple[Answer, dict[str, float]]:
        asks_on = bench.load(server, "slow", each, rate=SLOW_RATE)
        asks_on = replace(asks_on, batch=SLOW_BATCH, seconds=SLOW_MOST_S)
        messages = SLOW_BYTES // (PONG_BYTES * SLOW_BATCH)
        falls_silent = replace(asks_on, messages=messages, skip_tokens=each)
        before = most = pss_bytes(server.pid)
        with (
            begin(asks_on, server) as amount,
            begin(falls_silent, server) as time_out,
            begin(replace(others(server), seconds=SLOW_S), server) as beside,
        ):
            for loading in (amount, time_out):
                loading.wait_held()
            for _ in range(round(SLOW_S)):
                time.sleep(1)
                most = max(most, pss_bytes(server.pid))
            answer = beside.result(SLOW_S)
            cut = {"amount": amount.result(SLOW_MOST_S), "time": time_out.result(SLOW_MOST_S)}
        for why, found in cut.items():
            if found["closed_by_server"] < each * SLOW_CUT_LEAST:
                count = f"{found['closed_by_server']} of {each}"
                raise BenchError(f"only {count} slow readers were cut for the {why}")
        more = {"pss_bytes_per_slow_connection": (most - before) / (2 * each)}
        for why, found in cut.items():
            more[f"slow_cut_for_{why}"] = float(found["closed_by_server"])
            more[f"slow_cut_for_{why}_last_s"] = found["last_closed_s"]
        return answer, more

    with Started(bench.workplace, names, bench.ledger) as servers:
        interleave(bench.ledger, bench.settings.plan, "slow-none", servers, alone)
        interleave(bench.ledger, bench.settings.plan, "slow", servers, measure)


def group_of(names: Sequence[str]) -> list[Callable[[Bench], None]]:
    """The scenarios of these names, in the order of the table."""
    unknown = set(names) - SCENARIOS.keys()
    if unknown:
        raise BenchError(f"no scenario {sorted(unknown)}; there are {', '.join(SCENARIOS)}")
    return [scenario for name, scenario in SCENARIOS.items() if name in names]


SCENARIOS: dict[str, Callable[[Bench], None]] = {
    "rr": request_answer,
    "open": open_loop,
    "otp": otp,
    "timer": timer,
    "idle": idle,
    "idle-many": idle_many,
    "storm": storm,
    "slow": slow,
    "churn": churn,
    "rest": rest,
    "confirm": confirm,
    "svc": svc,
    "beside": beside,
    "overload": overload,
    "hot": hot,
}
