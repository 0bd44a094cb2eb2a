"""The face of clients' web sockets: who may open one, to whose session it is bound, what is said.

A socket is bound to a session by a one-time token of ``bootstrap.authn`` (``?otak=``) or by the
session's id on the upgrade (``cookies``); a token that is given counts alone. Who has neither is
refused. The socket is bound before its session is looked up: one that ends in between is heard of.

A session that ends closes its sockets at once; one whose time is over, or that the store ended
without a word to this process, at a message or keep-alive (requirement 63): the store is asked
again when its last answer is ``LOOK_AGAIN_S`` old. A sign-in replaces the session and keeps the
socket it names; it closes the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import trio

from otp_server.api.operation import ApiError
from otp_server.api.svc import socket_messages
from otp_server.api.svc.cookies import session_id_of
from otp_server.api.svc.hubs import host_of
from otp_server.api.svc.socket_messages import Asked
from otp_server.domain.account import digest_of
from otp_server.errors import ErrorKind, StoreUnavailable
from otp_server.services.ports.accounts import UserKey
from otp_server.telemetry import get_logger
from otp_server.transport.client_seam import Admission

if TYPE_CHECKING:
    from otp_server.api.svc.origins import Origins
    from otp_server.clock import Clock
    from otp_server.domain.account import Session
    from otp_server.domain.account_outcome import UserView
    from otp_server.services.accounts import AccountService
    from otp_server.services.sessions import SessionService
    from otp_server.services.sockets import SocketRegistry
    from otp_server.transport.client_seam import ClientLink, ClientUpgrade

SUBPROTOCOL = "service"
TOKEN = "otak"  # noqa: S105 - a parameter's name
KEEP_ALIVE_S = 15
LOOK_AGAIN_S = 60
"""How old the store's word on a session may be: 10 000 sockets are 170 look-ups a second."""
_PARAMETERS_MAX = 32

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SocketServices:
    """What the face calls."""

    sessions: SessionService
    accounts: AccountService
    sockets: SocketRegistry
    clock: Clock


class SocketFace:
    """Implements :class:`otp_server.transport.client_seam.ClientSocketFace`."""

    def __init__(self, services: SocketServices, origins: Origins) -> None:
        self._services = services
        self._origins = origins

    async def admit(self, upgrade: ClientUpgrade) -> Admission | ErrorKind:
        """Let in who may open a socket here and shows a session; a token is used up by it.

        Cancellation: the socket is unbound.
        """
        headers = _joined(upgrade)
        try:
            host = host_of(headers)
            self._origins.admit(headers)
            token = _token_of(upgrade.query)
        except ApiError as error:
            return error.kind
        if SUBPROTOCOL not in upgrade.listed(b"sec-websocket-protocol"):
            return ErrorKind.MALFORMED
        digest = self._digest(token, session_id_of(headers))
        if digest is None:
            return ErrorKind.UNAUTHORIZED
        socket = Socket(self._services, digest, host)
        let_in = False
        try:
            let_in = await socket.is_authorised()
        except StoreUnavailable as error:
            log.warning("client socket refused", why=str(error))
            return ErrorKind.UNAVAILABLE
        finally:
            if not let_in:
                socket.closed()
        return Admission(socket, SUBPROTOCOL) if let_in else ErrorKind.UNAUTHORIZED

    def _digest(self, token: str | None, session_id: str | None) -> bytes | None:
        """The digest of the session that the upgrade shows; whether it lives is not known yet."""
        if token is not None:
            return self._services.sockets.redeem(token, self._services.clock.now_ms() / 1000)
        return None if session_id is None else digest_of(session_id)


