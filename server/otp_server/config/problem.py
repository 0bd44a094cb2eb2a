"""A configuration problem as the operator reads it: which key, from where, why, what to do.

Problems are collected, never raised one by one: who mends a file wants to hear everything at once.
No problem quotes a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from otp_server.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    ``path`` is the key (``device.code_length``), ``origin`` the file or environment variable that
    said so (empty when nobody said anything), ``reason`` what is wrong, ``mend`` what to do.
    """

    path: str
    origin: str
    reason: str
    mend: str

    def __str__(self) -> str:
        places = [place for place in (self.path, self.origin) if place]
        where = f"{places[0]} ({places[1]})" if len(set(places)) > 1 else "".join(places[:1])
        return f"{where}: {self.reason}; {self.mend}"


class InvalidConfigError(ConfigError):
    """The configuration cannot be used; ``problems`` holds every reason, the message lists all."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        noun = "problem" if len(self.problems) == 1 else "problems"
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"the configuration has {len(self.problems)} {noun}:{lines}")


def did_you_mean(word: str, known: Sequence[str], otherwise: str) -> str:
    """A suggestion for a misspelt word; ``otherwise`` when nothing known is close."""
    close = get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else otherwise
