"""Fixtures of the API tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.http_stage import served_over
from tests.support.rest_stage import Stage, stage_over
from tests.support.svc_stage import SvcStage, svc_stage
from tests.support.transport_stage import served_by

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(params=["native", "trio-websocket"])
def each_transport(request: pytest.FixtureRequest) -> None:
    """The test runs over both device transports."""
    served_by["transport"] = request.param


@pytest.fixture(params=["native", "hypercorn"])
def each_http(request: pytest.FixtureRequest) -> Iterator[None]:
    """The test runs over both HTTP transports."""
    before = served_over["http"]
    served_over["http"] = request.param
    yield
    served_over["http"] = before


@pytest.fixture(params=["memory:", "sqlite:otp.db"])
async def stage(
    request: pytest.FixtureRequest, each_http: None, tmp_path: Path
) -> AsyncIterator[Stage]:
    async with stage_over(request.param, tmp_path) as stage:
        yield stage


@pytest.fixture
async def one(each_http: None, tmp_path: Path) -> AsyncIterator[Stage]:
    """Where the store makes no difference."""
    async with stage_over("memory:", tmp_path) as stage:
        yield stage


@pytest.fixture(params=["memory:", "sqlite:otp.db"])
async def svc(
    request: pytest.FixtureRequest, each_http: None, tmp_path: Path
) -> AsyncIterator[SvcStage]:
    async with svc_stage(request.param, tmp_path) as stage:
        yield stage


@pytest.fixture
async def svc_one(each_http: None, tmp_path: Path) -> AsyncIterator[SvcStage]:
    """Where the store makes no difference."""
    async with svc_stage("memory:", tmp_path) as stage:
        yield stage
