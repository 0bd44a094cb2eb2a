"""The HTTP side of the device face (contracts A4, A6): what its operations are made of.

Whatever is wrong with a code, the answer is one and the same (requirement 51).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from otp_server.api.device.confirming import Confirming
from otp_server.api.device.operations import StartingOtp, status_operation, time_operation

if TYPE_CHECKING:
    from otp_server.api.operation import Operation
    from otp_server.api.web import WebOptions
    from otp_server.clock import Clock
    from otp_server.services.confirm import ConfirmService
    from otp_server.services.devices import DeviceService
    from otp_server.services.issue import IssueService
    from otp_server.services.presence import PresenceService
    from otp_server.services.tokens import TokenService
    from otp_server.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class DeviceHttpOptions:
    """Lengths in characters, times in seconds."""

    web: WebOptions
    code_length_min: int
    code_length_max: int
    answer_s: float


@dataclass(frozen=True, slots=True)
class DeviceHttp:
    """What the operations call."""

    options: DeviceHttpOptions
    issue: IssueService
    confirm: ConfirmService
    devices: DeviceService
    presence: PresenceService
    tokens: TokenService
    clock: Clock
    metrics: Metrics

    def operations(self) -> list[Operation[Any, Any]]:
        """All of them."""
        options = self.options
        confirming = Confirming(
            self.confirm,
            self.devices,
            self.tokens,
            self.metrics,
            (options.code_length_min, options.code_length_max),
        )
        starting = StartingOtp(self.issue, self.devices, self.metrics)
        return [
            *confirming.operations(options.answer_s),
            starting.operation(options.answer_s),
            time_operation(self.clock),
            status_operation(self.tokens, self.devices, self.presence, options.answer_s),
        ]
