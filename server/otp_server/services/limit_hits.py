"""Refusals by limits and guards, on their way into the audit trail (requirement 87).

A flood must not write a row for each refusal: they are counted by second, caller and policy, and
the periodic work (``services/process_upkeep.py``) writes one entry a count. The memory is bounded:
past ``COUNTS_MAX`` different counts the caller is left out, and refusals are counted by policy
alone until the next flush. Nothing here blocks.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, Protocol

from otp_server.domain.audit import AuditEntry
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otp_server.telemetry import Metrics

COUNTS_MAX = 1000
"""Different counts with a caller held at once: so many entries a flush, and one a policy."""
ACTION = "otp.limit"
REFUSED = "refused"
RECORDED = "recorded"
_MS = 1000

log = get_logger(__name__)


class Hitter(NamedTuple):
    """Who was refused; ``actor`` as in the trail, such as ``client:abc``."""

    tenant: str
    actor: str
    address: str

    @property
    def hitter(self) -> Hitter:
        """As an :class:`Asker`."""
        return self


class Asker(Protocol):
    """Who asks; its name for the trail is made only when the trail is told of it."""

    @property
    def tenant(self) -> str:
        """Whose limits it is asked of."""

    @property
    def hitter(self) -> Hitter:
        """Who was refused, if it is."""


NOBODY = "nobody"
"""Who it says it is has not been shown."""
_MANY = Hitter("", "many", "")


class _Hit(NamedTuple):
    second: int
    hitter: Hitter
    policy: str
    outcome: str


class LimitHits:
    """The counts since the last flush."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._counts: Counter[_Hit] = Counter()
        self._crowd: Counter[_Hit] = Counter()
        self._crowd_second = 0
        self._kept: Sequence[AuditEntry] = ()

    def note(
        self, hitter: Hitter, policies: Iterable[str], at_ms: int, *, recorded: bool = False
    ) -> None:
        """Count a refusal by each of ``policies``; ``recorded``: it was let pass all the same."""
        outcome = RECORDED if recorded else REFUSED
        for policy in policies:
            self._metrics.limit_hits.labels(policy=policy, outcome=outcome).inc()
            hit = _Hit(at_ms // _MS, hitter, policy, outcome)
            if hit in self._counts or len(self._counts) < COUNTS_MAX:
                self._counts[hit] += 1
                continue
            if not self._crowd:
                self._crowd_second = hit.second
                log.warning("too many callers meet limits: some are counted without their names")
            self._crowd[hit._replace(second=self._crowd_second, hitter=_MANY)] += 1

    def take(self) -> list[AuditEntry]:
        """Everything counted, as entries, the oldest first; the counts begin anew."""
        taken = [*self._kept, *(_entry(hit, n) for hit, n in sorted(self._all().items()))]
        self._counts, self._crowd, self._kept = Counter(), Counter(), ()
        return taken

    def put_back(self, entries: Sequence[AuditEntry]) -> None:
        """Keep entries that could not be written, for the next ``take``.

        They are bounded as the counts are: what does not fit is dropped, and the log says so.
        """
        if len(entries) > 2 * COUNTS_MAX:
            log.warning("limit hits lost", count=len(entries) - 2 * COUNTS_MAX)
        self._kept = entries[: 2 * COUNTS_MAX]

    def _all(self) -> Counter[_Hit]:
        return self._counts + self._crowd


def _entry(hit: _Hit, count: int) -> AuditEntry:
    return AuditEntry(
        at_ms=hit.second * _MS,
        tenant=hit.hitter.tenant,
        actor=hit.hitter.actor,
        address=hit.hitter.address,
        action=ACTION,
        subject=hit.policy,
        outcome=f"{hit.outcome}:{count}",
    )
