"""The command of the benches: ``python -m bench.run full | quick | gate | baseline``.

    full       every scenario, five undisturbed passes or more; JSON lines and an HTML page
    quick      the same in small, in under three minutes
    gate       instruction counts and in-run ratios against budgets.toml; exit status 1 when missed
    baseline   write bench/instructions.toml for this compiler

``--scenario`` and ``--server`` (both repeatable) choose; see ``bench/README.md``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.suite import budgets, instructions, servers
from bench.suite.figures import Quantity, Record, middle
from bench.suite.http_servers import SIZES_MOST as HTTP_SIZES_MOST
from bench.suite.machine import describe, raise_descriptors
from bench.suite.processes import BenchError, NotHereError
from bench.suite.report import Contents, number, page, scenarios_of
from bench.suite.rounds import Ledger, Plan
from bench.suite.scenarios import ACTIVE, SCENARIOS, Bench, Settings, group_of
from otp_server.config.svc_schema import SvcSection
from otp_server.transport.sockets import (
    client_sockets_possible,
    connections_possible,
    http_connections_possible,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.suite.budgets import Verdict
    from bench.suite.instructions import Comparison

BUDGETS = servers.ROOT / "bench" / "budgets.toml"
_EXIT_TERMINATED = 143
_WIDTH = 120
"""Of tables in files and in CI."""
_GATE_SCENARIOS = ("rr", "otp", "timer", "rest", "confirm", "svc", "hot")
_QUICK_SCENARIOS = (  # not those of minutes, nor what needs many answers to say anything
    *("rr", "otp", "timer", "idle", "storm", "slow"),
    *("rest", "confirm", "svc", "overload", "hot"),
)

PRESETS = {
    "full": Settings(Plan(5, 3), seconds=3.0, warmup_s=1.0),
    "quick": Settings(
        Plan(1, 0),
        seconds=0.5,
        warmup_s=0.2,
        sizes=(1, 64, 1_000),
        http_sizes=(64,),
        idle_connections=500,
        storm_connections=500,
        storm_cycles=1,
    ),
    "gate": Settings(
        Plan(3, 2, decided=2), seconds=0.5, warmup_s=0.2, sizes=(64, 1_000), http_sizes=(64,)
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit status."""
    options = _parse(arguments)
    # So that every server that was started is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_EXIT_TERMINATED))
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    try:
        servers.OUT.mkdir(exist_ok=True)
        raise_descriptors()
        if not options.no_build:
            with console.status("building the programs of the benches"):
                servers.build()
        if options.mode == "baseline":
            return _baseline(console)
        return _measure(options, console)
    except (BenchError, NotHereError, budgets.BudgetError) as error:
        console.print(f"bench: {error}", style="bold red", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("mode", choices=["full", "quick", "gate", "baseline"])
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS))
    parser.add_argument("--server", action="append", help="only these servers")
    parser.add_argument("--passes", type=int, help="undisturbed passes wanted")
    parser.add_argument("--extra", type=int, help="passes more where some were disturbed")
    parser.add_argument("--seconds", type=float, help="of each round")
    parser.add_argument("--sizes", help="connections of rr, hot and rest, such as 1,64")
    parser.add_argument("--idle-connections", type=int, help="in each process; 0: as many as fit")
    parser.add_argument("--idle-processes", type=int, help="of idle-many")
    parser.add_argument("--storm-connections", type=int)
    parser.add_argument("--slow-connections", type=int, help="that never read")
    parser.add_argument("--churn-connections", type=int, help="in all, one lot after the other")
    parser.add_argument("--name", help="of the files in bench/out; else the time")
    parser.add_argument("--no-build", action="store_true")
    parser.add_argument("--no-instructions", action="store_true", help="gate: ratios only")
    parser.add_argument("--planted", action="store_true", help="gate: with planted regressions")
    return parser.parse_args(arguments)


