"""E-mail over SMTP: blocking sessions in threads of their own, ended at the deadline.

What certainly happened is told by how far the session got (``smtp_session.Stage``): before the
server's 354 it has nothing of the mail; from there to its reply nobody knows.

A session that worked is kept for a few seconds for the next mail: with STARTTLS and a login that is
4 round trips instead of 10. A kept one that turns out closed is replaced; it had said nothing.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from otp_server.delivery.mail import UnfitMessage, mail_bytes, sender_address
from otp_server.delivery.resolve import checked_addresses, system_lookup
from otp_server.delivery.smtp_session import Peer, Refusal, Security, SmtpSession, Stage
from otp_server.delivery.time_left import remaining_s
from otp_server.services.ports.delivery import NotSent, SendProblem, Sent, Uncertain
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from pathlib import Path

    from otp_server.clock import Clock
    from otp_server.delivery.resolve import Lookup
    from otp_server.services.ports.delivery import Message, SendOutcome

SESSION_IDLE_S = 10.0
SESSION_MAILS_MAX = 100
_RETRY_MS = 1000
_BACKSTOP_S = 5.0
_TEMPORARY = range(400, 500)
_SERVICE_CLOSING = 421
_NO_SUCH_MAILBOX = frozenset({550, 551, 553})
_LOGIN_NEEDED = frozenset({530, 534, 535, 538})

_CLOSED_MEANWHILE = (
    NotSent(SendProblem.UNREACHABLE, _RETRY_MS),
    NotSent(SendProblem.PROVIDER_DOWN, _RETRY_MS),
)
"""What became of a mail that a kept session did not take: nothing."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SmtpOptions:
    """How mail is handed to a relay. ValueError for what cannot work or would show a password.

    ``sender`` is ``Name <address>`` or the address alone. ``ca_file`` replaces the system's
    certificate authorities.
    """

    host: str
    port: int
    security: Security
    sender: str
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None
    hello: str = ""
    concurrency: int = 8
    deadline_s: float = 20.0
    connect_s: float = 5.0
    lookup: Lookup = field(default=system_lookup, repr=False)

    def __post_init__(self) -> None:
        sender_address(self.sender)
        if bool(self.user) != bool(self.password):
            raise ValueError("SMTP needs both a user and a password, or neither")
        if self.user and self.security is Security.NONE:
            raise ValueError("a password is not sent over a connection without TLS")
        if not (self.user.isascii() and self.password.isascii()):
            raise ValueError("SMTP takes only ASCII users and passwords")


