"""Fixtures of the API tests."""

from __future__ import annotations

import pytest

from tests.support.transport_stage import served_by


@pytest.fixture(params=["native", "trio-websocket"])
def each_transport(request: pytest.FixtureRequest) -> None:
    """The test runs over both device transports."""
    served_by["transport"] = request.param
