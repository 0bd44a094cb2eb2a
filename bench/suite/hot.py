"""The hot HTTP scenarios: batches of the core's requests answered in Python, beside Go and Quart.

hot-N       one request outstanding on each of N keep-alive connections
hot-half    open loop on 64 connections at half of what the hot face reached with them

All servers get the same requests and answer the same body: ``hot`` decodes and renders it
(``hot_face``), ``go-http`` and ``quart-bare`` read the request's body and give the answer's bytes.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.hot_face import PATH, Asked, answer_to
from bench.suite.figures import Quantity, middle
from bench.suite.http_load import HttpLoad
from bench.suite.http_servers import BARE, CONNECTIONS, GO, start_go
from bench.suite.loadgen import Answer, run
from bench.suite.processes import NotHereError, Running, start
from bench.suite.rounds import interleave

if TYPE_CHECKING:
    from pathlib import Path

    from bench.suite.scenarios import Bench

HOT = "hot"
NAMES = (HOT, GO, BARE)
_SIZES_MOST = 1_000
_ASKED = Asked("email-login", "someone@example.com")


def hot(bench: Bench) -> None:
    """At each number of connections, then at half of the most."""
    sizes = [size for size in bench.settings.sizes if size <= _SIZES_MOST]
    scenarios = [*(f"hot-{size}" for size in sizes), "hot-half"]
    wanted = {name: bench.wanted(name, *NAMES) for name in scenarios}
    if not any(wanted.values()):
        return
    folder = bench.workplace.folder / "hot"
    folder.mkdir()
    body = json.dumps({"type": _ASKED.type, "email": _ASKED.email}, separators=(",", ":"))
    (folder / "requests").write_text(f"POST\t{PATH}\thandshake\t{body}\n")
    (folder / "answer").write_bytes(answer_to(body.encode()))
    (folder / "token").write_text("A" * 43)
    with ExitStack() as stack:
        servers: dict[str, Running] = {}
        for name in dict.fromkeys(name for names in wanted.values() for name in names):
            try:
                servers[name] = stack.enter_context(_start(bench, name, folder))
            except NotHereError as why:
                bench.ledger.skip(name, str(why))
        for size in sizes:
            _measure(bench, f"hot-{size}", servers, _load(bench, folder, size))
        full = Quantity(f"hot-{CONNECTIONS}", HOT, "msg_per_s")
        most = middle(bench.ledger.records, full)
        if most is not None and HOT in wanted["hot-half"]:
            load = replace(_load(bench, folder, CONNECTIONS), mode="open", rate=most / 2)
            _measure(bench, "hot-half", {HOT: servers[HOT]}, load)


def _start(bench: Bench, name: str, folder: Path) -> Running:
    log = folder / f"{name}.log"
    log.touch()
    environment = bench.workplace.environment
    if name == HOT:
        return start(name, [sys.executable, "-m", "bench.hot_face"], log, environment)
    fixed = folder / "answers.json"
    headers = [["Content-Type", "application/json"], ["Cache-Control", "no-store"]]
    headers.append(["X-Content-Type-Options", "nosniff"])
    answer = (folder / "answer").read_text()
    row = {"method": "POST", "rule": PATH, "headers": headers, "body": answer}
    fixed.write_text(json.dumps([row]))
    if name == GO:
        return start_go(fixed, log, environment)
    return start(
        name, [sys.executable, "-m", "bench.peers.quart_bare", str(fixed)], log, environment
    )


def _load(bench: Bench, folder: Path, connections: int) -> HttpLoad:
    settings = bench.settings
    return HttpLoad(
        "closed",
        connections,
        seconds=settings.seconds,
        warmup_s=settings.warmup_s,
        requests=folder / "requests",
        wrap=True,
        token=folder / "token",
        answer=folder / "answer",
    )


def _measure(bench: Bench, scenario: str, servers: dict[str, Running], load: HttpLoad) -> None:
    wanted = bench.wanted(scenario, *servers)

    def measure(server: Running) -> tuple[Answer, dict[str, float]]:
        return run(load, server), ({"rate": load.rate} if load.rate else {})

    chosen = {name: servers[name] for name in wanted}
    interleave(bench.ledger, bench.settings.plan, scenario, chosen, measure)