class Socket:
    """One socket, bound from its making until it is ``closed``.

    Implements :class:`otp_server.transport.client_seam.ClientSession`.
    """

    def __init__(self, services: SocketServices, digest: bytes, host: str) -> None:
        self._services = services
        self._host = host
        self._session: Session | None = None
        self._user: UserView | None = None
        self._link: ClientLink | None = None
        self._ended = False
        self._looked_at = trio.current_time()
        self._said_at = trio.current_time()
        self._id = services.sockets.bind(digest, self._end)

    async def is_authorised(self) -> bool:
        """Whether its session lives, is of its host, and is still its session.

        The store is asked when the session was replaced, and every ``LOOK_AGAIN_S``. Raises
        StoreUnavailable.
        """
        while (digest := self._services.sockets.session_of(self._id)) is not None:
            known = self._session
            if known is not None and known.digest != digest:
                known = None
            if known is not None and trio.current_time() < self._looked_at + LOOK_AGAIN_S:
                return self._services.clock.now_ms() < known.expires_at_ms
            session = await self._services.sessions.find_by_digest(digest, self._host)
            if session is not None:
                if known is None:
                    self._user = await self._user_of(session)
                self._session = session
                self._looked_at = trio.current_time()
            elif self._services.sockets.session_of(self._id) == digest:
                return False
        return False

    async def run(self, link: ClientLink) -> None:
        """Greet, then say something every ``KEEP_ALIVE_S`` while the session lives."""
        self._link = link
        if self._ended:
            self._end()
            return
        self._say_hello()
        look_at = trio.current_time() + KEEP_ALIVE_S
        while True:
            await trio.sleep_until(min(look_at, self._said_at + KEEP_ALIVE_S))
            now = trio.current_time()
            if now >= look_at:
                look_at = now + KEEP_ALIVE_S
                try:
                    if not await self._may_stay():
                        return
                except StoreUnavailable as error:
                    log.debug("a client's session was not read", why=str(error))
            if now >= self._said_at + KEEP_ALIVE_S:
                self._say(socket_messages.keep_alive(self._services.clock.now_ms()))

    async def received(self, text: str) -> None:
        """Answer a message, while the session lives."""
        try:
            if not await self._may_stay():
                return
        except StoreUnavailable:
            self._say(socket_messages.handshake(socket_messages.NOT_NOW))
            return
        match socket_messages.read_message(text):
            case Asked.HELLO:
                self._say_hello()
            case Asked.BIND:
                self._say(socket_messages.bound(self._id))
            case Asked.PING:
                self._say(socket_messages.ping(self._services.clock.now_ms()))
            case str(error):
                self._say(socket_messages.handshake(error))

    def closed(self) -> None:
        """Unbind it."""
        self._services.sockets.unbind(self._id)

    async def _may_stay(self) -> bool:
        """Whether the session lives; if not, the socket closes. Raises StoreUnavailable."""
        if await self.is_authorised():
            return True
        self._end()
        return False

    async def _user_of(self, session: Session) -> UserView | None:
        if session.uid is None:
            return None
        accounts = self._services.accounts
        [user] = await accounts.find_many([UserKey(session.organisation, uid=session.uid)])
        return None if user is None else accounts.view(user)

    def _end(self) -> None:
        """The session is over. Does not block."""
        self._ended = True
        if self._link is not None:
            self._link.close(ErrorKind.UNAUTHORIZED)

    def _say_hello(self) -> None:
        self._say(socket_messages.hello(self._id, self._host, self._user))

    def _say(self, text: str) -> None:
        self._said_at = trio.current_time()
        if self._link is not None:
            self._link.send(text)


def _joined(upgrade: ClientUpgrade) -> dict[str, str]:
    """Headers as requests of the face have them; values of repeated ones are joined."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in upgrade.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _token_of(query: str) -> str | None:
    """The one-time token, if the query has one. ApiError ``malformed`` for more than one."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_PARAMETERS_MAX)
    except ValueError:
        raise ApiError(ErrorKind.MALFORMED) from None
    tokens = [value for name, value in pairs if name == TOKEN]
    if len(tokens) > 1:
        raise ApiError(ErrorKind.MALFORMED)
    return tokens[0] if tokens else None
