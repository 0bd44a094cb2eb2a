"""One SMTP session, spoken in a thread by smtplib, and how far each mail of it got.

``deliver`` may be ended from another thread by :meth:`SmtpSession.cut`, which shuts the socket down
under it: so a server that drips its replies cannot outstay the deadline, and no final dot leaves
after it.
"""

from __future__ import annotations

import smtplib
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import TYPE_CHECKING

from otp_server.delivery.mail import dot_stuffed

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

_QUIT_S = 1.0


class Security(Enum):
    """How the connection is protected; the words of the configuration."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


class Stage(IntEnum):
    """How far it got."""

    CONNECT = 0
    LOGIN = 1
    MAIL = 2
    RECIPIENT = 3
    DATA = 4
    CONTENT = 5
    """The server said 354: from here on it may have the mail."""
    ANSWERED = 6


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a session goes: checked addresses, and the name TLS must find there."""

    host: str
    addresses: Sequence[str]
    port: int
    security: Security
    context: ssl.SSLContext | None
    login: tuple[str, str] | None = field(repr=False)
    hello: str
    connect_s: float


class Refusal(Exception):
    """The server said no at a stage; ``code`` is its reply code, -1 when it was none."""

    def __init__(self, stage: Stage, code: int) -> None:
        super().__init__(f"{stage.name} {code}")
        self.stage = stage
        self.code = code


class _Smtp(smtplib.SMTP):
    """Closes under a lock, so that ``cut`` cannot meet a descriptor that is another's already."""

    def __init__(self, hello: str, timeout_s: float) -> None:
        self.lock = threading.RLock()
        super().__init__(local_hostname=hello, timeout=timeout_s)

    def close(self) -> None:
        with self.lock:
            super().close()


class SmtpSession:
    """One connection. ``open`` first; one thread at a time, except for ``cut``."""

    def __init__(self, peer: Peer) -> None:
        self.stage = Stage.CONNECT
        self.mails = 0
        self._peer = peer
        self._was_cut = False
        self._smtp = _Smtp(peer.hello, peer.connect_s)

    @property
    def was_cut(self) -> bool:
        """Whether ``cut`` ended it."""
        return self._was_cut

    def open(self, *, timeout_s: float) -> None:
        """Connect, protect, log in. Refusal, OSError or smtplib.SMTPException when it fails.

        ``timeout_s`` is for each step; the whole is bounded by ``cut``.
        """
        try:
            self._open(timeout_s)
        except smtplib.SMTPServerDisconnected:
            raise
        except smtplib.SMTPException as error:  # its text quotes the server
            # Without a code: no way to log in that both know.
            raise Refusal(self.stage, getattr(error, "smtp_code", -1)) from None

    def _open(self, timeout_s: float) -> None:
        peer = self._peer
        self._use(self._connected())
        self._sock().settimeout(timeout_s)
        if peer.security is Security.TLS:
            self._protect()
        self._expect(self._smtp.getreply(), 220)
        self._smtp.ehlo_or_helo_if_needed()
        if peer.security is Security.STARTTLS:
            if not self._smtp.has_extn("starttls"):
                raise Refusal(self.stage, -1)  # or somebody on the way took it out
            self._expect(self._smtp.docmd("STARTTLS"), 220)
            self._protect()
            self._smtp.ehlo_or_helo_if_needed()
        if peer.login is not None:
            self.stage = Stage.LOGIN
            self._smtp.login(*peer.login)

    def _connected(self) -> socket.socket:
        addresses = self._peer.addresses
        failed: OSError = OSError("no address")
        for address in addresses:
            if self._was_cut:
                break
            try:
                return socket.create_connection(
                    (address, self._peer.port), self._peer.connect_s / len(addresses)
                )
            except OSError as error:
                failed = error
        raise failed

    def _sock(self) -> socket.socket:
        if self._smtp.sock is None:
            raise smtplib.SMTPServerDisconnected("closed")
        return self._smtp.sock

    def _protect(self) -> None:
        """Begin TLS; the name of the peer is checked. OSError (``ssl.SSLError``) when it fails."""
        if self._peer.context is None:
            raise ValueError("TLS needs a context")
        wrapped = self._peer.context.wrap_socket(
            self._sock(), server_hostname=self._peer.host, do_handshake_on_connect=False
        )
        self._use(wrapped)
        wrapped.do_handshake()

    def _use(self, sock: socket.socket) -> None:
        """Speak over ``sock``, and forget what was read and learned before (RFC 3207 4.2)."""
        smtp = self._smtp
        with smtp.lock:
            smtp.sock = sock
            smtp.file = None
            smtp.helo_resp = smtp.ehlo_resp = None
            smtp.esmtp_features = {}
            smtp.does_esmtp = False
            if self._was_cut:
                _shut(sock)

    def _expect(self, reply: tuple[int, bytes], *codes: int) -> None:
        if reply[0] not in codes:
            raise Refusal(self.stage, reply[0])

    def deliver(self, sender: str, recipient: str, mail: bytes, *, timeout_s: float) -> None:
        """Hand one mail over; returns when the server took it.

        Refusal, OSError or smtplib.SMTPException otherwise; ``stage`` says how far it got.
        """
        smtp = self._smtp
        self.stage = Stage.MAIL
        self.mails += 1
        self._sock().settimeout(timeout_s)
        self._expect(smtp.mail(sender), 250)
        self.stage = Stage.RECIPIENT
        self._expect(smtp.rcpt(recipient), 250, 251)
        self.stage = Stage.DATA
        self._expect(smtp.docmd("DATA"), 354)
        self.stage = Stage.CONTENT
        smtp.send(dot_stuffed(mail))
        reply = smtp.getreply()
        if reply[0] // 100 not in (2, 4, 5):
            raise smtplib.SMTPServerDisconnected("no final reply")
        self.stage = Stage.ANSWERED
        if reply[0] // 100 != 2:  # noqa: PLR2004 - 2yz is success (RFC 5321 section 4.2.1)
            raise Refusal(self.stage, reply[0])

    def cut(self) -> None:
        """End whatever goes on, from another thread. Nothing leaves after it. Idempotent."""
        with self._smtp.lock:
            self._was_cut = True
            if self._smtp.sock is not None:
                _shut(self._smtp.sock)

    def quit(self) -> None:
        """Take leave and close; waits a second for the reply."""
        with suppress(OSError, smtplib.SMTPException):
            self._sock().settimeout(_QUIT_S)
            self._smtp.quit()
        self._smtp.close()

    def close(self) -> None:
        """Close it without a word; does not block. Idempotent."""
        self._smtp.close()


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        # Not SSLSocket's own: that takes the TLS object away, and what is sent next is in clear.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
