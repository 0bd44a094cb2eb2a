"""Our whole server over HTTP, and the peers that repeat its answers.

rest             as it is installed: durable SQLite store, limits, outbox, a delivery worker that
                 writes the outbox file; native transport
rest-hypercorn   the same over Hypercorn and Quart alone, with an installation of its own
quart-bare       the same accept loop and HTTP/1.1 connections as that, and nothing behind them
go-http          Go's net/http, answering from memory
go-http-json     the same with JSON in and out: it checks the token, decodes the request and encodes
                 a fresh answer, without limits and without a store; handshakes alone
go-http-same     the same with all that our server does for a handshake: tokens, contacts in their
                 normal form and their index, types, limits of this moment; handshakes alone

The peers give the status, headers and bodies that our server gave to a first request of each kind;
``go-http-json`` only the headers, and its answers are checked as ours are; ``go-http-same`` nothing
of them, and before it is measured its answers are compared with ours, byte by byte
(``same_work.py``).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Self

from bench.suite.loadgen import Answer, run
from bench.suite.machine import cores, pinned
from bench.suite.processes import BenchError, NotHereError, Running, start, tail
from bench.suite.rest_requests import (
    SAMPLES,
    USED_UP,
    Requests,
    confirm_line,
    lines_of_types,
    processes_for,
)
from bench.suite.same_work import differing, told
from bench.suite.servers import ROOT, build_go

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.suite.http_load import HttpLoad
    from bench.suite.scenarios import Bench

OURS, SLOW, BARE, GO, GO_JSON, GO_SAME = (
    "rest",
    "rest-hypercorn",
    "quart-bare",
    "go-http",
    "go-http-json",
    "go-http-same",
)
TRANSPORTS = {OURS: "native", SLOW: "hypercorn"}
CONNECTIONS = 64
SIZES_MOST = 256
"""Of a closed loop at the most."""
RATE_MOST = {OURS: 18_000.0, SLOW: 1_500.0, BARE: 1_500.0, GO: 0.0, GO_JSON: 0.0, GO_SAME: 0.0}
"""Requests a second that nobody here reaches: so many are there to be asked."""
ACCOUNTS = 256
"""Of the web client: more than there are connections, so that none meets its own last call."""
_GO_KIND = "handshake"
"""Of Go's that make their own answers."""
_TYPES = 2
"""Of handshakes, in turn."""
_COMPARED = 200
_HOP_BY_HOP = {"connection", "date", "content-length", "transfer-encoding"}
_OWN = re.compile(r'(?<="timestamp":)\d+|(?<=;r=)\d+|(?<=;t=)\d+')
"""What differs between two answers to one request: the time, and what limits have left."""
_EXAMPLE_S = 20.0
_ONE_PROCESSOR = {"GOMAXPROCS": "1"}
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


Example = tuple[list[tuple[str, str]], str]
"""A good answer: its headers and its body."""


