"""Which provider each channel has, from the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otp_server.delivery import (
    HttpOptions,
    OutboxFileOptions,
    Security,
    SmtpOptions,
    TwilioOptions,
    WebhookOptions,
)
from otp_server.domain.address import parse_networks
from otp_server.domain.challenge_type import Channel

if TYPE_CHECKING:
    from otp_server.config.delivery_schema import EmailSection, SmsSection
    from otp_server.config.schema import Config
    from otp_server.delivery import SenderOptions

OUTBOX_FILE = "outbox.jsonl"
TWILIO_URL = "https://api.twilio.com"
_EVERYWHERE = parse_networks(["0.0.0.0/0", "::/0"])


def provider_options(config: Config) -> dict[Channel, SenderOptions]:
    """The options of each channel that has a provider.

    ValueError for what cannot work; ``check_config`` has found it before (``provider_checks``).
    """
    outbox = OutboxFileOptions(config.server.data_dir / OUTBOX_FILE)
    email, sms = config.delivery.email, config.delivery.sms
    options: dict[Channel, SenderOptions] = {}
    match email.kind:
        case "outbox":
            options[Channel.EMAIL] = outbox
        case "smtp":
            options[Channel.EMAIL] = _smtp(email)
    match sms.kind:
        case "outbox":
            options[Channel.SMS] = outbox
        case "twilio":
            options[Channel.SMS] = TwilioOptions(
                http=_http(sms, sms.url or TWILIO_URL),
                account=sms.account,
                token=sms.token.reveal(),
                sender=sms.sender,
            )
        case "webhook":
            options[Channel.SMS] = WebhookOptions(
                http=_http(sms, sms.url), key=sms.secret.reveal().encode()
            )
    return options


def _smtp(email: EmailSection) -> SmtpOptions:
    return SmtpOptions(
        host=email.host,
        port=email.port,
        security=Security(email.security),
        sender=email.sender,
        user=email.user,
        password=email.password.reveal(),
        concurrency=email.concurrency,
        deadline_s=email.timeout_s,
        ca_file=_path(email.ca_file),
    )


def _http(sms: SmsSection, url: str) -> HttpOptions:
    return HttpOptions(
        url=url,
        concurrency=sms.concurrency,
        deadline_s=sms.timeout_s,
        allowed=_EVERYWHERE if sms.allow_private else (),
        ca_file=_path(sms.ca_file),
    )


def _path(name: str) -> Path | None:
    return Path(name) if name else None
