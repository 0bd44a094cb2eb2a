"""What the status of a provider over HTTP says of the message, when it is no success.

The request has left when a status comes, so the question is whether anybody acted on it:

- 4xx are refusals: the provider has the message not. Worth another try are 429, and 408, which
  says that the request never came whole.
- 503 is a refusal too: a server that cannot work now, or a gateway with no server behind it, says
  so before it passes anything on. It is tried again, after ``Retry-After`` where it is given. Some
  gateways also say 503 when the server behind broke off in the middle; then a message comes twice,
  both with the code that is good. To move on instead would void a code that may have arrived, and
  to call it uncertain would end all that meet a restart of the provider.
- 500, 502, 504 and every other 5xx come as well from a provider that took the message and failed
  later, or from a gateway that lost its answer: uncertain, the code stays good, no other try (77).
  Not so 501, 505 and 511: nobody understood the request, or it never got there.
- Of the rest (redirects are not followed) no provider has the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.services.ports.delivery import NotSent, SendProblem, Uncertain
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from otp_server.delivery.http_provider import Answer

_BUSY_RETRY_MS = 1000
CLIENT_ERRORS = range(400, 500)
_SERVER_ERRORS = range(500, 600)
_NOT_UNDERSTOOD = frozenset({501, 505, 511})

log = get_logger(__name__)


def http_refusal(provider: str, answer: Answer) -> NotSent | Uncertain:
    """What a status that is no success says (RFC 9110 section 15); see the module."""
    retry_ms = _BUSY_RETRY_MS if answer.retry_after_ms is None else answer.retry_after_ms
    outcome: NotSent | Uncertain = NotSent(SendProblem.UNKNOWN)
    match answer.status:
        case 401 | 403:
            outcome = NotSent(SendProblem.AUTH)
        case 408:
            outcome = NotSent(SendProblem.TIMEOUT, _BUSY_RETRY_MS)
        case 429:
            outcome = NotSent(SendProblem.RATE_LIMITED, retry_ms)
        case 503:
            outcome = NotSent(SendProblem.PROVIDER_DOWN, retry_ms)
        case 504:
            outcome = Uncertain(SendProblem.TIMEOUT)
        case status if status in _SERVER_ERRORS and status not in _NOT_UNDERSTOOD:
            outcome = Uncertain(SendProblem.UNKNOWN)
        case status if status in CLIENT_ERRORS:
            outcome = NotSent(SendProblem.REJECTED)
    log_refusal(provider, answer, outcome.problem)
    return outcome


def log_refusal(provider: str, answer: Answer, problem: SendProblem) -> None:
    """The status alone: a provider's words may hold the contact or the text (requirement 86)."""
    log.warning("refused", provider=provider, status=answer.status, problem=problem.value)
