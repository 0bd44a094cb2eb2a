"""What hands messages to providers: SMTP, SMS over HTTP, and a file in development.

``open_senders`` is the door; it takes plain options and gives each channel its provider. Workers
and retries are the deliver service's (``services/deliver.py``); here is what one try does:

    smtp           e-mail: smtp_session (the dialogue), mail (the bytes)
    twilio         SMS by Twilio's API           } over http_provider, resolve, verdict
    webhook        a signed POST, any channel    }
    time_left      how long a message may still be handed over
    outbox_file    one JSON line each, for development
    breaker        keeps messages from a provider that is down
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from otp_server.delivery.breaker import BreakerOptions, CircuitBreaker
from otp_server.delivery.http_provider import HttpOptions
from otp_server.delivery.mail import UnfitMessage, sender_address
from otp_server.delivery.outbox_file import OutboxFileSender
from otp_server.delivery.smtp import SmtpOptions, SmtpSender
from otp_server.delivery.smtp_session import Security
from otp_server.delivery.twilio import TwilioOptions, TwilioSender
from otp_server.delivery.webhook import SIGNING_KEY_BYTES_MIN, WebhookOptions, WebhookSender
from otp_server.services.ports.delivery import Provider

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from otp_server.clock import Clock
    from otp_server.domain.challenge_type import Channel
    from otp_server.services.ports.delivery import Sender

__all__ = [
    "SIGNING_KEY_BYTES_MIN",
    "BreakerOptions",
    "HttpOptions",
    "OutboxFileOptions",
    "Security",
    "SenderOptions",
    "SmtpOptions",
    "TwilioOptions",
    "UnfitMessage",
    "WebhookOptions",
    "open_senders",
    "sender_address",
]


@dataclass(frozen=True, slots=True)
class OutboxFileOptions:
    """Development only: the file holds codes and contacts."""

    path: Path


SenderOptions = SmtpOptions | TwilioOptions | WebhookOptions | OutboxFileOptions


def open_senders(
    options: Mapping[Channel, SenderOptions],
    clock: Clock,
    breaker: BreakerOptions | None = None,
) -> dict[Channel, Provider]:
    """Each channel's provider, with a breaker of its own. Nothing is connected to yet.

    Channels with the same outbox file have one sender: what they write at once is one writing.

    Call it inside Trio; close each sender with ``aclose``. OSError for a ``ca_file`` that cannot
    be read (``ssl.SSLError`` when it holds no certificate).
    """
    files: dict[Path, Sender] = {}
    return {
        channel: Provider(_open(chosen, clock, files), CircuitBreaker(breaker))
        for channel, chosen in options.items()
    }


def _open(options: SenderOptions, clock: Clock, files: dict[Path, Sender]) -> Sender:
    match options:
        case SmtpOptions():
            return SmtpSender(options, clock)
        case TwilioOptions():
            return TwilioSender(options, clock)
        case WebhookOptions():
            return WebhookSender(options, clock)
        case OutboxFileOptions(path):
            return files.setdefault(path, OutboxFileSender(path))
