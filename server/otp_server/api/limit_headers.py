"""``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers).

A policy's name is a word of a bounded set; no partition key is told, so the fields link no caller
to another (requirement 39). The core writes the texts (``otp_core_rs/src/limit/quotas.rs``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otp_server.domain.process_outcome import Quotas

    Headers = tuple[tuple[str, str], ...]

POLICIES = "RateLimit-Policy"
LEFT = "RateLimit"


def limit_headers(quotas: Quotas | None, more: Quotas | None = None) -> Headers:
    """The two headers, of ``quotas`` and behind them of ``more``; none where nothing is told."""
    left = "" if quotas is None else quotas.left
    if more is not None and (more_left := more.left):
        if quotas is None or not left:
            return (POLICIES, more.policies), (LEFT, more_left)
        policies = f"{quotas.policies}, {more.policies}"
        return (POLICIES, policies), (LEFT, f"{left}, {more_left}")
    return () if quotas is None or not left else ((POLICIES, quotas.policies), (LEFT, left))