def without_own(example: Example) -> Example:
    """An answer without what is its own alone, for a comparison with another."""
    headers, body = example
    kept = [
        (name.lower(), _OWN.sub("0", value))
        for name, value in headers
        if name.lower() not in _HOP_BY_HOP
    ]
    return sorted(kept), _OWN.sub("0", body)


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
        self.described = folder / "described.json"
        self.device_tokens = folder / "devices"

    def start(self, name: str, connections: int | None = None) -> Running:
        """It runs, and has given a token. ``connections`` are let in, if not as many as usual."""
        words = ["--config", str(self._config)]
        if connections is not None:
            words += ["--http-connections", str(connections)]
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

    def describe(self, server: Running) -> None:
        """Write into ``described`` what a peer is told that does the same; before other calls."""
        out = self._folder / "same.json"
        self._python("bench.same_installation", "--out", str(out))
        answers = [self.ask(server, _GO_KIND, line) for line in lines_of_types()]
        whole = told(json.loads(out.read_text()), self.token_file.read_text(), answers)
        self.described.touch(mode=0o600)
        self.described.write_text(json.dumps(whole))

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

    def examples(self, server: Running, kind: str, count: int = 1) -> list[Example]:
        """The answers to the first requests of a kind."""
        lines = self.lines(server, kind, count)[:count]
        self.requests.asked(kind, len(lines))
        return [self.ask(server, kind, line) for line in lines]

    def ask(self, server: Running, kind: str, line: str) -> Example:
        """What a server answers to this line, with all that is sent with one."""
        method, target, _, body = line.split("\t")
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
        connections: int | None = None,
    ) -> None:
        """``attempts`` are how many will be asked of each of ours, ``devices`` how many it has.

        ``connections``: how many each of ours lets in, if not as many as usual.
        """
        self._connections = connections
        self.running: dict[str, Running] = {}
        self._bench = bench
        self._names = names
        self._kinds = kinds
        self._examples: dict[str, Example] = {}
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
                self.running[name] = installed.start(name, self._connections)
            for name in (GO_SAME, BARE, GO, GO_JSON):  # the first knows of no call but its own
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
            answer=self._answer_file(kind) if server.name in (BARE, GO) else None,
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

    def _example(self, kind: str) -> Example:
        """The one answer that all peers repeat."""
        if kind not in self._examples:
            [self._examples[kind]] = self.installed[OURS].examples(self.running[OURS], kind)
            self._answer_file(kind).write_text(self._examples[kind][1])
        return self._examples[kind]

    def _rows(self, name: str) -> list[dict[str, object]]:
        """What a peer repeats: of Go's, the answers of paths that have no parameter.

        The one with JSON is told an answer of each type.
        """
        if name == GO_JSON:
            answered = self.installed[OURS].examples(self.running[OURS], _GO_KIND, _TYPES)
            return [_row(_GO_KIND, example) for example in answered]
        kinds = [kind for kind in self._kinds if name != GO or "<" not in SAMPLES[kind].rule]
        return [_row(kind, self._example(kind)) for kind in kinds]

    def _start_peer(self, name: str) -> None:
        log = self._folder / f"{name}.log"
        log.touch()
        try:
            if name == GO_SAME:
                server = self._start_same(log)
            elif name == BARE:
                module = "bench.peers.quart_bare"
                answers = self._answers(name)
                server = _start(self._bench, self._folder, name, module, str(answers))
            else:
                token = self.installed[OURS].token_file if name == GO_JSON else None
                environment = self._bench.workplace.environment
                server = start_go(self._answers(name), log, environment, token)
        except NotHereError as why:
            self._bench.ledger.skip(name, str(why))
            return
        self.running[name] = server
        if name == GO_JSON:
            self._compare(server, _GO_KIND)
        elif name == GO_SAME:
            self._compare_all(server, _GO_KIND)

    def _answers(self, name: str) -> Path:
        """The file of what a peer repeats."""
        answers = self._folder / f"{name}.answers.json"
        answers.write_text(json.dumps(self._rows(name)))
        return answers

    def _start_same(self, log: Path) -> Running:
        installed = self.installed[OURS]
        binary = build_go("go_http_same")  # first: no time is lost between our answers and its own
        installed.describe(self.running[OURS])
        command = [str(binary), str(installed.described)]
        return start(GO_SAME, command, log, {**self._bench.workplace.environment, **_ONE_PROCESSOR})

    def _compare_all(self, server: Running, kind: str) -> None:
        """BenchError where a peer that does the same answers otherwise than ours."""
        ours = self.installed[OURS]

        def both(line: str) -> tuple[Example, Example]:
            return ours.ask(self.running[OURS], kind, line), ours.ask(server, kind, line)

        for line in ours.lines(self.running[OURS], kind, _COMPARED)[:_COMPARED]:
            why = differing(partial(both, line))
            if why:
                raise BenchError(f"{server.name} answers otherwise than {OURS}: {why}")

    def _compare(self, server: Running, kind: str) -> None:
        """BenchError where a peer that makes its own answers makes others than ours."""
        ours = self.installed[OURS]
        for line in ours.lines(self.running[OURS], kind, _TYPES)[:_TYPES]:
            wanted, said = (
                without_own(ours.ask(each, kind, line)) for each in (self.running[OURS], server)
            )
            if said != wanted:
                raise BenchError(f"{server.name} answers {said}, and {OURS} {wanted}")


def start_go(
    answers: Path, log: Path, environment: Mapping[str, str], token: Path | None = None
) -> Running:
    """Go's net/http with these answers; NotHereError where there is no Go.

    With the file of a ``token``: JSON in and out.
    """
    command = [str(build_go("go_http")), str(answers)]
    if token is not None:
        command.append(str(token))
    name = GO if token is None else GO_JSON
    return start(name, command, log, {**environment, **_ONE_PROCESSOR})


def _row(kind: str, example: Example) -> dict[str, object]:
    """An answer, for a peer to repeat."""
    answered, text = example
    kept = [pair for pair in answered if pair[0].lower() not in _HOP_BY_HOP]
    sample = SAMPLES[kind]
    return {"method": sample.method, "rule": sample.rule, "headers": kept, "body": text}


def _start(bench: Bench, folder: Path, name: str, module: str, *words: str) -> Running:
    log = folder / f"{name}.log"
    log.touch()
    command = [sys.executable, "-m", module, *words]
    return start(name, command, log, bench.workplace.environment, face="http")


def _ask(server: Running, method: str, target: str, body: str, headers: dict[str, str]) -> Example:
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
