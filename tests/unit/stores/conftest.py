"""A SQLite store on a real file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otp_server.stores.sqlite import SqliteOptions, open_sqlite_store
from tests.contracts.samples import add_devices, deadline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import trio

    from otp_server.stores.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "otp.db"


@pytest.fixture
async def store(path: Path, nursery: trio.Nursery) -> AsyncIterator[SqliteStore]:
    """With devices 0 to 3; waits 20 ms for locks of others."""
    nursery.start_soon(deadline)
    store = await open_sqlite_store(path, SqliteOptions(busy_timeout_ms=20))
    await add_devices(store, 4)
    yield store
    await store.aclose()
