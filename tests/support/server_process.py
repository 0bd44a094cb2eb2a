"""A real server in a process of its own: ``otp-server serve`` on free ports."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

READY_S = 60.0
STOP_S = 30.0
COMMAND = [sys.executable, "-m", "otp_server"]

CONFIG = """
[server]
data_dir = "{data_dir}"
drain_s = 3
log_level = "debug"
[device]
listen = "127.0.0.1:0"
{device}
[http]
listen = "127.0.0.1:0"
{http}
[ops]
listen = "127.0.0.1:0"
[confirm]
{confirm}
[rest]
{rest}
{more}
"""

UNLIMITED_CONFIRMS = """
per_address = [[1000000, 60]]
per_organisation = [[1000000, 60]]
in_all = [[1000000, 60]]
"""


@dataclass
class ServerProcess:
    """Start it, use it, stop or kill it, start it again on the same data."""

    folder: Path
    device: str = ""
    http: str = ""
    confirm: str = ""
    rest: str = ""
    more: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config = self.folder / "otp-server.toml"
        self.data_dir = self.folder / "data"
        self.log = self.folder / "log.jsonl"
        self.config.write_text(
            CONFIG.format(
                data_dir=self.data_dir,
                device=self.device,
                http=self.http,
                confirm=self.confirm,
                rest=self.rest,
                more=self.more,
            )
        )

    @property
    def device_url(self) -> str:
        return self.urls["device"]

    @property
    def http_url(self) -> str:
        return self.urls["http"]

    @property
    def ops_url(self) -> str:
        return self.urls["ops"]

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self, *, wrapper: Sequence[str] = ()) -> ServerProcess:
        """Serve; ``wrapper`` is a command that runs the command."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*wrapper, *COMMAND, "serve", "--config", str(self.config)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **self.environment},
            )
        lines: queue.Queue[str] = queue.Queue()
        assert self.process.stdout is not None
        threading.Thread(target=_pump, args=(self.process.stdout, lines), daemon=True).start()
        while (line := lines.get(timeout=READY_S)) != "ready":
            if not line:
                self.process.wait(STOP_S)
                raise RuntimeError(f"the server did not start: {self.log.read_text()}")
            words = dict(word.split("=", 1) for word in line.split()[1:])
            self.urls[words["face"]] = words["url"]
        return self

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(STOP_S)
        self._close()
        return status

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_S)
        self._close()

    def _close(self) -> None:
        assert self.process is not None
        if self.process.stdout is not None:
            self.process.stdout.close()

    def cli(self, *words: str) -> dict[str, Any]:
        """A command with ``--json`` on the same installation."""
        done = subprocess.run(
            [*COMMAND, *words, "--config", str(self.config), "--json"],
            capture_output=True,
            text=True,
            timeout=READY_S,
            check=False,
            env={**os.environ, **self.environment},
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def add_device(self) -> tuple[str, str]:
        answer = self.cli("device", "add")
        return answer["device_id"], answer["token"]

    def add_org(self, name: str) -> str:
        org_key: str = self.cli("org", "add", name)["org_key"]
        return org_key


def _pump(stream: IO[str], lines: queue.Queue[str]) -> None:
    try:
        for line in stream:
            lines.put(line.rstrip("\n"))
    except ValueError:  # closed under us: the process was stopped
        pass
    lines.put("")
