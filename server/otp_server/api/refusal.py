"""A service's refusal as an error, with the headers of its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.api.limit_headers import limit_headers
from otp_server.api.operation import ApiError

if TYPE_CHECKING:
    from otp_server.domain.process_outcome import ProcessRefused


def refusal(refused: ProcessRefused) -> ApiError:
    """The error; the refusal's private reason stays here."""
    return ApiError(
        refused.kind,
        retry_after_ms=refused.retry_after_ms,
        fields=refused.fields,
        violated=refused.violated,
        headers=limit_headers(refused.quotas),
    )
