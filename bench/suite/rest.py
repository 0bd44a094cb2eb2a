"""The REST scenarios: our whole server beside a bare Quart-Trio handler with the same answers.

rest-KIND-N     one request outstanding on each of N keep-alive connections
rest-KIND-half  open loop on 64 connections at half of what our server reached with them

``rest`` is the server as it is installed: durable SQLite store, limits, outbox, a delivery worker
that writes the outbox file. ``quart-bare`` has the same accept loop and HTTP/1.1 connections, and
gives the bodies and headers that our server gave to a first request of each kind. Kinds:
``rest_requests``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Self

from bench.suite.figures import Quantity, middle
from bench.suite.loadgen import Answer, Load, run
from bench.suite.machine import settle
from bench.suite.processes import BenchError, Running, start
from bench.suite.rest_requests import KINDS, SAMPLES, Requests, processes_for
from bench.suite.rounds import interleave
from bench.suite.servers import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from bench.suite.scenarios import Bench

OURS, BARE = "rest", "quart-bare"
CONNECTIONS = 64
_RATE_MOST = 1_500.0
"""Requests a second that nobody here reaches: so many are there to be asked."""
_HOP_BY_HOP = {"connection", "date", "content-length", "transfer-encoding"}
_EXAMPLE_S = 20.0
_MANY = "[[1000000000, 60]]"
CONFIG = f"""
[server]
data_dir = "{{data_dir}}"
drain_s = 5
log_level = "warning"
[device]
listen = "127.0.0.1:0"
[http]
listen = "127.0.0.1:0"
[ops]
listen = "127.0.0.1:0"
[rest]
starts_per_tenant = {_MANY}
starts_in_all = {_MANY}
attempts_per_address = {_MANY}
attempts_per_client = {_MANY}
requests_per_client = {_MANY}
prefix_limit = {_MANY}
"""


@dataclass(frozen=True, slots=True)
class HttpLoad(Load):
    """``loadgen http``; ``mode`` is ``closed`` or ``open``."""

    requests: Path | None = None
    wrap: bool = False
    token: Path | None = None
    answer: Path | None = None

    def arguments(self, server: Running) -> list[str]:
        """The command line."""
        words: dict[str, object] = {
            "target": server.target,
            "watch": server.pid,
            "connections": self.connections,
            "duration": self.seconds,
            "warmup": self.warmup_s,
            "requests": self.requests,
            "token": self.token,
        }
        if self.rate:
            words["rate"] = self.rate
        if self.answer is not None:
            words["answer"] = self.answer
        flags = [word for key, value in words.items() for word in (f"--{key}", str(value))]
        return ["http", self.mode, *flags, *(["--wrap"] if self.wrap else [])]


class Pair:
    """Both servers up, and what is asked of them. Leaving the block ends them."""

    def __init__(self, bench: Bench, requests_most: int) -> None:
        self.servers: dict[str, Running] = {}
        self._bench = bench
        self._folder = bench.workplace.folder / "rest"
        self._folder.mkdir()
        self._installation = self._install(processes_for(requests_most))
        self._requests = Requests(self._installation["processes"])

    def __enter__(self) -> Self:
        try:
            ours = self._start(OURS, "bench.rest_harness", "--config", str(self._config))
            self.servers[OURS] = ours
            token = self._token(ours)
            self._token_file.write_text(token)
            examples = [self._example(ours, token, kind) for kind in KINDS]
            answers = self._folder / "answers.json"
            answers.write_text(json.dumps(examples))
            self.servers[BARE] = self._start(BARE, "bench.peers.quart_bare", str(answers))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers.values():
            server.stop()

    def run(self, server: Running, kind: str, load: HttpLoad) -> Answer:
        """Ask for this kind, of our server what it has not been asked before."""
        ours = server.name == OURS
        most = int((load.seconds + load.warmup_s) * (load.rate or _RATE_MOST)) + CONNECTIONS
        file = self._folder / f"{server.name}.requests"
        file.write_text("".join(f"{line}\n" for line in self._requests.next_of(kind, most)))
        load = replace(
            load,
            requests=file,
            wrap=not ours or kind not in ("init", "attempt"),
            token=self._token_file,
            answer=None if ours else self._answer_file(kind),
        )
        answer = run(load, server)
        if ours:
            self._requests.asked(kind, int(answer["asked"]))
        return answer

    @property
    def _config(self) -> Path:
        return self._folder / "otp.toml"

    @property
    def _token_file(self) -> Path:
        return self._folder / "token"

    def _answer_file(self, kind: str) -> Path:
        return self._folder / f"{kind}.answer"

    def _install(self, processes: int) -> dict[str, Any]:
        self._config.write_text(CONFIG.format(data_dir=self._folder / "data"))
        made = self._folder / "made.json"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "bench.rest_installation", "--config", str(self._config)),
                *("--processes", str(processes), "--out", str(made)),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        if done.returncode:
            raise BenchError(f"cannot install: {done.stderr.strip()[-500:]}")
        installation: dict[str, Any] = json.loads(made.read_text())
        return installation

    def _start(self, name: str, module: str, *words: str) -> Running:
        log = self._folder / f"{name}.log"
        log.touch()
        command = [sys.executable, "-m", module, *words]
        return start(name, command, log, self._bench.workplace.environment, face="http")

    def _token(self, server: Running) -> str:
        words = {
            "grant_type": "client_credentials",
            "client_id": self._installation["client_id"],
            "client_secret": self._installation["client_secret"],
        }
        form = "&".join(f"{key}={value}" for key, value in words.items())
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        _, body = _ask(server, "POST", "/oauth/token", form, kind)
        return str(json.loads(body)["access_token"])

    def _example(self, server: Running, token: str, kind: str) -> dict[str, Any]:
        """A first answer of our server, for the bare one to repeat."""
        method, target, _, body = self._requests.next_of(kind, 1)[0].split("\t")
        self._requests.asked(kind, 1)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        answered, text = _ask(server, method, target, body, headers)
        self._answer_file(kind).write_text(text)
        sample = SAMPLES[kind]
        kept = [pair for pair in answered if pair[0].lower() not in _HOP_BY_HOP]
        return {"method": sample.method, "rule": sample.rule, "headers": kept, "body": text}


def _ask(
    server: Running, method: str, target: str, body: str, headers: dict[str, str]
) -> tuple[list[tuple[str, str]], str]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=_EXAMPLE_S)
    try:
        connection.request(method, target, body or None, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status != 200:  # noqa: PLR2004 - the one good status
            raise BenchError(f"{method} {target} was answered {answer.status}: {text[:300]}")
        return answer.getheaders(), text
    finally:
        connection.close()


def rest(bench: Bench) -> None:
    """Each kind of request at each number of connections, then at half of the most."""
    sizes = [size for size in bench.settings.sizes if size <= CONNECTIONS]
    closed = {(kind, size): f"rest-{kind}-{size}" for kind in KINDS for size in sizes}
    half = {kind: f"rest-{kind}-half" for kind in KINDS}
    wanted = {name for name in (*closed.values(), *half.values()) if _is_wanted(bench, name)}
    if not wanted:
        return
    attempts = [name for name in wanted if name.startswith("rest-attempt-")]
    with Pair(bench, len(attempts) * _requests_most(bench)) as pair:
        for (kind, size), name in closed.items():
            if name in wanted:
                _measure(bench, pair, kind, name, _load(bench, "closed", size))
        for kind, name in half.items():
            full = Quantity(f"rest-{kind}-{CONNECTIONS}", OURS, "msg_per_s")
            most = middle(bench.ledger.records, full)
            if name in wanted and most is not None:
                load = replace(_load(bench, "open", CONNECTIONS), rate=most / 2)
                _measure(bench, pair, kind, name, load)


def _is_wanted(bench: Bench, scenario: str) -> bool:
    """Whether both servers are: a REST figure without the other's says nothing."""
    return len(bench.wanted(scenario, OURS, BARE)) == len((OURS, BARE))


