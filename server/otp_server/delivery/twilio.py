"""SMS through a provider that speaks Twilio's REST API (2010-04-01, Messages resource).

``POST {url}/2010-04-01/Accounts/{account}/Messages.json`` with ``To``, ``From`` and ``Body`` as a
form and basic authentication. The API knows no idempotency key: what is uncertain stays so.
"""

from __future__ import annotations

import re
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import msgspec

from otp_server.delivery.http_provider import Answer, HttpOptions, HttpProvider
from otp_server.delivery.time_left import remaining_s
from otp_server.delivery.verdict import CLIENT_ERRORS, http_refusal, log_refusal
from otp_server.services.ports.delivery import NotSent, SendProblem, Sent, Uncertain

if TYPE_CHECKING:
    from otp_server.clock import Clock
    from otp_server.services.ports.delivery import Message, SendOutcome

_PROBLEMS = {
    20003: SendProblem.AUTH,  # authentication failed
    20005: SendProblem.AUTH,  # account not active
    20404: SendProblem.AUTH,  # no such account
    20429: SendProblem.RATE_LIMITED,
    14107: SendProblem.RATE_LIMITED,  # send rate limit exceeded
    30001: SendProblem.RATE_LIMITED,  # queue overflow
    21211: SendProblem.INVALID_RECIPIENT,  # invalid "To"
    21214: SendProblem.INVALID_RECIPIENT,  # "To" cannot be reached
    21217: SendProblem.INVALID_RECIPIENT,  # does not look like a number
    21408: SendProblem.INVALID_RECIPIENT,  # no permission for the region
    21610: SendProblem.OPTED_OUT,
    21612: SendProblem.INVALID_RECIPIENT,  # "To" not reachable from "From"
    21614: SendProblem.INVALID_RECIPIENT,  # no mobile number
}
_TRY_AGAIN = frozenset({SendProblem.RATE_LIMITED})
_LIMITED_RETRY_MS = 1000
_SERVICE = re.compile("MG[0-9a-fA-F]{32}")
_REFERENCE_MAX = 64


@dataclass(frozen=True, slots=True)
class TwilioOptions:
    """``sender`` is a number or name, or a messaging service's id (``MG`` and 32 hex digits)."""

    http: HttpOptions
    account: str
    token: str = field(repr=False)
    sender: str


class _Reply(msgspec.Struct):
    """What is read of an answer, good or bad."""

    sid: str | None = None
    code: int | None = None


class TwilioSender:
    """SMS by Twilio's API."""

    name = "twilio"

    def __init__(self, options: TwilioOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._http = HttpProvider(self.name, options.http)
        self._path = f"/2010-04-01/Accounts/{quote(options.account, safe='')}/Messages.json"
        basic = b64encode(f"{options.account}:{options.token}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {basic}",
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }

    @property
    def concurrency(self) -> int:
        """How many messages it takes at once."""
        return self._options.http.concurrency

    @property
    def deadline_s(self) -> float:
        """The longest that ``send`` takes."""
        return self._options.http.deadline_s

    async def send(self, message: Message) -> SendOutcome:
        """Hand it over. Raises nothing; see ``services.ports.delivery.Sender``."""
        sender = self._options.sender
        by = "MessagingServiceSid" if _SERVICE.fullmatch(sender) else "From"
        form = urlencode({"To": message.to, by: sender, "Body": message.text})
        within_s = remaining_s(message, self._clock)
        answer = await self._http.post(self._path, form.encode(), self._headers, within_s=within_s)
        return self._judge(answer) if isinstance(answer, Answer) else answer

    def _judge(self, answer: Answer) -> SendOutcome:
        reply = _Reply()
        with suppress(msgspec.DecodeError):  # no JSON, or not whole: the status alone speaks
            reply = msgspec.json.decode(answer.body or b"", type=_Reply)
        if answer.status in (200, 201):
            # Something else that answers 200, such as a portal, may have passed it on or not.
            return Sent(reply.sid[:_REFERENCE_MAX]) if reply.sid else Uncertain(SendProblem.UNKNOWN)
        problem = _PROBLEMS.get(reply.code) if reply.code is not None else None
        if problem is None or answer.status not in CLIENT_ERRORS:
            return http_refusal(self.name, answer)
        log_refusal(self.name, answer, problem)
        if problem not in _TRY_AGAIN:
            return NotSent(problem)
        return NotSent(problem, answer.retry_after_ms or _LIMITED_RETRY_MS)

    async def aclose(self) -> None:
        """Close idle connections. Idempotent."""
        await self._http.aclose()
