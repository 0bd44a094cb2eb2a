"""The schema's number, and the migrations that raise it.

``migrations/NNNN_name.sql`` takes the schema from ``NNNN - 1`` to ``NNNN`` in one transaction that
also sets ``PRAGMA user_version``. A file that was released is never edited again.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from otp_server.errors import ConfigError, StoreTooNew

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import apsw

APPLICATION_ID: Final = 0x4F545053  # "OTPS": a file of ours, whatever it is called


def load_migrations() -> list[str]:
    """The migrations shipped with this program, in order; the schema's number is their count."""
    folder = resources.files("otp_server.stores.sqlite").joinpath("migrations")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    for number, file in enumerate(files, start=1):
        if file.name[:5] != f"{number:04}_":
            raise AssertionError(f"migration {number} is missing: found {file.name}")
    return [file.read_text(encoding="utf-8") for file in files]


def schema_number(connection: apsw.Connection) -> int:
    """The schema the file has; 0 for an empty one."""
    return int(connection.pragma("user_version"))


def migrate(
    connection: apsw.Connection, path: Path, migrations: Sequence[str] | None = None
) -> None:
    """Bring the schema up to date. Several processes may do so at once.

    The connection does not look at foreign keys afterwards.

    Raises:
        ConfigError: the file belongs to another program.
        StoreTooNew: its schema is newer than the last migration.
    """
    migrations = load_migrations() if migrations is None else migrations
    connection.pragma("foreign_keys", 0)  # a table may be made anew under the rows that name it
    while True:
        connection.execute("BEGIN IMMEDIATE")  # look and change as one step
        try:
            have = schema_number(connection)
            _require_known(have, len(migrations), path)
            _require_ours(connection, path)
            if have < len(migrations):
                connection.execute(migrations[have])
                _require_whole(connection, path)
                connection.pragma("application_id", APPLICATION_ID)
                connection.pragma("user_version", have + 1)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        if have == len(migrations):
            return


def _require_whole(connection: apsw.Connection, path: Path) -> None:
    row: Any = connection.execute("PRAGMA foreign_key_check").fetchone()
    if row is not None:
        raise ConfigError(f"{path}: rows of {row[0]} name rows of {row[2]} that are not there")


def require_current(connection: apsw.Connection, path: Path) -> None:
    """Check a file that was prepared before.

    Raises:
        StoreTooNew: another otp-server has migrated it further since.
        ConfigError: it is not, or not any more, the file that was prepared.
    """
    have, known = schema_number(connection), len(load_migrations())
    _require_known(have, known, path)
    if have < known:
        raise ConfigError(f"{path} was replaced by an older file: restart the server")


def _require_known(have: int, known: int, path: Path) -> None:
    if have > known:
        raise StoreTooNew(
            f"{path} has schema {have} and this otp-server knows up to {known}: "
            "start the newer otp-server"
        )


def _require_ours(connection: apsw.Connection, path: Path) -> None:
    if connection.pragma("application_id") == APPLICATION_ID:
        return
    if schema_number(connection) or connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        raise ConfigError(f"{path} is a database of another program: choose another file")
