"""Accounts: made by the operator, found by their e-mail or uid, shown to their owners.

An e-mail address is stored as every contact is: sealed, and found by its index, under the tenant of
its organisation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otp_server.domain.account import MAIN_ORGANISATION, User, new_uid, tenant_of
from otp_server.domain.account_outcome import UserView
from otp_server.domain.audit import Actor
from otp_server.domain.challenge_type import Channel
from otp_server.domain.client import TENANT
from otp_server.domain.contact import ContactProblem, parse_email, read_email
from otp_server.errors import ContactUnreadable, InvalidFields
from otp_server.services.ports.accounts import UserKey
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.clock import Clock
    from otp_server.services.contacts import ContactVault
    from otp_server.services.password_policy import PasswordPolicy
    from otp_server.services.passwords import PasswordHasher
    from otp_server.services.ports import AccountStore

OPERATOR = Actor("operator")
_UID = re.compile(r"[0-9a-f]{16}")
_NAME_CHARACTERS_MAX = 200
_PAGE = 1000
_NO_EMAIL = ""
"""What an e-mail that cannot be one is looked up as: no account has it."""
_NO_UID = ""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to make, as the operator says it; without a password its owner sets one."""

    email: str = field(repr=False)
    organisation: str = MAIN_ORGANISATION
    firstname: str = field(default="", repr=False)
    lastname: str = field(default="", repr=False)
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account in the operator's list; ``email`` None: no configured key opens it any more."""

    uid: str
    organisation: str
    email: str | None = field(repr=False)
    firstname: str = field(repr=False)
    lastname: str = field(repr=False)
    has_password: bool


class AccountService:
    """The registry of accounts."""

    def __init__(
        self,
        store: AccountStore,
        *,
        vault: ContactVault,
        clock: Clock,
        hasher: PasswordHasher,
        policy: PasswordPolicy,
    ) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._hasher = hasher
        self._policy = policy

    async def add(self, new: NewAccount) -> User:
        """Make an account.

        Raises:
            InvalidFields: something is not as it must be, the password too; nothing was stored.
            AlreadyExists: the organisation has an account with this e-mail.
            StoreUnavailable: nothing was stored.
            Busy: too many passwords are being judged.
        """
        problems = _name_problems(new)
        read = read_email(new.email)
        email = read if isinstance(read, str) else None
        if isinstance(read, ContactProblem):
            problems["email"] = [read.text]
        if new.password is not None:
            about = (email or "", new.firstname, new.lastname)
            weak = await self._policy.problems_of(new.password, about=about)
            if weak:
                problems["password"] = weak
        if problems or email is None:
            raise InvalidFields(problems)
        tenant = tenant_of(new.organisation)
        hashed = None if new.password is None else await self._hasher.hash(new.password)
        user = User(
            uid=new_uid(),
            organisation=new.organisation,
            email=self._vault.seal(tenant, Channel.EMAIL, email),
            firstname=new.firstname,
            lastname=new.lastname,
            created_at_ms=self._clock.now_ms(),
            password_version=0 if hashed is None else 1,
        )
        await self._store.add_user(user, hashed, OPERATOR)
        return user

    async def list_all(self) -> list[AccountRow]:
        """All accounts, by uid. Raises StoreUnavailable."""
        rows: list[AccountRow] = []
        after = ""
        while page := await self._store.list_users(after_uid=after, limit=_PAGE):
            rows += [self._row(user) for user in page]
            after = page[-1].uid
        return rows

    def key_by_email(self, organisation: str, email: str) -> UserKey:
        """What an account is asked for by; a text that is no e-mail finds none, at equal cost."""
        index = self._vault.index(
            tenant_of(organisation), Channel.EMAIL, parse_email(email) or _NO_EMAIL
        )
        return UserKey(organisation, email_index=index)

    def key_by_name(self, organisation: str, name: str) -> UserKey:
        """The same, by a uid or an e-mail, whichever it is."""
        if _UID.fullmatch(name) is not None:
            return UserKey(organisation, uid=name)
        return self.key_by_email(organisation, name)

    async def find_many(self, keys: Sequence[UserKey]) -> list[User | None]:
        """The accounts, each by index; None where there is none. Raises StoreUnavailable."""
        return await self._store.find_users(keys)

    async def judge_password(self, key: UserKey, password: str) -> tuple[User | None, bool]:
        """The account, and whether this is its password: the same work where there is none.

        The user is read before the hash, so that a password changed in between is newer than the
        user's ``password_version``. Raises Busy and StoreUnavailable.
        """
        with self._hasher.reserve() as place:
            [user] = await self._store.find_users([key])
            stored = await self._store.find_password(_NO_UID if user is None else user.uid)
            return user, await place.verify(stored, password)

    def view(self, user: User) -> UserView | None:
        """An account for its owner; None: its e-mail does not open, which is logged."""
        email = self._open(user)
        if email is None:
            return None
        return UserView(user.uid, user.organisation, email, user.firstname, user.lastname)

    def _open(self, user: User) -> str | None:
        sealed, tenant = user.email.sealed, tenant_of(user.organisation)
        try:
            return self._vault.unseal(tenant, Channel.EMAIL, sealed)
        except ContactUnreadable as error:
            log.warning("an account cannot be opened", uid=user.uid, why=str(error))
            return None

    def _row(self, user: User) -> AccountRow:
        return AccountRow(
            user.uid,
            user.organisation,
            self._open(user),
            user.firstname,
            user.lastname,
            has_password=user.password_version > 0,
        )


def _name_problems(new: NewAccount) -> dict[str, Sequence[str]]:
    problems: dict[str, Sequence[str]] = {}
    if TENANT.fullmatch(new.organisation) is None:
        problems["organisation"] = [
            "it must be 1 to 63 of a-z 0-9 _ -, and begin with a letter or digit"
        ]
    for name, text in (("firstname", new.firstname), ("lastname", new.lastname)):
        if len(text) > _NAME_CHARACTERS_MAX or not text.isprintable():
            problems[name] = [f"it must be {_NAME_CHARACTERS_MAX} printable characters at most"]
    return problems