class SmtpSender:
    """Hands mail to one relay."""

    name = "smtp"

    def __init__(self, options: SmtpOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._from = sender_address(options.sender)
        self._hello = options.hello or socket.gethostname() or "localhost"
        self._context: ssl.SSLContext | None = None
        if options.security is not Security.NONE:
            self._context = ssl.create_default_context(cafile=options.ca_file)
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._threads = trio.CapacityLimiter(options.concurrency)
        self._idle: list[tuple[float, SmtpSession]] = []

    @property
    def concurrency(self) -> int:
        """How many messages it takes at once."""
        return self._options.concurrency

    @property
    def deadline_s(self) -> float:
        """The longest that ``send`` takes."""
        return self._options.deadline_s

    async def send(self, message: Message) -> SendOutcome:
        """Hand it over. Raises nothing; see ``services.ports.delivery.Sender``.

        Cancellation: ends the session at once, whatever it does.
        """
        limit_s = min(self._options.deadline_s, remaining_s(message, self._clock))
        if limit_s <= 0:
            return NotSent(SendProblem.EXPIRED)
        deadline = trio.current_time() + limit_s
        session = self._kept()
        if session is not None:
            outcome = await self._run(session, message, deadline)
            if session.stage is not Stage.MAIL or outcome not in _CLOSED_MEANWHILE:
                return outcome
        return await self._send_anew(message, deadline)

    async def _send_anew(self, message: Message, deadline: float) -> SendOutcome:
        options = self._options
        addresses: list[str] | None = None
        try:
            with trio.move_on_at(deadline):
                addresses = await checked_addresses(
                    options.host, options.port, allowed=None, lookup=options.lookup
                )
        except OSError:
            return NotSent(SendProblem.UNREACHABLE, _RETRY_MS)
        if addresses is None:
            return NotSent(SendProblem.TIMEOUT, _RETRY_MS)
        peer = Peer(
            options.host,
            addresses,
            options.port,
            options.security,
            self._context,
            (options.user, options.password) if options.user else None,
            self._hello,
            max(0.001, min(options.connect_s, deadline - trio.current_time())),
        )
        return await self._run(SmtpSession(peer), message, deadline)

    async def _run(self, session: SmtpSession, message: Message, deadline: float) -> SendOutcome:
        """The dialogue in a thread, cut at the deadline or when cancelled."""
        over = False

        async def cut_at_deadline() -> None:
            try:
                await trio.sleep_until(deadline)
            finally:
                if not over:
                    session.cut()

        now_ms = self._clock.now_ms()
        # The cut comes before a socket's own timeout, which smtplib tells as a broken session.
        step_s = max(0.0, deadline - trio.current_time()) + _BACKSTOP_S
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut_at_deadline)
            outcome = await trio.to_thread.run_sync(
                self._dialogue, session, message, now_ms, step_s, limiter=self._threads
            )
            over = True
            nursery.cancel_scope.cancel()
        if isinstance(outcome, Sent) and session.mails < SESSION_MAILS_MAX:
            self._idle.append((trio.current_time(), session))
        else:
            session.close()
        return outcome

    def _dialogue(
        self, session: SmtpSession, message: Message, now_ms: int, step_s: float
    ) -> SendOutcome:
        """In a thread: no clock and no Trio here."""
        try:
            mail = mail_bytes(message, sender=self._options.sender, now_ms=now_ms)
        except UnfitMessage as error:
            log.warning("unfit message", provider=self.name, why=str(error))
            return NotSent(SendProblem.REJECTED)
        try:
            if session.mails == 0:
                session.open(timeout_s=step_s)
            session.deliver(self._from, message.to, mail, timeout_s=step_s)
        except Refusal as refusal:
            outcome: SendOutcome = judge_refusal(refusal)
            log.warning(
                "refused", provider=self.name, status=refusal.code, stage=refusal.stage.name
            )
        except (OSError, smtplib.SMTPException) as error:
            outcome = judge_loss(session, error)
            log.warning("session lost", provider=self.name, stage=session.stage.name)
        else:
            return Sent()
        return outcome

    def _kept(self) -> SmtpSession | None:
        """The session used last, when it is not too old; the older ones are closed."""
        now = trio.current_time()
        kept = None
        if self._idle and now - self._idle[-1][0] < SESSION_IDLE_S:
            _, kept = self._idle.pop()
        fresh = [(since, idle) for since, idle in self._idle if now - since < SESSION_IDLE_S]
        for since, idle in self._idle:
            if now - since >= SESSION_IDLE_S:
                idle.close()
        self._idle = fresh
        return kept

    async def aclose(self) -> None:
        """Take leave of idle sessions. Idempotent."""
        idle, self._idle = self._idle, []
        for _, session in idle:
            await trio.to_thread.run_sync(session.quit, limiter=self._threads)


def judge_refusal(refusal: Refusal) -> NotSent:
    """What a reply means that is no success (RFC 5321 section 4.2): the server has no mail.

    A temporary one is worth another try, at the end of the content too: many greylist there.
    """
    stage, code = refusal.stage, refusal.code
    problem = SendProblem.REJECTED
    if code == _SERVICE_CLOSING or stage is Stage.CONNECT:
        problem = SendProblem.PROVIDER_DOWN
    elif code in _LOGIN_NEEDED or (stage is Stage.LOGIN and code not in _TEMPORARY):
        problem = SendProblem.AUTH
    elif stage is Stage.LOGIN:
        problem = SendProblem.PROVIDER_DOWN
    elif stage is Stage.RECIPIENT and code in _NO_SUCH_MAILBOX:
        problem = SendProblem.INVALID_RECIPIENT
    return NotSent(problem, _RETRY_MS if code in _TEMPORARY else None)


def judge_loss(session: SmtpSession, error: Exception) -> NotSent | Uncertain:
    """What it means that a session broke, or was cut at the deadline."""
    late = session.was_cut or isinstance(error, TimeoutError)
    if session.stage >= Stage.CONTENT:
        return Uncertain(SendProblem.TIMEOUT if late else SendProblem.UNKNOWN)
    if late:
        return NotSent(SendProblem.TIMEOUT, _RETRY_MS)
    if isinstance(error, ssl.SSLCertVerificationError):
        return NotSent(SendProblem.UNREACHABLE)
    return NotSent(SendProblem.UNREACHABLE, _RETRY_MS)
