"""Small accounts, sessions and resets for the tests of stores. Numbers stand for themselves.

A user ``n`` has the uid ``uid(n)`` and the e-mail ``contact(EMAIL, n)`` of ``rest_samples``; a
reset ``n`` the process ``uuid(n)`` and the secret ``secret(n)``; a session ``n`` the digest
``session(n).digest``. Times are milliseconds after ``T0``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from otp_server.domain.account import Session, User, tenant_of
from otp_server.domain.audit import Actor
from otp_server.services.ports.accounts import SignIn, UserKey
from otp_server.services.ports.processes import Counted, NewAttempt, NewProcess, Verdict
from otp_server.services.ports.resets import NewReset, PasswordChange, Reset
from tests.contracts.rest_samples import EMAIL, T0, TTL, contact, new_process, plan, query, uuid
from tests.support.changed_values import replace

if TYPE_CHECKING:
    from otp_server.domain.challenge_type import Plan
    from otp_server.domain.process import Process
    from otp_server.services.ports import Store
    from otp_server.services.ports.processes import Settled
    from otp_server.services.ports.resets import Changed

MAIN = "main"
SVC = tenant_of(MAIN)
VISITOR = Actor("svc", "192.0.2.9")
LIFE = 86_400_000
"""Of sessions and of notices."""
CODES = plan(EMAIL, type_id=0, max_attempts=5, attempts=5)
NOTICES = plan(EMAIL, type_id=-1, max_attempts=0, attempts=1)


def uid(n: int) -> str:
    return f"{n:016x}"


def user(n: int = 1, *, organisation: str = MAIN, mail: int | None = None, at: int = 0) -> User:
    return User(
        uid=uid(n),
        organisation=organisation,
        email=contact(EMAIL, n if mail is None else mail),
        firstname=f"Zoë {n}",
        lastname="Ångström",
        created_at_ms=T0 + at,
    )


def by_uid(n: int, organisation: str = MAIN) -> UserKey:
    return UserKey(organisation, uid=uid(n))


def by_email(n: int, organisation: str = MAIN) -> UserKey:
    return UserKey(organisation, email_index=contact(EMAIL, n).index)


def digest(what: str, n: int) -> bytes:
    return hashlib.sha256(f"{what} {n}".encode()).digest()


def secret(n: int) -> bytes:
    """The digest of a secret."""
    return digest("secret", n)


def session(
    n: int, *, of: int | None = None, organisation: str = MAIN, at: int = 0, life: int = LIFE
) -> Session:
    """A session, signed in as the user ``of``."""
    return Session(
        digest=digest("session", n),
        organisation=organisation,
        host="hub.example",
        uid=None if of is None else uid(of),
        created_at_ms=T0 + at,
        expires_at_ms=T0 + at + life,
    )


def svc_process(
    n: int, *, to: int, of: Plan = CODES, at: int = 0, ttl: int = TTL, organisation: str = MAIN
) -> NewProcess:
    """A process of the svc face: to the e-mail ``to``, ending none by itself."""
    item = new_process(n, of=of, to=None, mail=to, at=at, ttl=ttl, tenant=tenant_of(organisation))
    return replace(item, actor=VISITOR, supersedes=False)


def reset(
    n: int,
    *,
    of: int | None = 1,
    to: int | None = None,
    by: int = 0,
    method: str = "",
    at: int = 0,
    ttl: int = TTL,
    organisation: str = MAIN,
) -> NewReset:
    """A reset for the user ``of`` (None: a decoy) to the e-mail ``to``, in the session ``by``."""
    to = to if to is not None else of if of is not None else 99
    process = svc_process(n, to=to, at=at, ttl=ttl, organisation=organisation)
    index = contact(EMAIL, to).index
    return NewReset(
        process,
        Reset(
            secret_digest=secret(n),
            tenant=process.tenant,
            uuid=process.uuid,
            uid=None if of is None else uid(of),
            email_index=index,
            session_digest=session(by).digest,
            method=method,
            created_at_ms=process.created_at_ms,
            expires_at_ms=process.expires_at_ms,
        ),
    )


def notice(n: int, *, to: int = 1, at: int = 0, organisation: str = MAIN) -> NewProcess:
    """The notice ``n`` that the password was changed."""
    item = svc_process(n + 10_000, to=to, of=NOTICES, at=at, ttl=LIFE, organisation=organisation)
    return replace(item, counted_indexes=())


def says(counted: Counted, *, right: bool = True, at: int = 0) -> Verdict:
    return Verdict(counted, right, T0 + at, VISITOR)


def change(
    counted: Counted,
    n: int,
    *,
    of: int = 1,
    right: bool = True,
    at: int = 0,
    organisation: str = MAIN,
) -> PasswordChange:
    """To the password ``hash n`` of the user ``of``, with the session and the notice ``n``."""
    return PasswordChange(
        verdict=says(counted, right=right, at=at),
        uid=uid(of),
        password=f"hash {n}",
        session=session(n, of=of, at=at, organisation=organisation),
        notice=notice(n, to=of, at=at, organisation=organisation),
    )


# Whole steps.


async def add_user(store: Store, n: int = 1, password: str | None = "hash 0") -> User:  # noqa: S107 - a sample
    await store.add_user(user(n), password, VISITOR)
    [found] = await store.find_users([by_uid(n)])
    assert found is not None
    return found


async def sign_in(
    store: Store,
    n: int,
    *,
    of: int = 1,
    replaced: int | None = None,
    version: int = 1,
    at: int = 0,
) -> bool:
    """The session ``n`` begins, in place of the session ``replaced``."""
    before = None if replaced is None else session(replaced).digest
    return await store.sign_in(SignIn(session(n, of=of, at=at), before, version, VISITOR))


async def live(store: Store, *numbers: int, at: int = 0) -> list[int]:
    """Which of the sessions are there."""
    found = await store.find_sessions([session(n).digest for n in numbers], T0 + at)
    return [n for n, each in zip(numbers, found, strict=True) if each is not None]


async def count(store: Store, n: int, *, at: int = 0, tenant: str = SVC) -> Counted:
    """An attempt on the reset ``n``; it must be counted."""
    [outcome] = await store.count_attempts([NewAttempt(uuid(n), tenant, T0 + at, VISITOR)])
    assert isinstance(outcome, Counted), outcome
    return outcome


async def check(store: Store, counted: Counted, *, right: bool = True, at: int = 0) -> Settled:
    [settled] = await store.settle_checks([says(counted, right=right, at=at)])
    return settled


async def change_one(store: Store, item: PasswordChange) -> Changed:
    [changed] = await store.change_passwords([item])
    return changed


async def process(store: Store, n: int, tenant: str = SVC) -> Process:
    """It must be there."""
    found = await store.find_process(tenant, uuid(n))
    assert found is not None
    return found


async def messages(store: Store, n: int, tenant: str = SVC) -> list[str]:
    """The states of the process's messages."""
    of = await process(store, n, tenant)
    for hit, deliveries in await store.search_processes(
        query(type_id=of.plan.type_id, tenant=tenant, limit=10_000)
    ):
        if hit.uuid == of.uuid:
            return [delivery.state for delivery in deliveries]
    raise AssertionError("the search did not find it")


async def lines(store: Store, after: int = 0) -> list[tuple[str, str, str, str]]:
    """The trail: tenant, action, subject and outcome."""
    entries = [entry for _, entry, _, _ in await store.audit_after(after, 10**6)]
    return [(each.tenant, each.action, each.subject, each.outcome) for each in entries]


async def length(store: Store) -> int:
    """How long the trail is."""
    return len(await store.audit_after(0, 10**6))
