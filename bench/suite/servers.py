"""Which servers there are. Each recipe starts one process on a free loopback port.

floor            two system calls a message
native           our native transport, echo face
reference        our trio-websocket transport, echo face
otp-native       our whole server, durable store, native transport
otp-reference    our whole server, durable store, trio-websocket transport
trio-websocket, websockets-trio, picows, gorilla      peers
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bench.suite.processes import BenchError, NotHereError, Running, start, tail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "bench" / "out"
RELEASE = ROOT / "target" / "release"
REQUEST_BYTES = 8
ANSWER_BYTES = 40
PEERS = ("trio-websocket", "websockets-trio", "picows", "gorilla")
TRANSPORTS = {"native": "native", "reference": "trio-websocket"}
"""Our transports: the name in reports, the word in the configuration."""

_CONFIG = """
[server]
data_dir = "{data_dir}"
drain_s = 1
log_level = "warning"
[device]
listen = "127.0.0.1:0"
transport = "{transport}"
requests_per_minute = 1000000000
max_connections_per_address = 1000000000
max_connections_per_device = 1000
ping_interval_s = 3600
[http]
listen = "127.0.0.1:0"
[ops]
listen = "127.0.0.1:0"
"""


@dataclass
class Workplace:
    """A folder for the servers of one run, removed at its end, and the devices registered in it."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    starts: int = 0
    registered: int = 0

    @property
    def tokens(self) -> Path:
        """The tokens of the registered devices, one a line."""
        return self.folder / "tokens.txt"

    @property
    def installation(self) -> Path:
        """The installation that every server of ours gets a copy of."""
        return self.folder / "installation"

    def need_devices(self, count: int) -> None:
        """Register as many devices, unless they are there."""
        if self.registered >= count:
            return
        shutil.rmtree(self.installation, ignore_errors=True)
        config = self.folder / "installation.toml"
        config.write_text(_CONFIG.format(data_dir=self.installation, transport="trio-websocket"))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "bench.devices", "--config", str(config)),
                *("--count", str(count), "--tokens", str(self.tokens)),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        if done.returncode:
            raise BenchError(f"cannot register {count} devices: {done.stderr.strip()[-500:]}")
        self.registered = count

    def start(self, name: str, *, timer: bool = False) -> Running:
        """Start the server of that name; NotHereError says why it cannot be had.

        With ``timer`` a server of ours also watches how late a 1 ms timer of Trio is.
        """
        self.starts += 1
        log = self.folder / f"{name}-{self.starts}.log"
        log.touch()
        if name.startswith("otp-"):
            return self._start_ours(name, log, timer=timer)
        return start(
            name, _command(name, timer=timer), log, _environment(name) | dict(self.environment)
        )

    def _start_ours(self, name: str, log: Path, *, timer: bool) -> Running:
        transport = TRANSPORTS[name.removeprefix("otp-")]
        self.need_devices(1)
        data_dir = self.folder / f"{name}-{self.starts}"
        shutil.copytree(self.installation, data_dir)
        config = data_dir.with_suffix(".toml")
        config.write_text(_CONFIG.format(data_dir=data_dir, transport=transport))
        checked = subprocess.run(
            [sys.executable, "-m", "otp_server", "check-config", "--config", str(config)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if checked.returncode:
            reason = " ".join(checked.stderr.split())
            if "transport" in reason:
                raise NotHereError(reason.replace(f"{self.folder}/", "")[-200:])
            raise BenchError(f"the configuration is refused: {reason}")
        command = [sys.executable, "-m", "bench.harness", "--config", str(config)]
        command += ["--timer"] * timer
        return start(name, command, log, self.environment)


def _command(name: str, *, timer: bool) -> Sequence[str]:
    python = [sys.executable, "-m"]
    if name == "floor":
        return [str(RELEASE / "floor"), str(REQUEST_BYTES), str(ANSWER_BYTES)]
    if name in TRANSPORTS:
        face = ["bench.echo_face", "--transport", TRANSPORTS[name]]
        return [*python, *face, *["--timer"] * timer]
    if name == "trio-websocket":
        return [*python, "bench.peers.trio_websocket_echo", str(ANSWER_BYTES)]
    if name == "websockets-trio":
        _need_module("websockets.trio")
        return [*python, "bench.peers.websockets_trio_echo", str(ANSWER_BYTES)]
    if name == "picows":
        _need_module("picows")
        _need_module("uvloop")
        return [*python, "bench.peers.picows_echo", str(ANSWER_BYTES)]
    if name == "gorilla":
        return [str(build_go("gorilla")), str(ANSWER_BYTES)]
    raise BenchError(f"there is no server {name!r}")


def _environment(name: str) -> dict[str, str]:
    return {"GOMAXPROCS": "1"} if name == "gorilla" else {}


def _need_module(module: str) -> None:
    package = module.partition(".")[0]
    try:
        found = find_spec(package) is not None and find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise NotHereError(f"{module} is not installed: make bench installs it")


def build_go(name: str) -> Path:
    """Build the peer of that folder: its binary. NotHereError when it cannot be had."""
    binary = OUT / name
    go = shutil.which("go")
    if go is None:
        raise NotHereError("Go is not installed")
    log = OUT / f"{name}.log"
    with log.open("w") as output:
        done = subprocess.run(
            [go, "build", "-o", str(binary), "."],
            cwd=ROOT / "bench" / "peers" / name,
            stdout=output,
            stderr=output,
            check=False,
            timeout=300,
        )
    if done.returncode:
        raise NotHereError(f"{name} does not build: {tail(log)}")
    return binary


def build() -> None:
    """Build the Rust programs of the benches."""
    packages = [f"-pbench_{name}" for name in ("floor", "loadgen", "instructions")]
    cargo = shutil.which("cargo")
    if cargo is None:
        raise BenchError("cargo is not installed")
    done = subprocess.run(
        [cargo, "build", "--release", "--locked", "--quiet", *packages],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    if done.returncode:
        raise BenchError(f"the programs do not build:\n{done.stderr[-2000:]}")
