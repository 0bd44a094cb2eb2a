"""Many rows of one table in few statements: each ends in a fight for the GIL.

Tables that number their rows (AUTOINCREMENT) are given the numbers here, so who inserts rows knows
them: writers are serial, and the next number is one more than the last that was ever given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

_ROWS_AT_ONCE = (64, 32, 16, 8, 4, 2, 1)
"""Rows of one statement: as large ones as there are rows for."""
_LAST_NUMBER = "SELECT seq FROM sqlite_sequence WHERE name = ?"


class BulkInsert:
    """Rows of a table, given as their values one after the other, in the order of ``columns``."""

    def __init__(self, table: str, columns: str, *, verb: str = "INSERT") -> None:
        self._width = columns.count(",") + 1
        row = f"({', '.join('?' * self._width)})"
        self._statements = [
            (count, f"{verb} INTO {table} ({columns}) VALUES {', '.join([row] * count)}")
            for count in _ROWS_AT_ONCE
        ]

    def insert(self, connection: apsw.Connection, values: Sequence[Any]) -> None:
        """Insert whole rows, in order."""
        at, end = 0, len(values)
        for count, statement in self._statements:
            size = count * self._width
            while end - at >= size:
                part = values if size == end else values[at : at + size]
                connection.execute(statement, part)
                at += size


def next_number(connection: apsw.Connection, table: str) -> int:
    """The number that the next row of the table gets, the first of a batch."""
    last = connection.execute(_LAST_NUMBER, (table,)).get
    return 1 if last is None else int(last) + 1
