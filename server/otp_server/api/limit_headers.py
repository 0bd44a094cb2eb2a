"""``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers).

A policy's name is a word of a bounded set; no partition key is told, so the fields link no caller
to another (requirement 39).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.api.operation import AnswerHeader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.process_outcome import Quota

_MS = 1000

LIMIT_HEADERS = (
    AnswerHeader(
        "RateLimit-Policy", {"type": "string"}, "Each limit: its name, quota and window in seconds."
    ),
    AnswerHeader(
        "RateLimit",
        {"type": "string"},
        "What is left of each limit, and in how many seconds it grows.",
    ),
)


def limit_headers(quotas: Sequence[Quota]) -> tuple[tuple[str, str], ...]:
    """The two headers, ``q`` quota, ``w`` window, ``r`` remaining, ``t`` seconds; none for none."""
    if not quotas:
        return ()
    policies = ", ".join(
        f'"{quota.policy}";q={quota.limit};w={quota.window_ms // _MS}' for quota in quotas
    )
    left = ", ".join(
        f'"{quota.policy}";r={quota.remaining};t={-(-quota.reset_ms // _MS)}' for quota in quotas
    )
    return ("RateLimit-Policy", policies), ("RateLimit", left)
