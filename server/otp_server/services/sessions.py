"""Sessions of web clients: begun, found by their ids, signed in by password, ended.

A session id is 256 random bits, told once in a cookie and stored as a digest; only ids that were
issued here count, and only at the host they were issued for (B3). Signing in makes a new session
with a new id, so an id that somebody else planted is worth nothing afterwards. The socket that the
caller names follows it; the others of the old session end, since who planted the id may hold them.

A sign-in, in this order:

1. the limits are charged as for a wrong password, before anything is compared,
2. the account is looked up, then the hash of its password,
3. the password is compared; where there is no account, with one that nobody knows,
4. the session begins, unless the password was changed since step 2,
5. what was charged is given back, unless the password was wrong.

An e-mail without an account goes through the same steps at the same cost (requirement 30).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otp_server.domain.account import Session, digest_of, new_session_id
from otp_server.domain.account_outcome import SignedIn, SignInRefused
from otp_server.domain.audit import Actor
from otp_server.domain.outcome import Reason, Refused
from otp_server.errors import Busy, ErrorKind, StoreUnavailable
from otp_server.services.limit_hits import NOBODY
from otp_server.services.ports.accounts import SignIn
from otp_server.services.session_limits import SignInCharge
from otp_server.services.store_wait import store_wait
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.clock import Clock
    from otp_server.domain.account import User
    from otp_server.domain.account_outcome import SignInOutcome, UserView
    from otp_server.services.accounts import AccountService
    from otp_server.services.ports import SessionStore
    from otp_server.services.ports.accounts import UserKey
    from otp_server.services.session_limits import SessionLimits
    from otp_server.services.sockets import SocketRegistry

_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{43}")
_DAY_MS = 24 * 3600 * 1000
_BUSY_MS = 1000
_UNAVAILABLE = Refused(ErrorKind.UNAVAILABLE, Reason.STORE)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SessionRules:
    """How long sessions last."""

    signed_in_ms: int = 30 * _DAY_MS
    anonymous_ms: int = _DAY_MS


@dataclass(frozen=True, slots=True)
class SessionAsked:
    """What a request says of its session. ``host``: lower case, without a port."""

    host: str
    session_id: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignInAsked:
    """A sign-in as it was sent; ``session`` is the caller's present one, if any.

    ``socket_id``: the caller's own socket, which goes on; one that is not of the session is none.
    """

    session: Session | None
    host: str
    organisation: str
    address: str
    email: str = field(repr=False)
    password: str = field(repr=False)
    socket_id: str | None = None


class SessionService:
    """Begins, finds and ends sessions."""

    def __init__(
        self,
        store: SessionStore,
        *,
        clock: Clock,
        accounts: AccountService,
        limits: SessionLimits,
        sockets: SocketRegistry,
        rules: SessionRules | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._accounts = accounts
        self._limits = limits
        self._sockets = sockets
        self._rules = rules or SessionRules()

    async def find_many(self, asked: Sequence[SessionAsked]) -> list[Session | None]:
        """The sessions, each by index: those that live, and are of the host they are used at.

        Raises StoreUnavailable. What cannot be an id of ours is not looked up.
        """
        digests = [
            digest_of(each.session_id)
            if each.session_id is not None and _SESSION_ID.fullmatch(each.session_id)
            else None
            for each in asked
        ]
        wanted = [digest for digest in digests if digest is not None]
        found = await self._store.find_sessions(wanted, self._clock.now_ms()) if wanted else []
        sessions = iter(found)
        return [
            _at_host(next(sessions), each.host) if digest is not None else None
            for each, digest in zip(asked, digests, strict=True)
        ]

    async def find_by_digest(self, digest: bytes, host: str) -> Session | None:
        """The session a socket is bound to, as ``find_many``. Raises StoreUnavailable."""
        [session] = await self._store.find_sessions([digest], self._clock.now_ms())
        return _at_host(session, host)

    async def begin(
        self, host: str, organisation: str, address: str
    ) -> tuple[str, Session] | Refused:
        """A session that is not signed in, and its id, which is told nowhere else."""
        refused = self._limits.begin_session(organisation, address)
        if refused is not None:
            return refused
        session_id = new_session_id()
        now_ms = self._clock.now_ms()
        session = Session(
            digest=digest_of(session_id),
            organisation=organisation,
            host=host,
            uid=None,
            created_at_ms=now_ms,
            expires_at_ms=now_ms + self._rules.anonymous_ms,
        )
        try:
            await self._store.add_session(session)
        except StoreUnavailable as error:
            log.warning("no session begun", why=str(error))
            return _UNAVAILABLE
        return session_id, session

    def new_signed_in(self, user: User, host: str) -> tuple[str, Session]:
        """A session to be stored for a user who has shown who he is, and its id."""
        session_id = new_session_id()
        now_ms = self._clock.now_ms()
        session = Session(
            digest=digest_of(session_id),
            organisation=user.organisation,
            host=host,
            uid=user.uid,
            created_at_ms=now_ms,
            expires_at_ms=now_ms + self._rules.signed_in_ms,
        )
        return session_id, session

    async def sign_in(self, asked: SignInAsked) -> SignInOutcome:
        """Sign in by password; the caller's session, if any, ends with it.

        Who is cancelled before the password was judged is charged as for a wrong one. A password
        that is changed meanwhile lets nobody in who came with the old one. Raises nothing of the
        store: its failures are outcomes.
        """
        key = self._accounts.key_by_email(asked.organisation, asked.email)
        index = key.email_index or b""
        charged = self._limits.begin_sign_in(asked.organisation, index, asked.address)
        if not isinstance(charged, SignInCharge):
            return charged
        failed = True
        try:
            outcome = await self._judge(asked, key)
            failed = isinstance(outcome, SignInRefused)
        except StoreUnavailable as error:
            log.warning("a sign-in was not judged", why=str(error))
            failed = False
            return _UNAVAILABLE
        except Busy:
            failed = False
            return Refused(ErrorKind.OVERLOADED, Reason.BUSY, _BUSY_MS)
        finally:
            self._limits.end_sign_in(charged, failed=failed)
        return outcome

    async def _judge(self, asked: SignInAsked, key: UserKey) -> SignInOutcome:
        """Steps 2 to 4."""
        user, right = await self._accounts.judge_password(key, asked.password)
        if user is None or not right:
            uid = None if user is None else user.uid
            self._limits.note_wrong(asked.organisation, uid, asked.address)
            return SignInRefused()
        view = self._accounts.view(user)
        if view is None:
            return Refused(ErrorKind.INTERNAL, Reason.KEY_MISSING)
        return await self._begin_signed_in(asked, user, view)

    async def _begin_signed_in(
        self, asked: SignInAsked, user: User, view: UserView
    ) -> SignInOutcome:
        """To its end, whatever the caller does: its old session goes with it."""
        session_id, session = self.new_signed_in(user, asked.host)
        replaced = None if asked.session is None else asked.session.digest
        actor = Actor(f"user:{user.uid}", asked.address)
        with store_wait():
            wanted = SignIn(session, replaced, user.password_version, actor)
            if not await self._store.sign_in(wanted):
                self._limits.note_wrong(asked.organisation, user.uid, asked.address)
                return SignInRefused()
            if replaced is not None:
                self._sockets.move(replaced, session.digest, asked.socket_id)
            return SignedIn(session_id, session, view)
        return _UNAVAILABLE

    async def sign_out(self, session: Session, address: str) -> Refused | None:
        """End a session, and then its sockets; None: it is over.

        Runs to its end, whatever the caller does. Raises nothing of the store.
        """
        actor = Actor(NOBODY if session.uid is None else f"user:{session.uid}", address)
        with store_wait():
            try:
                await self._store.end_session(session.digest, actor, self._clock.now_ms())
            except StoreUnavailable as error:
                log.warning("a session was not ended", why=str(error))
                return _UNAVAILABLE
            self._sockets.end([session.digest])
            return None
        return _UNAVAILABLE


def _at_host(session: Session | None, host: str) -> Session | None:
    """A session is good for its own host only: a cookie taken to another one is none."""
    return session if session is not None and session.host == host else None
