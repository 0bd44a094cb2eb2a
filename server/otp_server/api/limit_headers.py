"""``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers).

A policy's name is a word of a bounded set; no partition key is told, so the fields link no caller
to another (requirement 39).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from otp_server.api.operation import AnswerHeader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.process_outcome import Quota

_MS = 1000
_POLICIES_MAX = 256
_LEFT_MAX = 4096

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
    policies: list[str] = []
    left: list[str] = []
    for quota in quotas:
        policies.append(_policy(quota.policy, quota.limit, quota.window_ms))
        left.append(_left(quota.policy, quota.remaining, -(-quota.reset_ms // _MS)))
    return ("RateLimit-Policy", ", ".join(policies)), ("RateLimit", ", ".join(left))


@lru_cache(_LEFT_MAX)
def _left(name: str, remaining: int, reset_s: int) -> str:
    return f'"{name}";r={remaining};t={reset_s}'


@lru_cache(_POLICIES_MAX)
def _policy(name: str, limit: int, window_ms: int) -> str:
    return f'"{name}";q={limit};w={window_ms // _MS}'
