"""The embedded store: SQLite through APSW, WAL, ``synchronous=FULL``.

    store               SqliteStore: each port method is one operation of the writer or the reader
    group_commit        the worker: all operations waiting are one transaction, one fsync
    operation           one waiting operation: its states, its waiting task
    issue_statements    a batch of new codes in SQL, by a few large statements
    code_statements     the life of codes, and guesses, in SQL
    device_statements   devices and organisations in SQL
    connection          opening, and what SQLite's errors mean to an operator
    schema, migrations/ numbered SQL files and the one who applies them

Two threads own a connection each: the writer's operations are serial, the reader never blocks
them. Other processes (the command line) may use the file at the same time.
"""

from otp_server.stores.sqlite.connection import SqliteOptions
from otp_server.stores.sqlite.store import SqliteStore, open_sqlite_store

__all__ = ["SqliteOptions", "SqliteStore", "open_sqlite_store"]
