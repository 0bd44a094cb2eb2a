"""The use cases over one store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.config import code_policy, windows_ms
from otp_server.core import Keyring, SlidingWindows
from otp_server.registry import device_service
from otp_server.services.confirm import ConfirmService, GuessLimits
from otp_server.services.issue import IssueService
from otp_server.services.live_codes import LiveCodes
from otp_server.services.presence import PresenceService
from otp_server.services.tokens import TokenService

if TYPE_CHECKING:
    from otp_server.app.base import Base
    from otp_server.config import Config

_MINUTE_MS = 60_000
_DEVICE_KEYS_MAX = 2_000_000
_GUESS_KEYS_MAX = 100_000


class Services:
    """The use cases over one store. Cheap to make; holds no task."""

    def __init__(self, config: Config, base: Base) -> None:
        device, confirm = config.device, config.confirm
        keys, store, clock = base.keys, base.store, base.clock
        self.clock = clock
        self.live = LiveCodes()
        self.policy = code_policy(config)
        keyring = Keyring(keys.code)
        self.issue = IssueService(
            store,
            keyring=keyring,
            clock=clock,
            policy=self.policy,
            limiter=SlidingWindows([(device.requests_per_minute, _MINUTE_MS)], _DEVICE_KEYS_MAX),
            live=self.live,
        )
        per_address = windows_ms(confirm.per_address)
        per_org = windows_ms(confirm.per_organisation)
        in_all = windows_ms(confirm.in_all)
        self.guesses_kept_ms = max(period for _, period in per_address + per_org + in_all)
        limits = GuessLimits(
            per_address=SlidingWindows(per_address, _GUESS_KEYS_MAX),
            per_organisation=SlidingWindows(per_org, _GUESS_KEYS_MAX),
            in_all=SlidingWindows(in_all, 1),
        )
        self.confirm = ConfirmService(store, keyring=keyring, clock=clock, limits=limits)
        self.devices = device_service(keys, store, clock)
        self.presence = PresenceService(store, clock=clock)
        self.tokens = TokenService(keys.token, clock=clock, quick_session_s=confirm.quick_session_s)
