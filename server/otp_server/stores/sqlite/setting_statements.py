"""Types, routes and templates in SQL: each function is one operation in the caller's transaction.

What a function promises is the sentence of its namesake in ``services/ports/settings.py``. Every
statement names the tenant, so another tenant's rows are as if they were not there. Each change
raises the settings version and writes its audit entry.
"""

from __future__ import annotations

from dataclasses import astuple, fields, replace
from typing import TYPE_CHECKING, Any, Final

from otp_server.domain.challenge_type import (
    ChallengeRoute,
    ChallengeType,
    Channel,
    CodeType,
    Template,
)
from otp_server.errors import AlreadyExists, InUse, MissingReference, StaleSetting
from otp_server.stores import setting_rules as rules
from otp_server.stores.bounds import SETTINGS_MAX
from otp_server.stores.sqlite import audit_statements

if TYPE_CHECKING:
    from collections.abc import Callable

    import apsw

    from otp_server.domain.audit import Actor, AuditEntry
    from otp_server.domain.challenge_type import Plan, Setting
    from otp_server.services.ports.settings import S

_INTEGER_MAX: Final = 2**63 - 1  # SQLite's; nothing is stored beyond it


class _Statements:
    """The statements of one kind. Its columns are named as the record's fields, ``id`` first."""

    def __init__(self, kind: type[Setting], table: str) -> None:
        columns = [f'"{field.name}"' for field in fields(kind)]
        fresh = ", ".join(columns[1:])
        places = ", ".join("?" * len(columns[1:]))
        changes = ", ".join(f"{column} = ?" for column in columns[1:])
        # The words in these are all our own.
        self.select = f"SELECT {', '.join(columns)} FROM {table} WHERE tenant = ?"  # noqa: S608 - see above
        self.get = f"{self.select} AND id = ?"
        self.page = f"{self.select} ORDER BY id LIMIT ? OFFSET ?"
        self.named = f"{self.select} AND name = ?"
        self.insert = f"INSERT INTO {table} ({fresh}) VALUES ({places})"  # noqa: S608 - see above
        self.update = f"UPDATE {table} SET {changes} WHERE tenant = ? AND id = ?"  # noqa: S608 - see above
        held = f"SELECT 1 FROM {table} WHERE tenant = ? LIMIT {SETTINGS_MAX}"  # noqa: S608 - see above
        self.count = f"SELECT count(*) FROM ({held})"  # noqa: S608 - see above
        self.delete = f"DELETE FROM {table} WHERE tenant = ? AND id = ?"  # noqa: S608 - see above


_STATEMENTS: dict[type[object], _Statements] = {
    ChallengeType: _Statements(ChallengeType, "challenge_types"),
    ChallengeRoute: _Statements(ChallengeRoute, "challenge_type_routes"),
    Template: _Statements(Template, "templates"),
}
_ROUTES_OF_TYPE = _STATEMENTS[ChallengeRoute].select + " AND challenge_type_id = ?"
_OTHER_ROUTES_OF_TYPE = (
    "SELECT count(*) FROM challenge_type_routes"
    " WHERE tenant = ? AND challenge_type_id = ? AND id IS NOT ?"
)
_VERSION = "SELECT version FROM settings_versions WHERE tenant = ?"
_CHANGED = (
    "INSERT INTO settings_versions (tenant, version) VALUES (?, 1)"
    " ON CONFLICT (tenant) DO UPDATE SET version = version + 1"
)
_ANY_ROUTE_OF_TYPE = (
    "SELECT 1 FROM challenge_type_routes WHERE tenant = ? AND challenge_type_id = ? LIMIT 1"
)
_ANY_ROUTE_OF_TEMPLATE = (
    "SELECT 1 FROM challenge_type_routes WHERE tenant = ? AND template_id = ? LIMIT 1"
)
_ANY_PROCESS_OF_TYPE = "SELECT 1 FROM processes WHERE tenant = ? AND type_id = ? LIMIT 1"


def _setting_of(kind: type[S], row: tuple[Any, ...]) -> S:
    """A row of the kind's columns."""
    setting = kind(*row)
    if isinstance(setting, ChallengeType):
        return replace(setting, code_type=CodeType(setting.code_type))
    return replace(setting, channel=Channel(setting.channel))


# Reading.


def list_settings(
    connection: apsw.Connection, kind: type[S], tenant: str, *, limit: int, offset: int
) -> list[S]:
    """A page of the tenant's."""
    page = (tenant, min(limit, _INTEGER_MAX), min(offset, _INTEGER_MAX))
    rows = connection.execute(_STATEMENTS[kind].page, page)
    return [_setting_of(kind, row) for row in rows]


def get_setting(
    connection: apsw.Connection, kind: type[S], tenant: str, setting_id: int
) -> S | None:
    """By its id."""
    if abs(setting_id) > _INTEGER_MAX:
        return None
    row = connection.execute(_STATEMENTS[kind].get, (tenant, setting_id)).fetchone()
    return None if row is None else _setting_of(kind, row)


def settings_version(connection: apsw.Connection, tenant: str) -> int:
    """How many changes there were of the tenant's settings."""
    row = connection.execute(_VERSION, (tenant,)).fetchone()
    return 0 if row is None else int(row[0])


