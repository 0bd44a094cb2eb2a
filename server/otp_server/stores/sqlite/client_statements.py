"""API clients in SQL: each function is one operation inside the caller's transaction.

What a function promises is the sentence of its namesake in ``services/ports/clients.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otp_server.domain.client import ApiClient, Scope
from otp_server.errors import AlreadyExists
from otp_server.stores import setting_rules as rules
from otp_server.stores.sqlite import audit_statements

if TYPE_CHECKING:
    import apsw

    from otp_server.domain.audit import AuditEntry

_COLUMNS = "client_id, tenant, name, scopes, secret_digest, created_at_ms, revoked_at_ms"
_GET = f"SELECT {_COLUMNS} FROM api_clients WHERE client_id = ?"  # noqa: S608 - our own words
_LIST = f"SELECT {_COLUMNS} FROM api_clients ORDER BY created_at_ms, seq"  # noqa: S608 - our own words
_INSERT = f"INSERT INTO api_clients ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - our own words


def _client_of(row: tuple[Any, ...]) -> ApiClient:
    """A row of ``_COLUMNS``."""
    client_id, tenant, name, scopes, secret_digest, created_at_ms, revoked_at_ms = row
    return ApiClient(
        client_id=client_id,
        tenant=tenant,
        name=name,
        scopes=frozenset(Scope(word) for word in scopes.split()),
        secret_digest=secret_digest,
        created_at_ms=created_at_ms,
        revoked_at_ms=revoked_at_ms,
    )


def add_client(connection: apsw.Connection, client: ApiClient) -> None:
    """Insert, or AlreadyExists."""
    taken = connection.execute(
        "SELECT 1 FROM api_clients WHERE client_id = ?", (client.client_id,)
    ).fetchone()
    if taken is not None:
        raise AlreadyExists("client_id", client.client_id)
    connection.execute(
        _INSERT,
        (
            client.client_id,
            client.tenant,
            client.name,
            " ".join(sorted(client.scopes)),
            client.secret_digest,
            client.created_at_ms,
            client.revoked_at_ms,
        ),
    )
    _changed(connection, rules.client_added(client))


def list_clients(connection: apsw.Connection) -> list[ApiClient]:
    """Oldest first; of one millisecond in order of arrival."""
    return [_client_of(row) for row in connection.execute(_LIST)]


def revoke_client(connection: apsw.Connection, client_id: str, at_ms: int) -> bool:
    """Revoke once."""
    row = connection.execute(_GET, (client_id,)).fetchone()
    if row is None:
        return False
    client = _client_of(row)
    if client.revoked_at_ms is None:
        connection.execute(
            "UPDATE api_clients SET revoked_at_ms = ? WHERE client_id = ?", (at_ms, client_id)
        )
        _changed(connection, rules.client_revoked(client, at_ms))
    return True


def clients_version(connection: apsw.Connection) -> int:
    """One row."""
    row: tuple[Any, ...] = connection.execute("SELECT version FROM clients_version").fetchall()[0]
    return int(row[0])


def _changed(connection: apsw.Connection, entry: AuditEntry) -> None:
    connection.execute("UPDATE clients_version SET version = version + 1")
    audit_statements.append(connection, [entry])
