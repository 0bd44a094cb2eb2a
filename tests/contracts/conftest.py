"""One suite, every store. A postgres store joins here, as one more word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otp_server.stores import open_store
from tests.contracts.samples import deadline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import trio

    from otp_server.services.ports import Store


@pytest.fixture(params=["memory:", "sqlite:otp.db"], ids=["memory", "sqlite"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, nursery: trio.Nursery
) -> AsyncIterator[Store]:
    nursery.start_soon(deadline)
    store = await open_store(request.param, tmp_path)
    yield store
    await store.aclose()
