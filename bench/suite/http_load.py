"""The load generator over HTTP: ``loadgen http``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.suite.loadgen import Load

if TYPE_CHECKING:
    from pathlib import Path

    from bench.suite.processes import Running


@dataclass(frozen=True, slots=True)
class HttpLoad(Load):
    """``mode`` is ``closed`` or ``open``; see ``loadgen http --help`` for the rest.

    ``fall`` is a rate after the window and for how many seconds.
    """

    requests: Path | None = None
    wrap: bool = False
    token: Path | None = None
    headers: Path | None = None
    answer: Path | None = None
    may_shed: bool = False
    sources: int = 0
    fall: tuple[float, float] | None = None

    def arguments(self, server: Running) -> list[str]:
        """The command line."""
        words: dict[str, object] = {
            "target": server.target,
            "watch": server.pid,
            "connections": self.connections,
            "sources": self.sources,
            "duration": self.seconds,
            "warmup": self.warmup_s,
            "requests": self.requests,
        }
        if self.rate:
            words["rate"] = self.rate
        if self.fall is not None:
            words |= {"fall-to": self.fall[0], "fall-for": self.fall[1]}
        files = {"token": self.token, "headers": self.headers, "answer": self.answer}
        words |= {name: file for name, file in files.items() if file is not None}
        flags = [word for key, value in words.items() for word in (f"--{key}", str(value))]
        switches = {"--wrap": self.wrap, "--shed": self.may_shed}
        return ["http", self.mode, *flags, *(word for word, on in switches.items() if on)]
