"""The sequential model of codes of accounts: what the rules say, without a store."""

from __future__ import annotations

from dataclasses import dataclass, field

from otp_server.domain.budget import OUTBOX_MARGIN_MS, wait_after_ms
from otp_server.domain.process import FailureReason

NOTICE_MS = 86_400_000


@dataclass
class ModelCode:
    """A code of a session, for an e-mail; ``end``: None while it may be right."""

    secret: str
    client: int
    session: int
    email: str
    method: str
    is_decoy: bool
    created_ms: int
    expires_ms: int
    attempts: int = 0
    end: FailureReason | str | None = None
    queued: bool = True

    def is_open(self, now_ms: int) -> bool:
        return self.end is None and now_ms < self.expires_ms

    def finish(self, end: FailureReason | str) -> None:
        self.end, self.queued = end, False


@dataclass
class ModelClient:
    """A web client; its session is a number that a sign-in replaces. Dead: its socket ended."""

    session: int
    email: str | None = None
    is_dead: bool = False


@dataclass
class Model:
    """Everything. ``passwords``: of the e-mails that have an account, and how often changed."""

    reveal: bool
    attempts_max: int
    ttl_ms: int
    windows: tuple[tuple[int, int], ...]
    failures_max: int
    passwords: dict[str, tuple[str, int]]
    clients: list[ModelClient] = field(default_factory=list)
    codes: list[ModelCode] = field(default_factory=list)
    stamps: dict[str, list[int]] = field(default_factory=dict)
    failures: dict[str, tuple[int, int]] = field(default_factory=dict)
    notices: list[tuple[str, int]] = field(default_factory=list)
    last_session: int = 0

    def arrive(self, email: str | None = None) -> None:
        self.last_session += 1
        self.clients.append(ModelClient(self.last_session, email))

    def before_limits(self, client: int, email: str) -> str | None:
        """What refuses a call before anything is counted: the socket, the account."""
        if self.clients[client].is_dead:
            return "invalid_socket"
        return "NoUser" if self.reveal and email not in self.passwords else None

    # Sending.

    def send_word(self, client: int, email: str, now_ms: int) -> str:
        before = self.before_limits(client, email)
        if before == "invalid_socket":
            return before
        stamps = self.stamps.get(email, [])
        full = any(
            sum(now_ms - period_ms < at_ms for at_ms in stamps) >= limit
            for limit, period_ms in self.windows
        )
        if full:
            return "rate_limited"
        return before or "SecretSent"

    def charge_send(self, email: str, now_ms: int) -> None:
        self.stamps.setdefault(email, []).append(now_ms)

    def send(self, secret: str, client: int, email: str, method: str, now_ms: int) -> None:
        session = self.clients[client].session
        for code in self.codes:
            same = (code.session, code.email, code.method) == (session, email, method)
            if same and code.is_open(now_ms):
                code.finish(FailureReason.SUPERSEDED)
        is_decoy = email not in self.passwords
        expires_ms = now_ms + self.ttl_ms
        self.codes.append(
            ModelCode(secret, client, session, email, method, is_decoy, now_ms, expires_ms)
        )

    # Attempts.

    def attempt(
        self, client: int, email: str, code: ModelCode | None, *, right: bool, now_ms: int
    ) -> str:
        """An attempt with the secret of ``code`` as far as check and change are one: a word."""
        before = self.before_limits(client, email)
        if before is not None:
            return before
        whose = self.clients[client].session, email
        if code is None or (code.session, code.email) != whose or not code.is_open(now_ms):
            return "WrongCode"
        failures, last_ms = self.failures.get(email, (0, now_ms))
        if failures >= self.failures_max:
            return "contact_locked"
        if failures and last_ms + wait_after_ms(failures) > now_ms:
            return "rate_limited"
        if right and not code.is_decoy:
            return "right"
        code.attempts += 1
        self.failures[email] = failures + 1, max(last_ms, now_ms)
        if code.attempts == self.attempts_max:
            code.finish(FailureReason.EXHAUSTED)
        return "WrongCode"

    def checked(self, code: ModelCode, now_ms: int) -> None:
        """A check was right: whoever has the code need not wait before using it."""
        if code.email in self.failures:
            failures, last_ms = self.failures[code.email]
            last_ms = max(last_ms, now_ms)
            self.failures[code.email] = failures, min(last_ms, now_ms - wait_after_ms(failures))

    def changed(self, client: int, code: ModelCode, password: str, now_ms: int) -> None:
        code.finish("accepted")
        for other in self.codes:
            if other.email == code.email and other.is_open(now_ms):
                other.finish(FailureReason.SUPERSEDED)
        self.failures.pop(code.email, None)
        self.passwords[code.email] = password, self.passwords[code.email][1] + 1
        for n, each in enumerate(self.clients):
            if n != client and each.email == code.email:
                each.is_dead = True
        self.last_session += 1
        self.clients[client] = ModelClient(self.last_session, code.email)
        self.notices.append((code.email, now_ms))

    # Delivering.

    def deliver(self, now_ms: int) -> list[str]:
        """A worker's turn: whose mails go out."""
        gone = [code for code in self.codes if code.queued]
        told = [
            code.email
            for code in gone
            if not code.is_decoy
            and code.end is None
            and code.expires_ms - now_ms > OUTBOX_MARGIN_MS
        ]
        for code in gone:
            code.queued = False
        told += [
            email for email, at_ms in self.notices if at_ms + NOTICE_MS - now_ms > OUTBOX_MARGIN_MS
        ]
        self.notices.clear()
        return sorted(told)
