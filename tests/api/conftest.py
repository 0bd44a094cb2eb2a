"""Fixtures of the API tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rest_stage import Stage, stage_over
from tests.support.svc_stage import SvcStage, svc_stage
from tests.support.transport_stage import served_by

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(params=["native", "trio-websocket"])
def each_transport(request: pytest.FixtureRequest) -> None:
    """The test runs over both device transports."""
    served_by["transport"] = request.param


@pytest.fixture(params=["memory:", "sqlite:otp.db"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage_over(request.param, tmp_path) as stage:
        yield stage


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Stage]:
    """Where the store makes no difference."""
    async with stage_over("memory:", tmp_path) as stage:
        yield stage


@pytest.fixture(params=["memory:", "sqlite:otp.db"])
async def svc(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SvcStage]:
    async with svc_stage(request.param, tmp_path) as stage:
        yield stage


@pytest.fixture
async def svc_one(tmp_path: Path) -> AsyncIterator[SvcStage]:
    """Where the store makes no difference."""
    async with svc_stage("memory:", tmp_path) as stage:
        yield stage
