"""Every authenticated call of the face counts once, before it is read (requirement 44)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from otp_server.api.operation import LIMIT_HEADERS
from otp_server.api.refusal import refusal
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.errors import ErrorKind

if TYPE_CHECKING:
    from otp_server.api.operation import Operation, Request
    from otp_server.domain.process_outcome import Quotas
    from otp_server.services.call_limits import CallLimits

_ERRORS = (ErrorKind.RATE_LIMITED, ErrorKind.OVERLOADED)


def counted(operation: Operation[Any, Any], calls: CallLimits) -> Operation[Any, Any]:
    """The operation, each call of it charged to its client; it must have a scope."""

    def admit(request: Request) -> Quotas:
        asker = request.asker
        outcome = calls.begin_call(asker.tenant, asker.client_id, request.address)
        if isinstance(outcome, ProcessRefused):
            raise refusal(outcome)
        return outcome

    return replace(
        operation,
        admit=admit,
        errors=tuple(dict.fromkeys((*operation.errors, *_ERRORS))),
        answer_headers=tuple(
            {header.name: header for header in (*LIMIT_HEADERS, *operation.answer_headers)}.values()
        ),
    )
