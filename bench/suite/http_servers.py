"""Our whole server over HTTP, and the peers that repeat its answers.

rest             as it is installed: durable SQLite store, limits, outbox, a delivery worker that
                 writes the outbox file; native transport
rest-hypercorn   the same over Hypercorn and Quart alone, with an installation of its own
quart-bare       the same accept loop and HTTP/1.1 connections as that, and nothing behind them
go-http          Go's net/http

The peers give the status, headers and bodies that our server gave to a first request of each kind.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Self

from bench.suite.loadgen import Answer, run
from bench.suite.machine import cores, pinned
from bench.suite.processes import BenchError, NotHereError, Running, start, tail
from bench.suite.rest_requests import SAMPLES, USED_UP, Requests, confirm_line, processes_for
from bench.suite.servers import ROOT, build_go

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.suite.http_load import HttpLoad
    from bench.suite.scenarios import Bench

OURS, SLOW, BARE, GO = "rest", "rest-hypercorn", "quart-bare", "go-http"
TRANSPORTS = {OURS: "native", SLOW: "hypercorn"}
CONNECTIONS = 64
RATE_MOST = {OURS: 18_000.0, SLOW: 1_500.0, BARE: 1_500.0, GO: 0.0}
"""Requests a second that nobody here reaches: so many are there to be asked."""
ACCOUNTS = 256
"""Of the web client: more than there are connections, so that none meets its own last call."""
_HOP_BY_HOP = {"connection", "date", "content-length", "transfer-encoding"}
_EXAMPLE_S = 20.0
_MANY = "[[1000000000, 60]]"
_CONFIG = f"""
[server]
data_dir = "{{data_dir}}"
drain_s = 5
log_level = "warning"
[device]
listen = "127.0.0.1:0"
requests_per_minute = 1000000000
max_connections_per_address = 1000000000
max_connections_per_device = 1000
ping_interval_s = 3600
code_length_max = 10
guess_risk = 0.99
[confirm]
per_address = {_MANY}
[http]
listen = "127.0.0.1:0"
transport = "{{transport}}"
[ops]
listen = "127.0.0.1:0"
[rest]
starts_per_tenant = {_MANY}
starts_in_all = {_MANY}
attempts_per_address = {_MANY}
attempts_per_client = {_MANY}
requests_per_client = {_MANY}
prefix_limit = {_MANY}
[svc]
code_ttl_s = 1800
calls_per_address = {_MANY}
sends_per_address = {_MANY}
sends_in_all = {_MANY}
attempts_per_address = {_MANY}
"""


def config_text(data_dir: Path, transport: str = "native") -> str:
    """The configuration of an installation whose limits are those of a load."""
    return _CONFIG.format(data_dir=data_dir, transport=transport)


class Installed:
    """Our server over one transport, in a folder of its own."""

    def __init__(self, bench: Bench, folder: Path, transport: str, processes: int) -> None:
        self._bench = bench
        self._folder = folder
        folder.mkdir(parents=True)
        self._config = folder / "otp.toml"
        self._config.write_text(config_text(folder / "data", transport))
        made = folder / "made.json"
        words = ("--processes", str(processes), "--out", str(made))
        self._python("bench.rest_installation", *words)
        self._made: dict[str, Any] = json.loads(made.read_text())
        self._devices = 0
        self._web_client: subprocess.Popen[str] | None = None
        self.requests = Requests(self._made["processes"])
        self.token_file = folder / "token"
        self.device_tokens = folder / "devices"

    def start(self, name: str) -> Running:
        """It runs, and has given a token."""
        words = ("--config", str(self._config))
        server = _start(self._bench, self._folder, name, "bench.rest_harness", *words)
        try:
            self.token_file.write_text(self._token(server))
        except BaseException:
            server.stop()
            raise
        return server

    def stop(self) -> None:
        """End what was started beside the server."""
        client, self._web_client = self._web_client, None
        if client is not None:
            client.kill()
            client.wait(_EXAMPLE_S)
            for stream in (client.stdin, client.stdout):
                if stream is not None:
                    stream.close()

    def need_devices(self, count: int) -> None:
        """Register so many devices, once; their tokens are in ``device_tokens``."""
        words = ("--count", str(count), "--tokens", str(self.device_tokens))
        self._python("bench.devices", *words)
        self._devices = count

    def lines(self, server: Running, kind: str, most: int) -> list[str]:
        """At most so many requests, for one load."""
        if kind == "confirm":
            return self._confirmations(most)
        if kind == "verify":
            self._need_web_client(server)
            return (self._folder / "verify.requests").read_text().splitlines()
        return self.requests.next_of(kind, most)

    def headers_file(self, kind: str) -> Path | None:
        """What is sent with each request of the kind, beside the token."""
        return self._folder / "verify.headers" if kind == "verify" else None

    def example(self, server: Running, kind: str) -> tuple[list[tuple[str, str]], str]:
        """A first answer: headers and body."""
        method, target, _, body = self.lines(server, kind, 1)[0].split("\t")
        self.requests.asked(kind, 1)
        headers = {"Content-Type": "application/json"}
        headers["Authorization"] = f"Bearer {self.token_file.read_text()}"
        more = self.headers_file(kind)
        if more is not None:
            headers["Cookie"] = more.read_text().strip().removeprefix("Cookie: ")
        return _ask(server, method, target, body, headers)

    def _confirmations(self, most: int) -> list[str]:
        """A new code of every device, or of as many as are asked."""
        out = self._folder / "codes"
        count = min(most, self._devices)
        self._python("bench.device_codes", "--count", str(count), "--out", str(out))
        return [confirm_line(code) for code in out.read_text().splitlines()]

    def _need_web_client(self, server: Running) -> None:
        if self._web_client is not None:
            if self._web_client.poll() is not None:
                raise BenchError(f"the web client ended: {tail(self._folder / 'web_client.log')}")
            return
        log = self._folder / "web_client.log"
        words = ["--port", str(server.port), "--accounts", str(ACCOUNTS)]
        words += ["--folder", str(self._folder), "--config", str(self._config)]
        with log.open("w") as errors, pinned(cores()[1]):
            self._web_client = subprocess.Popen(
                [sys.executable, "-m", "bench.web_client", *words],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        if self._web_client.stdout is None or self._web_client.stdout.readline() != "ready\n":
            raise BenchError(f"the web client does not start: {tail(log)}")

    def _python(self, module: str, *words: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", module, "--config", str(self._config), *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        if done.returncode:
            raise BenchError(f"{module} failed: {done.stderr.strip()[-500:]}")

    def _token(self, server: Running) -> str:
        words = {
            "grant_type": "client_credentials",
            "client_id": self._made["client_id"],
            "client_secret": self._made["client_secret"],
        }
        form = "&".join(f"{key}={value}" for key, value in words.items())
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        _, body = _ask(server, "POST", "/oauth/token", form, kind)
        return str(json.loads(body)["access_token"])


class Servers:
    """Those of these names up, and what is asked of them. Leaving the block ends them.

    Where a peer is wanted our server over its native transport is there too: it gives the peer's
    answers.
    """

    def __init__(
        self,
        bench: Bench,
        names: Sequence[str],
        kinds: Sequence[str],
        *,
        attempts: Mapping[str, int],
        devices: Mapping[str, int],
    ) -> None:
        """``attempts`` are how many will be asked of each of ours, ``devices`` how many it has."""
        self.running: dict[str, Running] = {}
        self._bench = bench
        self._names = names
        self._kinds = kinds
        self._examples: dict[str, tuple[list[tuple[str, str]], str]] = {}
        self._folder = bench.workplace.folder / "-".join(("http", *kinds))
        ours = [name for name in TRANSPORTS if name in names or name == OURS]
        self.installed = {
            name: Installed(
                bench,
                self._folder / name,
                TRANSPORTS[name],
                processes_for(attempts.get(name, 0)),
            )
            for name in ours
        }
        for name, count in devices.items():
            if name in self.installed:
                self.installed[name].need_devices(count)

    def __enter__(self) -> Self:
        try:
            for name, installed in self.installed.items():
                self.running[name] = installed.start(name)
            for name in (BARE, GO):
                if name in self._names:
                    self._start_peer(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for installed in self.installed.values():
            installed.stop()
        for server in self.running.values():
            server.stop()

    def ready(self, server: Running, kind: str, load: HttpLoad, most: int = 0) -> HttpLoad:
        """The load with what it asks: of our server what it has not been asked before.

        ``most``: how many requests there are at the most; else as many as anybody answers.
        """
        ours = server.name in self.installed
        installed = self.installed.get(server.name, self.installed[OURS])
        rate = load.rate or RATE_MOST[server.name]
        most = most or int((load.seconds + load.warmup_s) * rate) + load.connections
        lines = installed.lines(self.running[OURS] if not ours else server, kind, most)
        file = self._folder / f"{server.name}.{kind}.requests"
        file.touch(mode=0o600)
        file.write_text("".join(f"{line}\n" for line in lines))
        return replace(
            load,
            requests=file,
            wrap=not ours or kind not in USED_UP,
            token=installed.token_file,
            headers=installed.headers_file(kind),
            answer=None if ours else self._answer_file(kind),
        )

    def run(self, server: Running, kind: str, load: HttpLoad, most: int = 0) -> Answer:
        """Ask for this kind."""
        answer = run(self.ready(server, kind, load, most), server)
        self.asked(server, kind, answer)
        return answer

    def asked(self, server: Running, kind: str, answer: Answer) -> None:
        """Note what a load has used up."""
        if server.name in self.installed:
            self.installed[server.name].requests.asked(kind, int(answer["asked"]))

    def _answer_file(self, kind: str) -> Path:
        return self._folder / f"{kind}.answer"

    def _example(self, kind: str) -> tuple[list[tuple[str, str]], str]:
        """The one answer that all peers repeat."""
        if kind not in self._examples:
            self._examples[kind] = self.installed[OURS].example(self.running[OURS], kind)
            self._answer_file(kind).write_text(self._examples[kind][1])
        return self._examples[kind]

    def _start_peer(self, name: str) -> None:
        """It repeats first answers of ours; Go's, those whose paths have no parameter."""
        rows = []
        for kind in self._kinds:
            sample = SAMPLES[kind]
            if name == GO and "<" in sample.rule:
                continue
            answered, text = self._example(kind)
            kept = [pair for pair in answered if pair[0].lower() not in _HOP_BY_HOP]
            row = {"method": sample.method, "rule": sample.rule, "headers": kept, "body": text}
            rows.append(row)
        answers = self._folder / f"{name}.answers.json"
        answers.write_text(json.dumps(rows))
        log = self._folder / f"{name}.log"
        log.touch()
        try:
            if name == GO:
                server = start_go(answers, log, self._bench.workplace.environment)
            else:
                module = "bench.peers.quart_bare"
                server = _start(self._bench, self._folder, name, module, str(answers))
        except NotHereError as why:
            self._bench.ledger.skip(name, str(why))
        else:
            self.running[name] = server


def start_go(answers: Path, log: Path, environment: Mapping[str, str]) -> Running:
    """Go's net/http with these answers; NotHereError where there is no Go."""
    command = [str(build_go("go_http")), str(answers)]
    return start(GO, command, log, {**environment, "GOMAXPROCS": "1"})


def _start(bench: Bench, folder: Path, name: str, module: str, *words: str) -> Running:
    log = folder / f"{name}.log"
    log.touch()
    command = [sys.executable, "-m", module, *words]
    return start(name, command, log, bench.workplace.environment, face="http")


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
