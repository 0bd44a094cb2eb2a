"""Messages through an operator's own service: a signed POST of JSON.

The body is ``{"id", "channel", "to", "subject", "text", "process", "expires_at"}``, times in Unix
milliseconds. The receiver checks ``X-Otp-Signature: v1=<hex HMAC-SHA-256 of timestamp.body>``
and that ``X-Otp-Timestamp`` (Unix seconds) is recent, and may drop an ``id`` it has seen: it is the
same on each try, and in the ``Idempotency-Key`` header too. Any 2xx means that it took the message.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from otp_server.delivery.http_provider import Answer, HttpOptions, HttpProvider
from otp_server.delivery.time_left import remaining_s
from otp_server.delivery.verdict import http_refusal
from otp_server.services.ports.delivery import Sent

if TYPE_CHECKING:
    from otp_server.clock import Clock
    from otp_server.services.ports.delivery import Message, SendOutcome

SIGNING_KEY_BYTES_MIN = 16
_SUCCESS = range(200, 300)


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """``key`` signs; ValueError when it is shorter than ``SIGNING_KEY_BYTES_MIN``."""

    http: HttpOptions
    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.key) < SIGNING_KEY_BYTES_MIN:
            raise ValueError(f"a webhook's key has {SIGNING_KEY_BYTES_MIN} bytes or more")


def signature(key: bytes, timestamp: str, body: bytes) -> str:
    """The value of ``X-Otp-Signature``."""
    return "v1=" + hmac.new(key, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class WebhookSender:
    """Messages by a signed POST."""

    name = "webhook"

    def __init__(self, options: WebhookOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._http = HttpProvider(self.name, options.http)

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
        body = msgspec.json.encode(
            {
                "id": message.id,
                "channel": message.channel.value,
                "to": message.to,
                "subject": message.subject,
                "text": message.text,
                "process": message.process,
                "expires_at": message.expires_at_ms,
            }
        )
        timestamp = str(self._clock.now_ms() // 1000)
        headers = {
            "Content-Type": "application/json",
            "X-Otp-Timestamp": timestamp,
            "X-Otp-Signature": signature(self._options.key, timestamp, body),
            "Idempotency-Key": message.id,
        }
        within_s = remaining_s(message, self._clock)
        answer = await self._http.post("", body, headers, within_s=within_s)
        if not isinstance(answer, Answer):
            return answer
        if answer.status in _SUCCESS:
            return Sent()
        return http_refusal(self._http.name, answer)

    async def aclose(self) -> None:
        """Close idle connections. Idempotent."""
        await self._http.aclose()
