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


def limit_headers(quotas: Quotas | None) -> Headers:
    """The two headers; none where nothing is told."""
    if quotas is None or not (left := quotas.left):
        return ()
    return (POLICIES, quotas.policies), (LEFT, left)


def with_limits(headers: Headers, quotas: Quotas) -> Headers:
    """With what is left of more limits, behind what ``headers`` tell of others at their begin."""
    if not (left := quotas.left):
        return headers
    if not headers or headers[0][0] != POLICIES:
        return (POLICIES, quotas.policies), (LEFT, left), *headers
    (_, policies), (_, others), *rest = headers
    return (POLICIES, f"{policies}, {quotas.policies}"), (LEFT, f"{others}, {left}"), *rest
