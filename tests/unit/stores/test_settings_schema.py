"""What the tables of settings refuse by themselves, and that no look-up scans one."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING

import apsw
import pytest

from otp_server.domain.challenge_type import ChallengeRoute, ChallengeType, Channel, Template
from otp_server.stores.bounds import SETTINGS_MAX
from otp_server.stores.sqlite import setting_statements as settings
from otp_server.stores.sqlite.connection import SqliteOptions, prepare_file
from tests.contracts.setting_samples import ADMIN, challenge_type, route, template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def connection(path: Path) -> Iterator[apsw.Connection]:
    """On a fresh database, as the store opens it; keys between tables are kept."""
    prepare_file(path, SqliteOptions())
    with closing(apsw.Connection(str(path))) as connection:
        connection.pragma("foreign_keys", 1)
        yield connection


def put_route(connection: apsw.Connection, tenant: str, of: int, by: int, channel: str) -> None:
    """A row that no check of ours has seen."""
    connection.execute(
        "INSERT INTO challenge_type_routes (tenant, challenge_type_id, template_id, channel,"
        " attempts, created_at_ms, updated_at_ms, version) VALUES (?, ?, ?, ?, 1, 0, 0, 1)",
        (tenant, of, by, channel),
    )


def test_a_route_cannot_leave_its_tenant_or_its_templates_channel(
    connection: apsw.Connection,
) -> None:
    of = settings.add_setting(connection, challenge_type(), ADMIN)
    by = settings.add_setting(connection, template(), ADMIN)
    theirs_of = settings.add_setting(connection, challenge_type(tenant="other"), ADMIN)
    theirs_by = settings.add_setting(connection, template(tenant="other"), ADMIN)
    put_route(connection, of.tenant, of.id, by.id, "sms")
    for row in (
        (of.tenant, theirs_of.id, by.id, "sms"),
        (of.tenant, of.id, theirs_by.id, "sms"),
        (of.tenant, of.id, by.id, "email"),
        ("other", of.id, theirs_by.id, "sms"),
    ):
        with pytest.raises(apsw.ConstraintError):
            put_route(connection, *row)


@pytest.mark.parametrize(
    "look",
    [
        lambda c: settings.load_plan(c, "acme", "login"),
        lambda c: settings.get_setting(c, ChallengeRoute, "acme", 1),
        lambda c: settings.get_setting(c, Template, "acme", 1),
        lambda c: settings.delete_setting(c, ChallengeType, "acme", 99, ADMIN, 5),
        lambda c: settings.delete_setting(c, ChallengeType, "acme", 2, ADMIN, 5),
        lambda c: settings.delete_setting(c, Template, "acme", 2, ADMIN, 5),
        lambda c: settings.add_setting(c, template("third", Channel.EMAIL), ADMIN),
    ],
    ids=["plan", "route", "template", "nothing", "type", "unused-template", "add"],
)
def test_no_look_up_scans_a_table(
    connection: apsw.Connection, look: Callable[[apsw.Connection], object]
) -> None:
    for name in ("login", "signup"):
        settings.add_setting(connection, challenge_type(name), ADMIN)
        settings.add_setting(connection, template(name), ADMIN)
    of = settings.get_setting(connection, ChallengeType, "acme", 1)
    by = settings.get_setting(connection, Template, "acme", 1)
    assert of is not None
    assert by is not None
    settings.add_setting(connection, route(of, by), ADMIN)
    seen: list[tuple[str, object]] = []

    def trace(_: apsw.Cursor, sql: str, bindings: object) -> bool:
        seen.append((sql, bindings))
        return True

    connection.exec_trace = trace
    look(connection)
    connection.exec_trace = None
    plans = [
        row[3]
        for sql, bindings in seen
        if re.match("(SELECT|UPDATE|DELETE) .*(challenge_type|templates|processes)", sql)
        and not re.search(f"LIMIT {SETTINGS_MAX}", sql)  # counts no further than the bound
        for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)
    ]
    assert plans
    for line in plans:
        assert not line.startswith("SCAN"), line
        assert not line.endswith("(tenant=?)"), line  # all of a tenant's rows
