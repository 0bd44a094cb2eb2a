"""How long a device code must be, given how many are alive (requirement 50).

A device code is a bearer capability: confirm takes only the code, so one guess wins with
probability live / keyspace. An attacker who uses the whole global guess budget makes
``failures_allowed`` guesses in one code lifetime and may expect

    failures_allowed x live_of_one_length / alphabet_size ^ length

hits. That expectation must stay at or under ``guess_risk``. Lengths do not mix: a guess has one
length, so each length is its own space. The shortest length that keeps the bound is chosen; past
``length_max`` the request is refused as crowded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ALPHABET = "numeric"
ALPHABET_SIZE = 10


@dataclass(frozen=True, slots=True)
class CodePolicy:
    """The rule's numbers: lengths in characters, lifetime and limits in milliseconds."""

    length_min: int
    length_max: int
    ttl_ms: int
    guess_risk: float
    failures_allowed: int
    """Wrong confirms the global limit lets pass in one code lifetime."""

    def live_max(self, length: int) -> int:
        """How many codes of this length may be alive at once."""
        return int(self.guess_risk * ALPHABET_SIZE**length / self.failures_allowed)

    def length_for(self, live: Mapping[int, int], more: int) -> int | None:
        """The shortest allowed length with room for ``more`` codes; None when all are crowded."""
        for length in range(self.length_min, self.length_max + 1):
            if live.get(length, 0) + more <= self.live_max(length):
                return length
        return None


def failures_in(windows: list[tuple[int, int]], span_ms: int) -> int:
    """The most events that sliding windows ``(limit, period_ms)`` let pass in any ``span_ms``.

    A span is covered by ``ceil(span / period)`` trailing windows of ``limit`` each; the tightest of
    all windows decides.
    """
    return min(limit * -(-span_ms // period_ms) for limit, period_ms in windows)
