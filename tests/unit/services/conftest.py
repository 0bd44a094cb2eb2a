"""What holds over every store is tested over every store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otp_server.stores import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from otp_server.services.ports import Store


@pytest.fixture(params=["memory:", "sqlite:otp.db"], ids=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(request.param, tmp_path)
    yield opened
    await opened.aclose()