def settings_of(options: argparse.Namespace) -> Settings:
    """The preset with what the command line changes."""
    preset = PRESETS[options.mode]
    plan = Plan(
        preset.plan.passes if options.passes is None else options.passes,
        preset.plan.extra if options.extra is None else options.extra,
        preset.plan.decided,
    )
    descriptors = int(str(describe()["descriptors"]))
    # What our server lets in beside apps, web clients and those that are not in yet; 64 are for the
    # active ones.
    apps = http_connections_possible(descriptors, 2)
    web_clients = client_sockets_possible(descriptors, SvcSection().sockets_max)
    most = connections_possible(descriptors, apps + web_clients, descriptors) - ACTIVE
    idle = options.idle_connections
    if idle is None:
        idle = preset.idle_connections
    chosen = set(options.server) if options.server else None
    sizes, http_sizes = preset.sizes, preset.http_sizes
    if options.sizes:
        sizes = tuple(map(int, options.sizes.split(",")))
        http_sizes = tuple(size for size in sizes if size <= HTTP_SIZES_MOST)
    return replace(
        preset,
        plan=plan,
        seconds=options.seconds or preset.seconds,
        warmup_s=preset.warmup_s * (options.seconds or preset.seconds) / preset.seconds,
        sizes=sizes,
        http_sizes=http_sizes,
        servers=frozenset(chosen) if chosen else None,
        idle_connections=min(idle or most, most),
        slow_connections=options.slow_connections or preset.slow_connections,
        idle_processes=options.idle_processes or preset.idle_processes,
        churn_connections=options.churn_connections or preset.churn_connections,
        churn_at_once=min(preset.churn_at_once, options.churn_connections or most, most),
        storm_connections=min(options.storm_connections or preset.storm_connections, most),
    )


def _scenarios(options: argparse.Namespace) -> list[str]:
    if options.scenario:
        return list(options.scenario)
    if options.mode == "gate":
        return list(_GATE_SCENARIOS)
    if options.mode == "quick":
        return list(_QUICK_SCENARIOS)
    # Several processes take long and much memory: only when asked for.
    several = (options.idle_processes or 1) > 1
    return [name for name in SCENARIOS if several or name != "idle-many"]


def _devices_needed(settings: Settings, scenarios: Sequence[str]) -> int:
    needed = {
        "otp": 1_000,
        "timer": settings.timer_connections,
        "idle": settings.idle_connections + ACTIVE,
        "idle-many": settings.idle_connections + ACTIVE,
        "storm": settings.storm_connections + ACTIVE,
        "slow": settings.slow_connections + ACTIVE,
        "churn": settings.churn_at_once,
    }
    return max((needed.get(name, 0) for name in scenarios), default=0)


def _baseline(console: Console) -> int:
    with console.status("counting instructions"):
        counts = instructions.count_all()
    instructions.write(instructions.toolchain(), counts)
    for operation, count in counts.items():
        console.print(f"{operation:24} {count:>12,.1f}")
    console.print(f"written: {instructions.FILE.relative_to(servers.ROOT)}")
    return 0


def _measure(options: argparse.Namespace, console: Console) -> int:
    settings, chosen = settings_of(options), _scenarios(options)
    limits = budgets.load(BUDGETS)
    gate = options.mode == "gate"
    each = [budget for budget in limits.each if budget.gate or not gate]
    name = options.name or time.strftime(f"{options.mode}-%Y%m%d-%H%M%S", time.gmtime())
    folder = servers.OUT / f"{name}.work"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    ledger = Ledger()
    if gate:
        settings = replace(settings, needed=budgets.needed(each))
        ledger.is_decided = lambda name: budgets.is_decided(each, ledger.records, name)
    environment = {"BENCH_PLANT": "1"} if options.planted else {}
    bench = Bench(settings, servers.Workplace(folder, environment), ledger)
    compared: list[Comparison] = []
    try:
        if gate and not options.no_instructions:
            compared = _count(console, ledger, planted=options.planted)
        _run_scenarios(bench, chosen, console)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    skipped = ledger.skipped
    verdicts = budgets.judge(each, ledger.records, take_best=gate, skipped=skipped)
    command = f"make bench{'' if options.mode == 'full' else '-' + options.mode}"
    contents = Contents(
        title=f"otp-server benches: {name}",
        command=" ".join([command, *(["#", *sys.argv[2:]] if sys.argv[2:] else [])]),
        machine=describe(),
        records=ledger.records,
        verdicts=verdicts,
        instructions=compared,
        skipped=skipped,
        failed=ledger.failed,
    )
    _write(servers.OUT / name, contents)
    _print(console, contents)
    console.print(f"\nbench/out/{name}.jsonl\nbench/out/{name}.html")
    if gate:
        wanted = limits.required & (settings.servers or limits.required)
        missing = sorted(wanted & skipped.keys())
        if options.scenario:  # then most is not measured, and that is no fault
            verdicts = [one for one in verdicts if one.state is not budgets.State.NOT_MEASURED]
        return _gate(console, verdicts, compared, ledger, missing)
    return 1 if not ledger.records else 0


