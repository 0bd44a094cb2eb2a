"""Which keys the store's rows were made under, in SQL.

What a function promises is the sentence of its namesake in ``services/ports/processes.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otp_server.stores.sqlite.process_rows import ProcessWork

_MARK = "INSERT INTO key_marks (purpose, fingerprint) VALUES (?, ?) ON CONFLICT DO NOTHING"
_MARK_ANEW = "INSERT OR REPLACE INTO key_marks (purpose, fingerprint) VALUES (?, ?)"
_MARKED = "SELECT fingerprint FROM key_marks WHERE purpose = ?"


def mark_key(work: ProcessWork, purpose: str, fingerprint: str, *, anew: bool) -> str:
    """Two statements."""
    work.connection.execute(_MARK_ANEW if anew else _MARK, (purpose, fingerprint))
    marked: str = work.connection.execute(_MARKED, (purpose,)).get
    return marked
