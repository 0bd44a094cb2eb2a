"""How every part of the memory store is entered, and how the whole is closed."""

from __future__ import annotations

import trio

from otp_server.errors import StoreUnavailable


class MemoryLifetime:
    """Open from the start; after ``aclose`` each method raises StoreUnavailable."""

    def __init__(self) -> None:
        self._closed = False

    async def _enter(self) -> None:
        """The one checkpoint of each method: call it first, then change things without awaiting."""
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise StoreUnavailable("the store is closed")

    async def probe(self) -> None:
        """Only a closed store is unwell."""
        await self._enter()

    async def aclose(self) -> None:
        """Close; what was stored is gone."""
        self._closed = True
        await trio.lowlevel.checkpoint()
