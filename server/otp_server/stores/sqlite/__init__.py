"""The embedded store: SQLite through APSW, WAL, ``synchronous=FULL``.

    store                SqliteStore: opening, and the parts below put together
    device_store         over device_statements, code_statements, issue_statements (a batch of new
                         codes, by a few large statements)
    settings_store       over client_statements, setting_statements
    process_store        over process_statements; start_statements, attempt_statements,
                         settle_statements, outbox_statements (a batch, by a few large statements
                         each); claim_statements, plan_statements, search_statements,
                         audit_statements
    account_store        over account_statements, session_statements, reset_statements
    process_rows         rows of processes, and the operation that changes them
    process_keys         where processes are found by uuid and contact: filed many at once
    bulk_insert          many rows of a table in few statements
    outbox_queue         messages put into the outbox's queue, and taken out again
    outbox_leaving       messages that leave a channel unsent, and leases taken back
    key_statements       which keys the rows were made under
    workers              the two threads they all use
    group_commit         the worker: all operations waiting are one transaction, one fsync
    operation            one waiting operation: its states, its waiting task
    ..._statements       a port's sentences in SQL, in the caller's transaction
    connection           opening a file, and what SQLite's errors mean to an operator
    schema, migrations/  numbered SQL files and the one who applies them

Two threads own a connection each: the writer's operations are serial, the reader never blocks
them. Other processes (the command line) may use the file at the same time.
"""

from otp_server.stores.sqlite.connection import SqliteOptions
from otp_server.stores.sqlite.store import SqliteStore, open_sqlite_store

__all__ = ["SqliteOptions", "SqliteStore", "open_sqlite_store"]
