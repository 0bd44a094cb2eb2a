"""What was sent and what was answered, and whether a correct server could have done that.

Time is a counter of events at the client. An operation lies between its ``sent`` and its ``done``;
one without an answer ended with the crash, or earlier, and may or may not have happened.

The requests of one device are sent in order, so of two acknowledged codes of a device the one asked
for later supersedes the other.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CLOCKS_APART_MS = 2_000
"""How far the client's clock and the server's may differ when an expiry is judged."""


@dataclass
class Issue:
    """A device asked for a code. ``done`` is None when no answer came."""

    device: str
    sent: int
    done: int | None = None
    code: str = ""
    expires_at_ms: int = 0


@dataclass
class Attempt:
    """An app tried a code. ``accepted`` is None when no answer came."""

    code: str
    sent: int
    sent_ms: int
    done: int | None = None
    done_ms: int = 0
    accepted: bool | None = None
    device: str = ""


@dataclass
class History:
    """Everything that happened, over all crashes."""

    issues: list[Issue] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)
    """Answers that no correct server gives here, whatever happened before."""
    now: int = 0

    def tick(self) -> int:
        self.now += 1
        return self.now

    def codes(self) -> list[Issue]:
        """The acknowledged ones, in the order asked."""
        return [issue for issue in self.issues if issue.done is not None]

    def violations(self) -> list[str]:
        """Every promise that was broken; empty for a correct server."""
        attempts: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in self.attempts:
            attempts[attempt.code].append(attempt)
        asked: dict[str, list[Issue]] = defaultdict(list)
        for issue in self.issues:
            asked[issue.device].append(issue)
        given: dict[str, list[Issue]] = defaultdict(list)
        for issue in self.codes():
            given[issue.code].append(issue)
        found = list(self.oddities)
        for code, tries in attempts.items():
            match given.get(code, []):
                case [issue]:
                    later = [other for other in asked[issue.device] if other.sent > issue.sent]
                    found += _judge(issue, later, tries)
                case []:
                    found += [f"{code} was never given and confirmed" for a in tries if a.accepted]
                case several:  # the same digits drawn again: no more successes than codes
                    if sum(a.accepted is True for a in tries) > len(several):
                        found.append(f"{code} confirmed more often than it was given")
        found += [
            f"{issue.code} of {issue.device} was never tried"
            for issue in self.codes()
            if not any(attempt.done is not None for attempt in attempts[issue.code])
        ]
        return found


def _judge(issue: Issue, later: Sequence[Issue], tries: Sequence[Attempt]) -> Iterator[str]:
    name = f"{issue.code} of {issue.device}"
    successes = [attempt for attempt in tries if attempt.accepted]
    if len(successes) > 1:
        yield f"{name} confirmed {len(successes)} times"
    for attempt in successes:
        if attempt.device != issue.device:
            yield f"{name} confirmed as {attempt.device}"
        if any(other.done is not None and other.done < attempt.sent for other in later):
            yield f"{name} confirmed after a newer code had superseded it"
        if attempt.sent_ms > issue.expires_at_ms + CLOCKS_APART_MS:
            yield f"{name} confirmed after its end"
    for attempt in tries:
        if attempt.accepted is not False or attempt.done is None:
            continue
        done = attempt.done
        if any(done < success.sent for success in successes):
            yield f"{name} refused and confirmed later"
        consumed = any(
            other is not attempt and other.accepted is not False and other.sent < done
            for other in tries
        )
        superseded = any(other.sent < done for other in later)
        expired = attempt.done_ms >= issue.expires_at_ms - CLOCKS_APART_MS
        if not (consumed or superseded or expired):
            yield f"{name} refused though it lived"
