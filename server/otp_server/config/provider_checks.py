"""What the keys of deliveries must hold between them: whatever would keep a provider from starting.

Each refusal of the options in ``delivery`` has its finding here, which names the key.
"""

from __future__ import annotations

import ssl
from operator import attrgetter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from email_validator import EmailNotValidError, validate_email

from otp_server.config.endpoint import Endpoint
from otp_server.config.finding import Finding
from otp_server.config.providers import provider_options
from otp_server.delivery import SIGNING_KEY_BYTES_MIN, UnfitMessage, sender_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otp_server.config.schema import Config

_WEBHOOK_SECRET_MIN = 32  # characters: base64 or hexadecimal of 16 random bytes has as many


def check_delivery(config: Config) -> list[Finding]:
    """What the chosen providers need, and what production refuses.

    What no finding foresees, and the options refuse all the same, is found by making them.
    """
    found = list(_foreseen(config))
    if not found:
        try:
            provider_options(config)
        except ValueError as error:
            paths = ("delivery.email.kind", "delivery.sms.kind")
            found.append(Finding(paths, str(error), "mend the keys of this provider"))
    return found


def _foreseen(config: Config) -> Iterator[Finding]:
    production = config.server.profile == "production"
    for channel, kind in (("email", config.delivery.email.kind), ("sms", config.delivery.sms.kind)):
        if production and kind == "outbox":
            yield Finding(
                (f"delivery.{channel}.kind", "server.profile"),
                "outbox writes codes into a file; production refuses it",
                "name a provider, or none",
            )
        yield from _authorities(f"delivery.{channel}.ca_file", config)
    if config.delivery.email.kind == "smtp":
        yield from _smtp(config, production=production)
    if config.delivery.sms.kind == "twilio":
        yield from _twilio(config)
    if config.delivery.sms.kind == "webhook":
        yield from _webhook(config, production=production)
    if config.delivery.sms.kind in ("twilio", "webhook") and config.delivery.sms.url:
        yield from _url(config, production=production)


def _authorities(path: str, config: Config) -> Iterator[Finding]:
    file = attrgetter(path)(config)
    if not file:
        return
    try:
        ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        yield Finding((path,), f"{file} holds no certificate", "name a PEM file of authorities")
    except OSError:
        yield Finding((path,), f"{file} cannot be read", "name a file this user can read")


def _missing(section: str, kind: str, name: str) -> Finding:
    return Finding(
        (f"delivery.{section}.{name}", f"delivery.{section}.kind"),
        f"{kind} needs it and it is empty",
        "give it, or choose another delivery." + section + ".kind",
    )


def _smtp(config: Config, *, production: bool) -> Iterator[Finding]:
    email = config.delivery.email
    if not email.host:
        yield _missing("email", "smtp", "host")
    if not email.sender:
        yield _missing("email", "smtp", "from")
    elif (why := _why_no_sender(email.sender)) is not None:
        mend = "give an address, such as Example <otp@example.com>"
        yield Finding(("delivery.email.from", "delivery.email.kind"), why, mend)
    account = ("delivery.email.user", "delivery.email.password")
    if email.user and not email.password:
        yield Finding(account[::-1], "missing beside delivery.email.user", "give both or neither")
    if email.password and not email.user:
        yield Finding(account, "missing beside delivery.email.password", "give both or neither")
    if email.user and email.security == "none":
        yield Finding(
            ("delivery.email.security", "delivery.email.user", "delivery.email.kind"),
            "a password is not sent over a connection without TLS",
            "give starttls or tls, or take user and password away",
        )
    for name, value in (("user", email.user), ("password", email.password.reveal())):
        if not value.isascii():
            path = f"delivery.email.{name}"
            yield Finding((path,), "SMTP takes only ASCII", "choose another at the provider")
    if production and email.security == "none" and not Endpoint(email.host, 0).is_loopback:
        yield Finding(
            ("delivery.email.security", "delivery.email.host", "server.profile"),
            f"codes would travel to {email.host} unencrypted; production refuses it",
            "give starttls or tls",
        )


def _why_no_sender(text: str) -> str | None:
    try:
        validate_email(
            text,
            allow_display_name=True,
            allow_smtputf8=False,
            check_deliverability=False,
            globally_deliverable=False,
        )
    except EmailNotValidError as error:
        return f"{text!r} is no address ({str(error).rstrip('.')})"
    try:
        sender_address(text)
    except UnfitMessage:
        return f"{text!r} is not one address in ASCII (a domain may be written as xn--...)"
    return None


def _twilio(config: Config) -> Iterator[Finding]:
    sms = config.delivery.sms
    for name, value in (("account", sms.account), ("token", sms.token), ("from", sms.sender)):
        if not value:
            yield _missing("sms", "twilio", name)


def _webhook(config: Config, *, production: bool) -> Iterator[Finding]:
    sms = config.delivery.sms
    if not sms.url:
        yield _missing("sms", "webhook", "url")
    if not sms.secret:
        yield _missing("sms", "webhook", "secret")
    elif len(sms.secret.reveal().encode()) < SIGNING_KEY_BYTES_MIN:
        yield Finding(
            ("delivery.sms.secret", "delivery.sms.kind"),
            f"it has fewer than {SIGNING_KEY_BYTES_MIN} bytes",
            "make a new one: openssl rand -base64 32",
        )
    elif production and len(sms.secret.reveal()) < _WEBHOOK_SECRET_MIN:
        yield Finding(
            ("delivery.sms.secret", "delivery.sms.kind", "server.profile"),
            f"it has fewer than {_WEBHOOK_SECRET_MIN} characters and might be guessed; "
            "production refuses it",
            "make a new one: openssl rand -base64 32",
        )


def _url(config: Config, *, production: bool) -> Iterator[Finding]:
    """No message quotes the URL: it may hold a token."""
    paths = ("delivery.sms.url", "delivery.sms.kind")
    mend = "give https://HOST/PATH"
    try:
        parts = urlsplit(config.delivery.sms.url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        yield Finding(paths, "it cannot be read", mend)
        return
    if not host:
        yield Finding(paths, "it names no host", mend)
    elif parts.username is not None or parts.query or parts.fragment:
        reason = "it holds a user name, a query or a fragment"
        yield Finding(paths, reason, "give credentials in keys of their own")
    elif production and parts.scheme == "http" and not Endpoint(host, 0).is_loopback:
        yield Finding(
            (*paths, "server.profile"),
            f"codes would travel to {host} unencrypted; production refuses it",
            "give an https URL",
        )