def _count(console: Console, ledger: Ledger, *, planted: bool) -> list[Comparison]:
    with console.status("counting instructions"):
        try:
            counts = instructions.count_all("planted" if planted else "")
        except NotHereError as error:
            ledger.skip("instructions", str(error))
            return []
        version = instructions.toolchain()
    return instructions.compare(instructions.read(), version, counts)


def _run_scenarios(bench: Bench, chosen: Sequence[str], console: Console) -> None:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("registering devices")

        def on_record(record: Record) -> None:
            rate = record.measures.get("msg_per_s") or record.measures.get("handshakes_per_s")
            text = f"{record.scenario} {record.server} pass {record.pass_number}: {number(rate)}/s"
            progress.update(task, description=text)
            if not console.is_terminal:
                progress.console.print(text, markup=False, highlight=False)

        bench.ledger.on_record = on_record
        bench.ledger.on_note = lambda note: progress.console.print(note, markup=False)
        needed = _devices_needed(bench.settings, chosen)
        if needed:
            bench.workplace.need_devices(needed)
        for scenario in group_of(chosen):
            scenario(bench)


def _write(stem: Path, contents: Contents) -> None:
    head = {
        "kind": "run",
        "title": contents.title,
        "command": contents.command,
        "machine": dict(contents.machine),
        "skipped": dict(contents.skipped),
        "failed": dict(contents.failed),
    }
    lines = [head, *(record.as_json() for record in contents.records)]
    lines += [verdict.as_json() for verdict in contents.verdicts]
    lines += [one.as_json() for one in contents.instructions]
    stem.with_name(stem.name + ".jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines)
    )
    stem.with_name(stem.name + ".html").write_text(page(contents))


def _print(console: Console, contents: Contents) -> None:
    records = contents.records
    table = Table(title="medians of undisturbed passes")
    for heading in ("scenario", "server"):
        table.add_column(heading, no_wrap=True)
    measures = ("msg_per_s", "cpu_us_per_msg", "p50_us", "p99_us", "others_share")
    for heading in ("per s", "of floor", "CPU µs", "of floor", "p50 µs", "p99 µs", "others"):
        table.add_column(heading, justify="right")
    for scenario, names in scenarios_of(records).items():
        for server in names:
            found = [middle(records, Quantity(scenario, server, m)) for m in measures]
            floor = [middle(records, Quantity(scenario, "floor", m)) for m in measures[:2]]
            if found[0] is None:
                found[0] = middle(records, Quantity(scenario, server, "handshakes_per_s"))
                floor[0] = middle(records, Quantity(scenario, "floor", "handshakes_per_s"))
            shares = [_of(a, b) for a, b in zip(found[:2], floor, strict=True)]
            cells = [found[0], shares[0], found[1], shares[1], *found[2:]]
            table.add_row(scenario, server, *(number(cell) for cell in cells))
    if records:
        console.print(table)
    _print_memory(console, records)
    _print_verdicts(console, contents.verdicts)
    for what, why in contents.skipped.items():
        console.print(f"skipped {what}: {why}", markup=False, style="yellow")
    for what, why in contents.failed.items():
        console.print(f"failed {what}: {why}", markup=False, style="red")


