"""The journal of starts, read back page by page: what limits are charged with at start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.services.ports.processes import ID_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otp_server.services.ports.processes import ProcessStore, StartRecord


async def walk_starts(
    store: ProcessStore, since_ms: int, charge: Callable[[Sequence[StartRecord]], int]
) -> int:
    """Give ``charge`` every start after ``since_ms``, the oldest first; the sum of its answers.

    Raises StoreUnavailable, and what ``charge`` raises.
    """
    at_ms, after_id, count = since_ms, ID_MAX, 0
    while page := await store.starts_since(at_ms, after_id=after_id):
        count += charge(page)
        at_ms, after_id = page[-1].at_ms, page[-1].process_id
    return count
