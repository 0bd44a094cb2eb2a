"""Web sockets of clients: which are open, whose session each is bound to, and the one-time tokens.

In memory, of this process: a socket ends with it. Sessions are named by their digests. Nothing here
blocks, so each method is one step.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otp_server.domain.account import digest_of
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TOKEN_LIFE_S = 60
TOKENS_MAX = 10_000
"""Tokens held at once. Past that the oldest goes: 1 250 sessions with 8 tokens each push out
everybody's. Each token is a call, and ``svc.calls_per_address`` allows an address 300 within a
token's life: it takes 34 addresses. Who keeps cookies opens by the cookie all the same."""
TOKENS_PER_SESSION_MAX = 8
_RANDOM_BYTES = 16

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Socket:
    session_digest: bytes
    end: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Grant:
    session_digest: bytes
    ends_s: float


class SocketRegistry:
    """One a server. Whoever keeps the sockets binds and unbinds them."""

    def __init__(self) -> None:
        self._sockets: dict[str, _Socket] = {}
        self._of_session: dict[bytes, set[str]] = {}
        self._grants: dict[bytes, _Grant] = {}  # by a token's digest, the oldest first
        self._granted: dict[bytes, dict[bytes, None]] = {}  # a session's, the oldest first

    @property
    def count(self) -> int:
        """Open sockets."""
        return len(self._sockets)

    def grant(self, session_digest: bytes, now_s: float) -> str:
        """A token that binds one socket to the session, within ``TOKEN_LIFE_S``.

        The oldest of a session's ``TOKENS_PER_SESSION_MAX`` goes. ``now_s``: any clock's seconds
        that never go back, the same that ``redeem`` is given.
        """
        self._drop_late(now_s)
        held = self._granted.get(session_digest, {})
        if len(held) >= TOKENS_PER_SESSION_MAX:
            self._drop(next(iter(held)))
        elif len(self._grants) >= TOKENS_MAX:
            self._drop(next(iter(self._grants)))
        token = secrets.token_urlsafe(_RANDOM_BYTES)
        digest = digest_of(token)
        self._grants[digest] = _Grant(session_digest, now_s + TOKEN_LIFE_S)
        self._granted.setdefault(session_digest, {})[digest] = None
        return token

    def redeem(self, token: str, now_s: float) -> bytes | None:
        """Use a token up: the digest of its session; None for one that is none, used or late.

        The session may have ended meanwhile.
        """
        digest = digest_of(token)
        grant = self._grants.get(digest)
        if grant is None:
            return None
        self._drop(digest)
        return grant.session_digest if now_s < grant.ends_s else None

    def bind(self, session_digest: bytes, end: Callable[[], None]) -> str:
        """Note an open socket; its new ``socket_id``, 128 random bits in 22 characters.

        ``end`` is called, once at most, when the session ends; it does not block, and the socket
        is unbound by then. Bind first and find the session then: if it has ended, nobody will tell.
        Follow by ``unbind`` when the socket closes.
        """
        socket_id = secrets.token_urlsafe(_RANDOM_BYTES)
        self._sockets[socket_id] = _Socket(session_digest, end)
        self._of_session.setdefault(session_digest, set()).add(socket_id)
        return socket_id

    def unbind(self, socket_id: str) -> None:
        """Forget a socket. Idempotent."""
        socket = self._sockets.pop(socket_id, None)
        if socket is not None:
            held = self._of_session[socket.session_digest]
            held.discard(socket_id)
            if not held:
                del self._of_session[socket.session_digest]

    def is_bound(self, socket_id: str, session_digest: bytes) -> bool:
        """Whether it is an open socket of this session."""
        socket = self._sockets.get(socket_id)
        return socket is not None and hmac.compare_digest(socket.session_digest, session_digest)

    def session_of(self, socket_id: str) -> bytes | None:
        """The digest of an open socket's session: it changes when its client signs in."""
        socket = self._sockets.get(socket_id)
        return None if socket is None else socket.session_digest

    def move(self, old_digest: bytes, new_digest: bytes, socket_id: str | None) -> None:
        """The client of a session signed in: this socket of the old session is the new one's.

        Every other socket of the old session ends, as do its tokens: whoever planted that session
        may hold them. The client's other tabs connect anew with the new session's cookie. A
        ``socket_id`` that is not of the old session is passed over.
        """
        if socket_id is not None and self.is_bound(socket_id, old_digest):
            end = self._sockets[socket_id].end
            self.unbind(socket_id)
            self._sockets[socket_id] = _Socket(new_digest, end)
            self._of_session.setdefault(new_digest, set()).add(socket_id)
        self.end([old_digest])

    def end(self, session_digests: Iterable[bytes]) -> None:
        """The sessions ended: so do their sockets and tokens."""
        for session_digest in session_digests:
            self._drop_granted(session_digest)
            for socket_id in list(self._of_session.get(session_digest, ())):
                socket = self._sockets[socket_id]
                self.unbind(socket_id)
                try:
                    socket.end()
                except Exception:
                    log.exception("a socket was not told that its session ended")

    def _drop_late(self, now_s: float) -> None:
        while self._grants:
            digest, grant = next(iter(self._grants.items()))
            if now_s < grant.ends_s:
                return
            self._drop(digest)

    def _drop_granted(self, session_digest: bytes) -> None:
        for digest in list(self._granted.get(session_digest, ())):
            self._drop(digest)

    def _drop(self, digest: bytes) -> None:
        grant = self._grants.pop(digest)
        held = self._granted[grant.session_digest]
        del held[digest]
        if not held:
            del self._granted[grant.session_digest]
