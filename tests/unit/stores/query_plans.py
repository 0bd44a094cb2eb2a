"""What SQLite does for the statements of an operation, and how much of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from otp_server.stores.sqlite.plan_statements import PlanCache
from otp_server.stores.sqlite.process_keys import ProcessKeys
from otp_server.stores.sqlite.process_rows import ProcessWork

if TYPE_CHECKING:
    from collections.abc import Callable

    import apsw

    from otp_server.stores.sqlite import SqliteStore

STEPS = (
    *("SCAN tenants", "SCAN held", "SCAN (subquery-2)", "SCAN CONSTANT ROW"),
    "SCAN sqlite_sequence",
)
"""What is found step by step in an index, and the one row for each table that numbers its own."""


async def plans_of(store: SqliteStore, run: Callable[[ProcessWork], object]) -> list[str]:
    """What SQLite does for each statement that ``run`` executes."""

    def explain(connection: apsw.Connection) -> list[str]:
        seen: list[tuple[str, object]] = []

        def trace(_: apsw.Cursor, sql: str, bindings: object) -> bool:
            seen.append((sql, bindings))
            return True

        work = ProcessWork(connection, PlanCache(), ProcessKeys())
        connection.exec_trace = trace
        run(work)
        work.finish()
        connection.exec_trace = None
        assert seen
        return [
            row[3]
            for sql, bindings in seen
            if re.match("SELECT|UPDATE|DELETE", sql)
            for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)  # type: ignore[arg-type]  # as traced
        ]

    return await store._writer.call(explain)


def is_scan(line: str) -> bool:
    """A list that was given is read whole on purpose, and so are tenants found step by step."""
    given = "VIRTUAL TABLE" in line
    return line.startswith("SCAN") and not given and line not in STEPS


async def steps_of(store: SqliteStore, run: Callable[[ProcessWork], object]) -> int:
    """How many instructions SQLite's machine runs for it; nothing is kept."""

    def counted_run(connection: apsw.Connection) -> int:
        steps = 0

        def step() -> bool:
            nonlocal steps
            steps += 1
            return False

        connection.execute("SAVEPOINT looked")
        connection.set_progress_handler(step, 1)
        run(ProcessWork(connection, PlanCache(), ProcessKeys()))
        connection.set_progress_handler(None)
        connection.execute("ROLLBACK TO looked")
        return steps

    return await store._writer.call(counted_run)
