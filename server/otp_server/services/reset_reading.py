"""Who calls, and about which account: the checks that come before all others (requirement 28)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from otp_server.domain.account import tenant_of
from otp_server.domain.audit import Actor
from otp_server.domain.outcome import Reason, Refused
from otp_server.errors import ErrorKind, StoreUnavailable
from otp_server.services.limit_hits import NOBODY, Hitter
from otp_server.services.reset_calls import Call, Change, Check, Send
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.account import Session, User
    from otp_server.services.accounts import AccountService
    from otp_server.services.ports import AccountStore
    from otp_server.services.ports.accounts import UserKey
    from otp_server.services.sockets import SocketRegistry

C = TypeVar("C", bound=Call)

_NO_SOCKET = Refused(ErrorKind.INVALID_SOCKET, Reason.UNKNOWN)


log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Asked(Generic[C]):
    """A call from a session with an open socket; ``place`` is the one of its outcome.

    ``email_index`` None: a uid that no account has was given, and nothing can be found by it.
    ``looked_up``: whether the account was looked for; if not, the e-mail alone says whose it is.
    """

    place: int
    call: C
    session: Session
    user: User | None
    email_index: bytes | None
    looked_up: bool = True

    @property
    def tenant(self) -> str:
        """Of the caller's organisation."""
        return tenant_of(self.session.organisation)

    @property
    def hitter(self) -> Hitter:
        """Who asks, for the trail of limits."""
        return Hitter(self.tenant, NOBODY, self.call.address)

    @property
    def actor(self) -> Actor:
        """Who asks, for the trail, as long as nothing is proven."""
        return Actor(NOBODY, self.call.address)


class ResetReader:
    """Reads calls."""

    def __init__(
        self, store: AccountStore, accounts: AccountService, sockets: SocketRegistry
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._sockets = sockets

    async def read_many(
        self, calls: Sequence[C], *, failed: Refused, look_up: bool = True
    ) -> tuple[list[Asked[C]], dict[int, Refused]]:
        """The calls whose socket is bound to their session, each with its account if there is one.

        Beside them the refusals of the others, by place: ``failed`` where the store was. One
        look-up for all, and none at all where no socket is bound, or without ``look_up``.
        """
        keys: list[tuple[int, C, Session, UserKey]] = []
        refused: dict[int, Refused] = {}
        for place, call in enumerate(calls):
            session = call.session
            if session is None or not self._sockets.is_bound(call.socket_id, session.digest):
                refused[place] = _NO_SOCKET
            else:
                keys.append((place, call, session, self._key(call, session.organisation)))
        if not keys:
            return [], refused
        if not look_up:
            return [
                Asked(place, call, session, None, key.email_index, looked_up=False)
                for place, call, session, key in keys
            ], refused
        try:
            users = await self._store.find_users([key for *_, key in keys])
        except StoreUnavailable as error:
            log.warning("accounts not found", count=len(keys), why=str(error))
            return [], refused | {place: failed for place, *_ in keys}
        asked = [
            Asked(place, call, session, user, key.email_index if user is None else user.email.index)
            for (place, call, session, key), user in zip(keys, users, strict=True)
        ]
        return asked, refused

    def _key(self, call: Call, organisation: str) -> UserKey:
        match call:
            case Send(email=email) | Check(email=email):
                return self._accounts.key_by_email(organisation, email)
            case Change(uid=name):
                return self._accounts.key_by_name(organisation, name)
        raise TypeError(type(call).__name__)
