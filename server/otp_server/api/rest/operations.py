"""The rest face as a list of operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from otp_server.api.rest.admission import counted
from otp_server.api.rest.configuration import configuration_operations
from otp_server.api.rest.envelope import Envelopes
from otp_server.api.rest.processes import process_operations
from otp_server.api.rest.searching import search_operations

if TYPE_CHECKING:
    from otp_server.api.operation import Operation
    from otp_server.clock import Clock
    from otp_server.services.attempts import AttemptService
    from otp_server.services.call_limits import CallLimits
    from otp_server.services.search import SearchService
    from otp_server.services.settings import SettingsService
    from otp_server.services.starts import StartService

ANSWER_S = 10.0  # later than any wait of a service of its own


@dataclass(frozen=True, slots=True)
class RestServices:
    """What the face calls."""

    starts: StartService
    attempts: AttemptService
    searches: SearchService
    settings: SettingsService
    calls: CallLimits
    clock: Clock


@dataclass(frozen=True, slots=True)
class RestOptions:
    """``answer_s``: when a call is given up, in seconds."""

    answer_s: float = ANSWER_S


def rest_operations(services: RestServices, options: RestOptions) -> list[Operation[Any, Any]]:
    """Every operation of the face."""
    envelopes = Envelopes(services.clock.now_ms)
    within_s = options.answer_s
    operations = [
        *process_operations(services.starts, services.attempts, envelopes, within_s),
        *search_operations(services.searches, envelopes, within_s),
        *configuration_operations(services.settings, envelopes, within_s),
    ]
    return [counted(operation, services.calls) for operation in operations]
