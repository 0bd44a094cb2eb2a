"""Instants as the rest face writes them."""

from __future__ import annotations

from datetime import UTC, datetime

_MS = 1000


def iso_time(at_ms: int) -> str:
    """ISO 8601 with seconds and a numeric offset, such as ``2023-04-07T08:22:06+00:00``."""
    return datetime.fromtimestamp(at_ms // _MS, UTC).isoformat()