def load_plan(connection: apsw.Connection, tenant: str, type_name: str) -> tuple[int, Plan | None]:
    """Version, type, routes and templates of one snapshot."""
    version = settings_version(connection, tenant)
    found = _named(connection, ChallengeType, tenant, type_name)
    if found is None:
        return version, None
    rows = connection.execute(_ROUTES_OF_TYPE, (tenant, found.id)).fetchall()
    routes = [_setting_of(ChallengeRoute, row) for row in rows]
    templates = [get_setting(connection, Template, tenant, route.template_id) for route in routes]
    pairs = [(route, text) for route, text in zip(routes, templates, strict=True) if text]
    return version, rules.plan_of(found, pairs)


def _named(connection: apsw.Connection, kind: type[S], tenant: str, name: str) -> S | None:
    row = connection.execute(_STATEMENTS[kind].named, (tenant, name)).fetchone()
    return None if row is None else _setting_of(kind, row)


# Changing.


def add_setting(connection: apsw.Connection, setting: S, actor: Actor) -> S:
    """Check, insert."""
    stored = _add(connection, setting)
    _changed(connection, [rules.added(stored, actor)])
    return stored


def _add(connection: apsw.Connection, setting: S) -> S:
    kind = type(setting)
    held = connection.execute(_STATEMENTS[kind].count, (setting.tenant,)).get
    rules.require_room(kind, held)
    _check(connection, setting)
    connection.execute(_STATEMENTS[type(setting)].insert, astuple(setting)[1:])
    return replace(setting, id=connection.last_insert_rowid())


def save_setting(connection: apsw.Connection, setting: S, actor: Actor) -> S:
    """Compare the version, check, update."""
    held = get_setting(connection, type(setting), setting.tenant, setting.id)
    if held is None or held.version != setting.version:
        raise StaleSetting
    _check(connection, setting, setting.id)
    if isinstance(setting, Template) and isinstance(held, Template):
        leaves = held.channel is not setting.channel
        if leaves and _is_there(connection, _ANY_ROUTE_OF_TEMPLATE, setting.tenant, setting.id):
            raise InUse("routes")
    stored = replace(setting, version=setting.version + 1)
    connection.execute(
        _STATEMENTS[type(setting)].update, (*astuple(stored)[1:], setting.tenant, setting.id)
    )
    _changed(connection, [rules.saved(stored, actor)])
    return stored


def delete_setting(
    connection: apsw.Connection,
    kind: type[S],
    tenant: str,
    setting_id: int,
    actor: Actor,
    at_ms: int,
) -> bool:
    """Look who needs it, delete."""
    if get_setting(connection, kind, tenant, setting_id) is None:
        return False
    needs = {
        ChallengeType: [("routes", _ANY_ROUTE_OF_TYPE), ("processes", _ANY_PROCESS_OF_TYPE)],
        ChallengeRoute: [],
        Template: [("routes", _ANY_ROUTE_OF_TEMPLATE)],
    }
    for noun, statement in needs[kind]:
        if _is_there(connection, statement, tenant, setting_id):
            raise InUse(noun)
    connection.execute(_STATEMENTS[kind].delete, (tenant, setting_id))
    _changed(connection, [rules.deleted(kind, tenant, setting_id, actor, at_ms)])
    return True


def add_examples(
    connection: apsw.Connection,
    tenant: str,
    make: Callable[[], list[tuple[ChallengeType, list[Template]]]],
) -> bool:
    """Look for any, insert all."""
    for kind in rules.KINDS:
        if list_settings(connection, kind, tenant, limit=1, offset=0):
            return False
    entries: list[AuditEntry] = []

    def add(setting: S) -> S:
        stored = _add(connection, setting)
        entries.append(rules.added(stored))
        return stored

    for challenge_type, templates in make():
        first = add(challenge_type)
        for place, template in enumerate(templates, start=1):
            add(rules.first_route(first, add(template), place))
    _changed(connection, entries)
    return True


def _check(connection: apsw.Connection, setting: Setting, own_id: int | None = None) -> None:
    """AlreadyExists, MissingReference or TooMany, when it cannot be stored as it is."""
    if not isinstance(setting, ChallengeRoute):
        twin = _named(connection, type(setting), setting.tenant, setting.name)
        if twin is not None and twin.id != own_id:
            raise AlreadyExists("name", setting.name)
        return
    if get_setting(connection, ChallengeType, setting.tenant, setting.challenge_type_id) is None:
        raise MissingReference("challenge_type_id")
    template = get_setting(connection, Template, setting.tenant, setting.template_id)
    if template is None or template.channel is not setting.channel:
        raise MissingReference("template_id")
    of = setting.tenant, setting.challenge_type_id, own_id
    rules.require_route_room(connection.execute(_OTHER_ROUTES_OF_TYPE, of).get)


def _is_there(connection: apsw.Connection, statement: str, tenant: str, setting_id: int) -> bool:
    return connection.execute(statement, (tenant, setting_id)).fetchone() is not None


def _changed(connection: apsw.Connection, entries: list[AuditEntry]) -> None:
    for tenant in {entry.tenant for entry in entries}:
        connection.execute(_CHANGED, (tenant,))
    audit_statements.append(connection, entries)
