"""Against aiosmtpd: what arrives, and how it is protected on the way."""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from otp_server.delivery import Security, SmtpOptions
from otp_server.delivery.smtp import SmtpSender
from otp_server.services.ports.delivery import NotSent, SendProblem, Sent
from tests.support.certificates import CertificatePair, make_certificate
from tests.support.mail_server import PASSWORD, USER, MailServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.delivery.conftest import Letters

FROM = "Banka č. 1 <no-reply@bank.example>"


def server_context(certificate: CertificatePair) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)
    return context


def options_for(
    server: MailServer, security: Security, certificate: CertificatePair | None = None
) -> SmtpOptions:
    return SmtpOptions(
        "localhost",
        server.port,
        security,
        FROM,
        ca_file=None if certificate is None else certificate.certificate,
    )


def sender_with(letters: Letters, options: SmtpOptions) -> SmtpSender:
    return letters.closing(SmtpSender(options, letters.clock))


async def test_what_arrives_is_what_was_meant(letters: Letters) -> None:
    with MailServer() as server:
        sender = sender_with(letters, options_for(server, Security.NONE))
        message = letters.message()
        assert await sender.send(message) == Sent()
        await sender.aclose()
    [mail] = server.mailbox.mails
    assert server.mailbox.envelopes == [("no-reply@bank.example", ["jana@example.org"])]
    [sender_of_it] = mail["From"].addresses
    assert sender_of_it.display_name == "Banka č. 1"
    assert sender_of_it.addr_spec == "no-reply@bank.example"
    assert mail["Subject"] == "Váš kód"
    assert mail["Message-ID"] == f"<{message.id}@bank.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    text, html = mail.iter_parts()
    assert text.get_content().splitlines() == ["Kód 123456", ".", "konec"]
    assert "<strong>123456</strong>" in html.get_content()


async def test_starttls_with_a_login(letters: Letters, certificate: CertificatePair) -> None:
    context = server_context(certificate)
    with MailServer(login=True, tls_context=context, require_starttls=True) as server:
        options = options_for(server, Security.STARTTLS, certificate)
        sender = sender_with(letters, replace(options, user=USER, password=PASSWORD))
        assert await sender.send(letters.message()) == Sent()
        assert await sender.send(letters.message()) == Sent()
        await sender.aclose()
    assert server.mailbox.over_tls == server.mailbox.logged_in == [True, True]


async def test_implicit_tls_with_a_login(letters: Letters, certificate: CertificatePair) -> None:
    context = server_context(certificate)
    with MailServer(login=True, ssl_context=context, auth_require_tls=False) as server:
        options = options_for(server, Security.TLS, certificate)
        sender = sender_with(letters, replace(options, user=USER, password=PASSWORD))
        assert await sender.send(letters.message()) == Sent()
        await sender.aclose()
    assert server.mailbox.over_tls == server.mailbox.logged_in == [True]


async def test_a_wrong_password(letters: Letters, certificate: CertificatePair) -> None:
    with MailServer(login=True, tls_context=server_context(certificate)) as server:
        options = options_for(server, Security.STARTTLS, certificate)
        sender = sender_with(letters, replace(options, user=USER, password="wrong"))
        assert await sender.send(letters.message()) == NotSent(SendProblem.AUTH)
        await sender.aclose()
    assert server.mailbox.mails == []


async def test_a_login_that_the_server_does_not_know(
    letters: Letters, certificate: CertificatePair
) -> None:
    with MailServer(
        tls_context=server_context(certificate), auth_exclude_mechanism=["LOGIN", "PLAIN"]
    ) as server:
        options = options_for(server, Security.STARTTLS, certificate)
        sender = sender_with(letters, replace(options, user=USER, password=PASSWORD))
        assert await sender.send(letters.message()) == NotSent(SendProblem.AUTH)
        await sender.aclose()
    assert server.mailbox.mails == []


async def test_a_server_without_starttls_gets_nothing_in_clear(
    letters: Letters, certificate: CertificatePair
) -> None:
    with MailServer() as server:
        sender = sender_with(letters, options_for(server, Security.STARTTLS, certificate))
        assert await sender.send(letters.message()) == NotSent(SendProblem.PROVIDER_DOWN)
        await sender.aclose()
    assert server.mailbox.mails == []


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
async def test_a_certificate_of_nobody_we_know(
    letters: Letters, certificate: CertificatePair, tmp_path: Path, security: Security
) -> None:
    context = server_context(certificate)
    known = make_certificate(tmp_path)
    kwargs = {"ssl_context": context} if security is Security.TLS else {"tls_context": context}
    server = MailServer(**kwargs)
    with server:
        sender = sender_with(letters, options_for(server, security, known))
        assert await sender.send(letters.message()) == NotSent(SendProblem.UNREACHABLE)
        await sender.aclose()
    assert server.mailbox.mails == []


async def test_a_certificate_of_another_name(
    letters: Letters, certificate: CertificatePair
) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    with MailServer(tls_context=server_context(certificate)) as server:
        options = options_for(server, Security.STARTTLS, certificate)
        options = replace(options, host="mail.example", lookup=lookup)
        assert await sender_with(letters, options).send(letters.message()) == NotSent(
            SendProblem.UNREACHABLE
        )
    assert server.mailbox.mails == []


@pytest.mark.parametrize(
    "change",
    [
        {"user": "otp", "password": "p", "security": Security.NONE},
        {"user": "otp", "security": Security.TLS},
        {"password": "p", "security": Security.TLS},
        {"user": "otp", "password": "ž", "security": Security.TLS},
        {"sender": "nobody"},
        {"sender": "a@b.example\r\nBcc: evil@example.org"},
    ],
    ids=repr,
)
def test_options_that_cannot_work_are_refused(change: dict[str, object]) -> None:
    fine = SmtpOptions("localhost", 25, Security.NONE, FROM)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - any of its messages
        replace(fine, **change)
    assert "evil" not in str(caught.value)


def test_a_password_is_not_shown() -> None:
    options = SmtpOptions("localhost", 465, Security.TLS, FROM, user=USER, password=PASSWORD)
    assert PASSWORD not in repr(options)
