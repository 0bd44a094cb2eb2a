"""Rows of processes, and the operation that reads and changes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from otp_server.domain.process import (
    Entity,
    FailureReason,
    Process,
    ProcessStatus,
    RouteStatus,
    SealedContact,
)
from otp_server.stores import process_rules as rules
from otp_server.stores.sqlite import audit_statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

    from otp_server.domain.audit import Actor, AuditEntry
    from otp_server.stores.sqlite.plan_statements import PlanCache
    from otp_server.stores.sqlite.process_keys import ProcessKeys

PROCESS_COLUMNS = (
    "p.id, p.uuid, p.tenant, p.plan_id, plans.digest, p.status, p.failure,"
    " p.phone_index, p.phone_sealed, p.email_index, p.email_sealed, p.address, p.entities,"
    " p.attempts, p.key_id, p.generation, p.route, p.route_status, p.route_attempts,"
    " p.created_at_ms, p.updated_at_ms, p.expires_at_ms"
)
SELECT_PROCESS = (
    f"SELECT {PROCESS_COLUMNS}"  # noqa: S608 - our own words
    " FROM processes AS p CROSS JOIN plans ON plans.id = p.plan_id"
)
"""Continue with WHERE; the CROSS JOIN has processes read first."""
_STATUS = {each.value: each for each in ProcessStatus}  # a tenth of what the enum's call costs
_ROUTE_STATUS = {each.value: each for each in RouteStatus}
_BY_ID = f"{SELECT_PROCESS} WHERE p.id = ?"
_BY_UUID = (
    f"{SELECT_PROCESS} WHERE p.uuid = ? AND p.tenant = ?"  # noqa: S608 - our own words
    " AND p.id IN (SELECT value FROM carray(?))"
)


class ProcessWork:
    """One operation on processes: its connection, plans and keys, what the audit trail gets."""

    __slots__ = ("connection", "keys", "plans", "trail")

    def __init__(self, connection: apsw.Connection, plans: PlanCache, keys: ProcessKeys) -> None:
        self.connection = connection
        self.plans = plans
        self.keys = keys
        self.trail: list[AuditEntry] = []

    def tell(
        self, process: tuple[str, bytes], action: str, outcome: str, actor: Actor, at_ms: int
    ) -> None:
        """Add a line about the process of a tenant and uuid."""
        self.trail.append(rules.line(process, action, outcome, actor, at_ms))

    def finish(self) -> None:
        """Write the lines: once, at the operation's end."""
        audit_statements.append(self.connection, self.trail)

    def by_id(self, process_id: int) -> Process | None:
        """One process, of whatever tenant."""
        row = self.connection.execute(_BY_ID, (process_id,)).fetchone()
        return None if row is None else self.process_of(row)

    def by_uuid(self, tenant: str, uuid: bytes) -> Process | None:
        """One process of a tenant."""
        bindings = (uuid, tenant, self.keys.bound(self.connection, (uuid,)))
        row = self.connection.execute(_BY_UUID, bindings).fetchone()
        return None if row is None else self.process_of(row)

    def process_of(self, row: tuple[Any, ...]) -> Process:
        """A row of ``SELECT_PROCESS``."""
        (
            number,
            uuid,
            tenant,
            plan_id,
            digest,
            status,
            failure,
            phone_index,
            phone_sealed,
            email_index,
            email_sealed,
            address,
            entities,
            attempts,
            key_id,
            generation,
            route,
            route_status,
            route_attempts,
            created_at_ms,
            updated_at_ms,
            expires_at_ms,
        ) = row
        return Process(
            number,
            uuid,
            tenant,
            self.plans.get(self.connection, plan_id, digest),
            _STATUS[status],
            None if failure is None else FailureReason(failure),
            None if phone_index is None else SealedContact(phone_index, phone_sealed),
            None if email_index is None else SealedContact(email_index, email_sealed),
            address,
            entities_of(entities),
            attempts,
            key_id,
            generation,
            route,
            _ROUTE_STATUS[route_status],
            route_attempts,
            created_at_ms,
            updated_at_ms,
            expires_at_ms,
        )


def entities_text(entities: Sequence[Entity]) -> str:
    """The column of a process's entities: a JSON list of pairs."""
    if not entities:
        return "[]"
    return msgspec.json.encode([(each.type, each.id) for each in entities]).decode()


def entities_of(text: str) -> tuple[Entity, ...]:
    """The entities of the column, in the caller's order."""
    if text == "[]":
        return ()
    pairs = msgspec.json.decode(text, type=list[tuple[str, str]])
    return tuple(Entity(*pair) for pair in pairs)
