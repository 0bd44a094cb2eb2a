"""What the end-to-end tests share: the device transport they are run over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", params=["native", "trio-websocket"])
def each_transport(request: pytest.FixtureRequest) -> Iterator[str]:
    """The servers started meanwhile have this device transport, whatever their configuration says.

    A fixture with a server of a module's own asks for it by name, so that there is one each.
    """
    transport: str = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTP_SERVER_DEVICE__TRANSPORT", transport)
        yield transport
