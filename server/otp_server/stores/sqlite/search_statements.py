"""Reading processes in SQL: search, and what the server asks at its start.

What a function promises is the sentence of its namesake in ``services/ports/processes.py``. Each
search names the index it walks, newest first, and looks the other conditions up for each row: the
first entity's, or the type's; where a contact is given its keys tell which processes it may be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otp_server.domain.challenge_type import Channel
from otp_server.domain.process import Delivery, SealedContact
from otp_server.services.ports.processes import StartRecord
from otp_server.stores.sqlite import account_statements
from otp_server.stores.sqlite.process_rows import SELECT_PROCESS

if TYPE_CHECKING:
    from otp_server.domain.process import Process
    from otp_server.services.ports.processes import ProcessQuery
    from otp_server.stores.sqlite.process_rows import ProcessWork

_OF_TYPE = SELECT_PROCESS.replace(
    "FROM processes AS p", "FROM processes AS p INDEXED BY processes_type"
)
_OF_CONTACT = SELECT_PROCESS.replace(
    "FROM processes AS p", "FROM carray(?) AS given CROSS JOIN processes AS p ON p.id = given.value"
)
_OF_ENTITY = SELECT_PROCESS.replace(
    "FROM processes AS p",
    "FROM process_entities AS e CROSS JOIN processes AS p ON p.id = e.process_id",
)
_HAS_ENTITY = (
    "EXISTS (SELECT 1 FROM process_entities WHERE entity_type = ? AND entity_id = ?"
    " AND type_id = p.type_id AND process_id = p.id)"
)
_DELIVERIES = (
    "SELECT process_id, route, channel, state, problem, updated_at_ms FROM messages"
    " WHERE process_id IN (SELECT value FROM json_each(?)) ORDER BY id"
)
_STARTS_SINCE = (
    "SELECT tenant, type_id, phone_index, phone_counted, email_index, email_counted,"
    " created_at_ms, id FROM processes"
    " WHERE (created_at_ms, id) > (?, ?) AND (phone_counted = 1 OR email_counted = 1)"
    " ORDER BY created_at_ms, id LIMIT ?"
)
_KEY_IDS = (
    "SELECT DISTINCT key_id FROM processes INDEXED BY processes_open_end"
    " WHERE open = 1 AND expires_at_ms > ?"
)
_SEALED = (
    "SELECT phone_sealed, email_sealed FROM processes INDEXED BY processes_open_end"
    " WHERE open = 1 AND expires_at_ms > ?"
)


def find_process(work: ProcessWork, tenant: str, uuid: bytes) -> Process | None:
    """A look-up."""
    return work.by_uuid(tenant, uuid)


def search_processes(
    work: ProcessWork, query: ProcessQuery
) -> list[tuple[Process, list[Delivery]]]:
    """A page, and then its deliveries at once."""
    sql, bindings = _search(work, query)
    rows: list[tuple[Any, ...]] = work.connection.execute(sql, bindings).fetchall()
    processes = [work.process_of(row) for row in rows]
    deliveries = _deliveries(work, [process.id for process in processes])
    return [(process, deliveries.get(process.id, [])) for process in processes]


def _search(work: ProcessWork, query: ProcessQuery) -> tuple[str, tuple[object, ...]]:
    entities = list(query.entities)
    conditions: list[str] = []
    bindings: list[object] = []
    order = "p.id"

    def require(condition: str, *values: object) -> None:
        conditions.append(condition)
        bindings.extend(values)

    contact = query.phone_index or query.email_index
    if contact is not None:
        select = _OF_CONTACT
        bindings.append(work.keys.bound(work.connection, (contact,)))
    elif entities:
        select, order = _OF_ENTITY, "e.process_id"
        first = entities.pop(0)
        require("e.entity_type = ? AND e.entity_id = ?", first.type, first.id)
        require("e.type_id = ?", query.type_id)
    else:
        select = _OF_TYPE
    require("p.tenant = ? AND p.type_id = ?", query.tenant, query.type_id)
    if query.phone_index is not None:
        require("p.phone_index = ?", query.phone_index)
    if query.email_index is not None:
        require("p.email_index = ?", query.email_index)
    for entity in entities:
        require(_HAS_ENTITY, entity.type, entity.id)
    which = f"{select} WHERE {' AND '.join(conditions)}"
    bindings += (query.limit, query.offset)
    return f"{which} ORDER BY {order} DESC LIMIT ? OFFSET ?", tuple(bindings)


def _deliveries(work: ProcessWork, process_ids: list[int]) -> dict[int, list[Delivery]]:
    found: dict[int, list[Delivery]] = {}
    for process_id, route, channel, *rest in work.connection.execute(
        _DELIVERIES, (str(process_ids),)
    ):
        found.setdefault(process_id, []).append(Delivery(route, Channel(channel), *rest))
    return found


def starts_since(work: ProcessWork, after: tuple[int, int], limit: int) -> list[StartRecord]:
    """The processes are the journal."""
    found: list[StartRecord] = []
    for tenant, type_id, *contacts, created_at_ms, process_id in work.connection.execute(
        _STARTS_SINCE, (*after, limit)
    ):
        phone_index, phone_counted, email_index, email_counted = contacts
        for index, counted in ((phone_index, phone_counted), (email_index, email_counted)):
            if counted:
                found.append(StartRecord(tenant, type_id, index, created_at_ms, process_id))
    return found


def key_ids_in_use(work: ProcessWork, now_ms: int) -> set[str]:
    """A walk over the index of open processes."""
    return {key_id for (key_id,) in work.connection.execute(_KEY_IDS, (now_ms,))}


def sealing_key_ids_in_use(work: ProcessWork, now_ms: int) -> set[str]:
    """A walk over the open processes, and a step for each key of accounts."""
    rows: Any = work.connection.execute(_SEALED, (now_ms,))
    of_processes = {
        SealedContact(b"", sealed).key_id for row in rows for sealed in row if sealed is not None
    }
    return of_processes | account_statements.sealing_key_ids(work.connection)