def _of(value: float | None, floor: float | None) -> float | None:
    return value / floor if value is not None and floor else None


def _print_memory(console: Console, records: Sequence[Record]) -> None:
    table = Table("scenario", "server", "measure", title="memory, storms, timers, overload")
    table.add_column("median", justify="right")
    shown = (
        *("pss_bytes_per_connection", "connects_per_s", "pss_bytes_per_slow_connection"),
        *(
            "cpu_us_per_handshake",
            "refused",
            "established_p50_us",
            "established_p99_us",
        ),
        *("slow_cut_for_amount", "slow_cut_for_amount_last_s"),
        *("slow_cut_for_time", "slow_cut_for_time_last_s"),
        *("kernel_bytes_per_connection", "connections", "processes", "descriptors"),
        *("attempt_p99_us", "attempt_shed_share", "init_shed_share", "init_shed_p99_us"),
        *("recovered_s", "after_p99_us", "unsent_at_fall", "beside_msg_per_s"),
        *("timer_late_p50_ms", "timer_late_p99_ms", "timer_late_own_p99_ms", "pss_after_to_before"),
    )
    for scenario, names in scenarios_of(records).items():
        for server in names:
            for measure in shown:
                value = middle(records, Quantity(scenario, server, measure))
                if value is not None:
                    table.add_row(scenario, server, measure, number(value))
    if table.row_count:
        console.print(table)


def _print_verdicts(console: Console, verdicts: Sequence[Verdict]) -> None:
    table = Table("budget", title="budgets")
    for heading in ("found", "limit", "aim"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    styles = {budgets.State.HELD: "green", budgets.State.MISSED: "bold red"}
    unmeasured: dict[str, int] = {}
    for verdict in verdicts:
        budget = verdict.budget
        if verdict.state is budgets.State.NOT_MEASURED:
            why = verdict.note or "not in these scenarios"
            unmeasured[why] = unmeasured.get(why, 0) + 1
            continue
        table.add_row(
            budget.name,
            number(verdict.value),
            f"{budget.sign} {number(budget.limit)}",
            number(budget.aim),
            f"{verdict.state} {verdict.note}".strip(),
            style=styles.get(verdict.state),
        )
    if table.row_count:
        console.print(table)
    for why, count in unmeasured.items():
        console.print(f"budgets not measured: {count} ({why})", style="yellow")


def _gate(
    console: Console,
    verdicts: Sequence[Verdict],
    compared: Sequence[Comparison],
    ledger: Ledger,
    missing: Sequence[str],
) -> int:
    """0 when nothing is missed; a budget whose server is not there yet is reported, not missed."""
    missed = [f"{server} is required and was skipped" for server in missing]
    missed += [f"wrong answers: {what}" for what in ledger.wrong]
    missed += [verdict.budget.name for verdict in verdicts if verdict.state is budgets.State.MISSED]
    missed += [
        f"{verdict.budget.name} (not measured, and no server was skipped)"
        for verdict in verdicts
        if verdict.state is budgets.State.NOT_MEASURED and not verdict.note
    ]
    for one in compared:
        style = "bold red" if one.fails else "green"
        line = f"{one.operation:24} {number(one.found):>10} of {number(one.committed):>10}  "
        console.print(line + one.note, style=style, markup=False)
        if one.fails:
            missed.append(f"instructions of {one.operation}: {one.note}")
    if missed:
        console.print("\nthe gate is red:", style="bold red")
        for name in missed:
            console.print(f"  {name}", style="red", markup=False)
        for what, why in ledger.failed.items():
            console.print(f"  {what}: {why}", style="red", markup=False)
        return 1
    console.print("\nthe gate is green", style="bold green")
    return 0


if __name__ == "__main__":
    sys.exit(main())
