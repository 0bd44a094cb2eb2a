"""A real SMTP server: aiosmtpd in a thread of its own, on a port that was free."""

from __future__ import annotations

import email
import socket
from dataclasses import dataclass, field
from email.policy import default
from typing import TYPE_CHECKING, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine
    from email.message import EmailMessage

    from aiosmtpd.smtp import SMTP, Envelope, Session

USER, PASSWORD = "otp", "a password of tests"


@dataclass
class Mailbox:
    """What was received, with the envelopes and whether it came over TLS."""

    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list)
    over_tls: list[bool] = field(default_factory=list)
    logged_in: list[bool] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - the name aiosmtpd calls
        data = envelope.content
        assert isinstance(data, bytes)
        mail = email.message_from_bytes(data, policy=default)
        self.mails.append(mail)
        self.envelopes.append((envelope.mail_from or "", list(envelope.rcpt_tos)))
        self.over_tls.append(
            session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None
        )
        self.logged_in.append(session.authenticated)
        return "250 OK"


def _right(
    server: object, session: object, envelope: object, mechanism: str, data: object
) -> AuthResult:
    right = data == LoginPassword(USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=False)


class MailServer(Controller):
    """Start with ``with``; ``kwargs`` are those of aiosmtpd's ``SMTP`` and ``Controller``."""

    def __init__(self, *, login: bool = False, **kwargs: object) -> None:
        self.mailbox = Mailbox()
        self._socket = socket.create_server(("127.0.0.1", 0))
        if login:
            kwargs |= {"authenticator": _right}
        super().__init__(
            self.mailbox, hostname="127.0.0.1", port=self._socket.getsockname()[1], **kwargs
        )

    def _create_server(self) -> Coroutine[None, None, asyncio.AbstractServer]:
        return self.loop.create_server(
            self._factory_invoker, sock=self._socket, ssl=self.ssl_context
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
