"""Every authenticated call of the face counts once, before it is read (requirement 44)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from otp_server.api.limit_headers import LIMIT_HEADERS, limit_headers
from otp_server.api.refusal import refusal
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.errors import ErrorKind
from otp_server.services.limit_hits import Hitter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.api.operation import Operation, Request
    from otp_server.services.call_limits import CallLimits

_ERRORS = (ErrorKind.RATE_LIMITED, ErrorKind.OVERLOADED)


def counted(operation: Operation[Any, Any], calls: CallLimits) -> Operation[Any, Any]:
    """The operation, each call of it charged to its client; it must have a scope."""

    def admit(request: Request) -> Sequence[tuple[str, str]]:
        asker = request.asker
        hitter = Hitter(asker.tenant, f"client:{asker.client_id}", request.address)
        outcome = calls.begin_call(hitter, asker.client_id)
        if isinstance(outcome, ProcessRefused):
            raise refusal(outcome)
        return limit_headers(outcome)

    return replace(
        operation,
        admit=admit,
        errors=tuple(dict.fromkeys((*operation.errors, *_ERRORS))),
        answer_headers=tuple(
            {header.name: header for header in (*LIMIT_HEADERS, *operation.answer_headers)}.values()
        ),
    )
