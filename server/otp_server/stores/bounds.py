"""Bounds that every store keeps, so that the fake behaves like the real ones."""

from __future__ import annotations

from typing import Final

SWEEP_ROWS_MAX: Final = 1000
"""Rows of each kind one sweep touches: some 10 ms of a writer others are waiting for."""
SETTINGS_MAX: Final = 1000
"""Settings of each kind a tenant may have."""
ROUTES_MAX: Final = 16
"""Routes a type may have: with their texts they are the plan that processes keep."""
