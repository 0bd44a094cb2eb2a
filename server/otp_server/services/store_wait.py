"""How long a use case that has charged a limit waits for the store."""

from __future__ import annotations

import math

import trio

STORE_WAIT_S = 8.0


def store_wait() -> trio.CancelScope:
    """A scope to wait for the store in, shielded: a leaving client must not cut it short.

    It ends after ``STORE_WAIT_S``, or earlier at the caller's own deadline: nobody waits for an
    answer after that. When it ends early the store may have done what it was asked, or not.
    """
    now = trio.current_time()
    deadline = trio.current_effective_deadline()
    if deadline == -math.inf:  # cancelled already: what is charged is carried to its end
        deadline = math.inf
    return trio.CancelScope(shield=True, deadline=min(deadline, now + STORE_WAIT_S))
