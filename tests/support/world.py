"""A small world for tests without sockets: memory store, virtual time, every service."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from otp_server.core import Frame, FrameDecoder, Keyring, SlidingWindows, decode_otp_response
from otp_server.domain.policy import CodePolicy
from otp_server.services.confirm import ConfirmService, GuessLimits
from otp_server.services.devices import DeviceService
from otp_server.services.issue import IssueService
from otp_server.services.live_codes import LiveCodes
from otp_server.services.presence import PresenceService
from otp_server.services.tokens import TokenService
from otp_server.stores.memory import MemoryStore
from otp_server.telemetry import Metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.errors import ErrorKind
    from otp_server.services.ports import Store

KEY = bytes(range(32))
START_MS = 1_800_000_000_000
PLENTY = [(1_000_000, 60_000)]
POLICY = CodePolicy(6, 10, 300_000, guess_risk=0.1, failures_allowed=500)


class TrioClock:
    """Unix milliseconds that follow Trio's clock, virtual or real."""

    def __init__(self) -> None:
        self.shift_ms = 0

    def now_ms(self) -> int:
        return START_MS + int(trio.current_time() * 1000) + self.shift_ms


@dataclass
class World:
    """Services over one store. Replace a part before using it."""

    store: Store = field(default_factory=MemoryStore)
    keys: Sequence[tuple[str, bytes]] = (("k1", KEY),)
    requests: Sequence[tuple[int, int]] = ((6, 60_000),)
    per_address: Sequence[tuple[int, int]] = tuple(PLENTY)
    per_organisation: Sequence[tuple[int, int]] = tuple(PLENTY)
    in_all: Sequence[tuple[int, int]] = tuple(PLENTY)
    policy: CodePolicy = POLICY

    def __post_init__(self) -> None:
        self.clock = TrioClock()
        self.metrics = Metrics()
        self.live = LiveCodes()
        self.keyring = Keyring(self.keys)
        self.limits = GuessLimits(
            per_address=SlidingWindows(self.per_address, 1000),
            per_organisation=SlidingWindows(self.per_organisation, 1000),
            in_all=SlidingWindows(self.in_all, 1),
        )
        self.issue = IssueService(
            self.store,
            keyring=self.keyring,
            clock=self.clock,
            policy=self.policy,
            limiter=SlidingWindows(self.requests, 1000),
            live=self.live,
        )
        self.confirm = ConfirmService(
            self.store, keyring=self.keyring, clock=self.clock, limits=self.limits
        )
        self.devices = DeviceService(self.store, clock=self.clock, key=KEY)
        self.presence = PresenceService(self.store, clock=self.clock)
        self.tokens = TokenService(self.keys, clock=self.clock, quick_session_s=172_800)


class RecordingLinks:
    """A link side that remembers what the face sent and closed, and wakes who waits for it."""

    def __init__(self) -> None:
        self.sent: dict[int, list[bytes]] = {}
        self.closed: dict[int, ErrorKind] = {}
        self._changed = trio.Event()

    def send_many(self, frames: Sequence[tuple[int, bytes]]) -> None:
        for connection, frame in frames:
            self.sent.setdefault(connection, []).append(frame)
        self._change()

    def close_many(self, connections: Sequence[tuple[int, ErrorKind]]) -> None:
        for connection, kind in connections:
            self.closed.setdefault(connection, kind)
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def answers(self, connection: int) -> list[tuple[str, int, str]]:
        """Every OTP_RESPONSE so far, as ``(otp, expires_at_ms, error)``."""
        decoder = FrameDecoder()
        frames: list[Frame] = []
        for data in self.sent.get(connection, []):
            frames += decoder.receive_data(data)
        assert all(frame.type == 20 for frame in frames)
        return [decode_otp_response(frame.payload) for frame in frames]

    async def wait_answers(self, connection: int, count: int) -> list[tuple[str, int, str]]:
        while len(self.answers(connection)) < count:
            await self._changed.wait()
        return self.answers(connection)

    async def wait_closed(self, connection: int) -> ErrorKind:
        while connection not in self.closed:
            await self._changed.wait()
        return self.closed[connection]
