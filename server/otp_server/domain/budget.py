"""How many wrong codes in a row a contact may have, over all processes, types and resends (20).

Only success resets the count (19, NIST SP 800-63B-4 section 3.2.2: at most 100). Near the cap a
contact waits longer and longer instead of falling off a cliff: from ``WAIT_FROM`` failures on,
30 s, doubling every ``WAIT_STEP`` failures, up to an hour. At the cap it is locked until the
operator forgives it. A few failures that nothing was added to for a year are forgotten.
"""

from __future__ import annotations

FAILURES_MAX = 100
WAIT_FROM = 50
WAIT_STEP = 7
WAIT_MIN_MS = 30_000
WAIT_MAX_MS = 3_600_000
FAILURES_KEPT_MS = 365 * 86_400_000
"""How long failures below ``WAIT_FROM`` are remembered after the last of them."""
CLAIM_PATIENCE_MS = 15_000
"""How long a claim of an unsettled attempt counts as in flight: longer than a settle may take."""
ROUTE_WAIT_MS = 250
"""When to try again on a route whose last attempts are being compared."""
OUTBOX_MARGIN_MS = 5_000
"""A message is not sent so shortly before its code ends."""


def wait_after_ms(failures: int) -> int:
    """How long after the last of ``failures`` wrong codes the next may be tried; 0: at once."""
    if failures < WAIT_FROM:
        return 0
    return min(WAIT_MAX_MS, WAIT_MIN_MS << ((failures - WAIT_FROM) // WAIT_STEP))