def _requests_most(bench: Bench) -> int:
    """Of one scenario."""
    settings = bench.settings
    each = (settings.seconds + settings.warmup_s) * _RATE_MOST + CONNECTIONS
    return int(settings.plan.most * each)


def _load(bench: Bench, mode: str, connections: int) -> HttpLoad:
    settings = bench.settings
    return HttpLoad(mode, connections, seconds=settings.seconds, warmup_s=settings.warmup_s)


def _measure(bench: Bench, pair: Pair, kind: str, scenario: str, load: HttpLoad) -> None:
    def measure(server: Running) -> tuple[Answer, dict[str, float]]:
        before = _cpu_seconds(server)
        answer = pair.run(server, kind, load)
        settle(server.pid)  # what was accepted is delivered too
        whole = (_cpu_seconds(server) - before) * 1e6 / max(int(answer["asked"]), 1)
        more = {"whole_cpu_us_per_msg": whole}
        return answer, more | ({"rate": load.rate} if load.rate else {})

    interleave(bench.ledger, bench.settings.plan, scenario, pair.servers, measure)


def _cpu_seconds(server: Running) -> float:
    """The process's CPU time so far, of threads that ended too (``clock_getcpuclockid(3)``)."""
    return time.clock_gettime(~server.pid << 3 | 2)
