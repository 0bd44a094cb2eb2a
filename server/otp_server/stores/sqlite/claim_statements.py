"""Idempotency claims in SQL. One whose time is over is as if it were not there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from otp_server.stores.bounds import SWEEP_ROWS_MAX
from otp_server.stores.process_rules import TakenClaim

if TYPE_CHECKING:
    import apsw

    from otp_server.services.ports.processes import Counted, IdempotencyClaim

_WHICH = " WHERE tenant = ? AND client_id = ? AND operation = ? AND key = ?"
_FIND = (
    "SELECT fingerprint, uuid, route, generation, attempt, counted_at_ms, accepted"  # noqa: S608 - our own words
    f" FROM idempotency_claims{_WHICH} AND expires_at_ms > ?"
)
_PUT = (
    "INSERT OR REPLACE INTO idempotency_claims (tenant, client_id, operation, key, fingerprint,"
    " expires_at_ms, uuid, route, generation, attempt, counted_at_ms, accepted)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)"
)
_OF_ATTEMPT = f"{_WHICH} AND uuid = ? AND attempt = ?"
_ANSWER_OF = f"SELECT accepted FROM idempotency_claims{_OF_ATTEMPT}"  # noqa: S608 - our own words
_ANSWER = f"UPDATE idempotency_claims SET accepted = ?{_OF_ATTEMPT}"  # noqa: S608 - our own words
_RELEASE = f"DELETE FROM idempotency_claims{_OF_ATTEMPT}"  # noqa: S608 - our own words
_RESUME = f"UPDATE idempotency_claims SET counted_at_ms = ?{_WHICH}"  # noqa: S608 - our own words
_FORGET = (
    "DELETE FROM idempotency_claims WHERE (tenant, client_id, operation, key) IN"
    " (SELECT tenant, client_id, operation, key FROM idempotency_claims"
    " WHERE expires_at_ms <= ?1 ORDER BY expires_at_ms LIMIT ?2)"
)


def _which(tenant: str, claim: IdempotencyClaim) -> tuple[str, str, str, str]:
    return tenant, claim.client_id, claim.operation, claim.key


def find(
    connection: apsw.Connection, tenant: str, claim: IdempotencyClaim, at_ms: int
) -> TakenClaim | None:
    """The claim of the same call, if it was taken and is not over."""
    row = connection.execute(_FIND, (*_which(tenant, claim), at_ms)).fetchone()
    if row is None:
        return None
    fields: tuple[Any, ...] = row
    taken = TakenClaim(*fields)
    return taken if taken.accepted is None else replace(taken, accepted=bool(taken.accepted))


def take_for_start(
    connection: apsw.Connection, tenant: str, claim: IdempotencyClaim, uuid: bytes, route: int
) -> None:
    """Take it, with the answer of a start."""
    _put(connection, tenant, claim, (uuid, route, 0, 0, 0))


def take_for_attempt(
    connection: apsw.Connection, claim: IdempotencyClaim, counted: Counted, at_ms: int
) -> None:
    """Take it, for an attempt counted now."""
    what = (counted.uuid, 0, counted.generation, counted.attempt, at_ms)
    _put(connection, counted.tenant, claim, what)


def _put(
    connection: apsw.Connection,
    tenant: str,
    claim: IdempotencyClaim,
    what: tuple[bytes, int, int, int, int],
) -> None:
    row = (*_which(tenant, claim), claim.fingerprint, claim.expires_at_ms, *what)
    connection.execute(_PUT, row)


def resume(connection: apsw.Connection, tenant: str, claim: IdempotencyClaim, at_ms: int) -> None:
    """Its attempt is compared again, from now on."""
    connection.execute(_RESUME, (at_ms, *_which(tenant, claim)))


def answer_of(
    connection: apsw.Connection, counted: Counted, claim: IdempotencyClaim
) -> bool | None:
    """What the attempt was answered; None: not yet, or its claim is gone."""
    which = (*_which(counted.tenant, claim), counted.uuid, counted.attempt)
    row = connection.execute(_ANSWER_OF, which).fetchone()
    return None if row is None or row[0] is None else bool(row[0])


def answer(
    connection: apsw.Connection, counted: Counted, claim: IdempotencyClaim, *, accepted: bool
) -> None:
    """Write the attempt's answer down."""
    which = (*_which(counted.tenant, claim), counted.uuid, counted.attempt)
    connection.execute(_ANSWER, (int(accepted), *which))


def release(connection: apsw.Connection, counted: Counted, claim: IdempotencyClaim) -> None:
    """Give the claim up: the state of the process answers a repetition the same."""
    which = (*_which(counted.tenant, claim), counted.uuid, counted.attempt)
    connection.execute(_RELEASE, which)


def forget(connection: apsw.Connection, now_ms: int) -> int:
    """Delete claims that are over, bounded; how many."""
    connection.execute(_FORGET, (now_ms, SWEEP_ROWS_MAX))
    return connection.changes()
