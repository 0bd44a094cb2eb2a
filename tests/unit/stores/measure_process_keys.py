"""What a start writes with so many processes kept, and what indexes of its keys would add.

Run from the repository's root::

    python -m tests.unit.stores.measure_process_keys 1000000

Starts go in batches of 46 through the same statements, first as they are and then with an index of
the uuids and one of the contacts beside, as there were before keys were filed. Printed are pages
written to the WAL for each start, the filing of older ones in it, and CPU of the thread without the
checkpoint; of the last half of the batches.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import apsw

from otp_server.domain.process import Entity
from otp_server.stores.sqlite import SqliteOptions, start_statements
from otp_server.stores.sqlite.connection import Database, prepare_file
from otp_server.stores.sqlite.plan_statements import PlanCache
from otp_server.stores.sqlite.process_keys import ProcessKeys
from otp_server.stores.sqlite.process_rows import ProcessWork
from tests.contracts import rest_samples as rest
from tests.support.changed_values import replace

SIZE, BATCHES, OF_EACH = 46, 8_000, 2_000
_FILL = """
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
INSERT INTO processes (id, uuid, tenant, type_id, plan_id, status, attempts, generation, route,
    route_status, route_attempts, key_id, created_at_ms, updated_at_ms, expires_at_ms, phone_index,
    phone_sealed, phone_counted, email_counted, address, entities, open)
SELECT n, randomblob(16), 'acme', 1, 1, 'expired', 0, 1, 0, 'sent', 0, 'k1', n, n, n + 9,
    randomblob(32), randomblob(60), 1, 0, '127.0.0.1', '[["client","17"]]', 0 FROM numbers;
INSERT INTO process_keys SELECT uuid, id FROM processes
UNION ALL SELECT substr(phone_index, 1, 16), id FROM processes ORDER BY 1, 2;
UPDATE process_filing SET filed = (SELECT max(id) FROM processes);
"""
_INDEXES = """
CREATE UNIQUE INDEX beside_uuid ON processes (uuid);
CREATE INDEX beside_phone ON processes (phone_index, open, type_id) WHERE phone_index IS NOT NULL;
"""


class Starts:
    """Batches of starts over one connection."""

    def __init__(self, database: Database) -> None:
        self._connection = database.connect(read_only=False)
        self._connection.pragma("wal_autocheckpoint", 0)
        self._plans, self._keys = PlanCache(), ProcessKeys()
        self._plan = rest.plan()
        self._number = 10_000_000

    def batch(self) -> float:
        """Commit one; the CPU of it."""
        numbers = range(self._number, self._number + SIZE)
        self._number += SIZE
        batch = [
            replace(
                rest.new_process(n, to=n),
                plan=self._plan,
                settings_version=0,
                entities=(Entity("client", str(n)),),
            )
            for n in numbers
        ]
        began = time.thread_time()
        self._connection.execute("BEGIN IMMEDIATE")
        work = ProcessWork(self._connection, self._plans, self._keys)
        start_statements.start_processes(work, batch)
        work.finish()
        self._connection.execute("COMMIT")
        self._keys.ended(committed=True)
        return time.thread_time() - began


def main() -> None:
    kept = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "otp.db"
        prepare_file(path, SqliteOptions())
        with closing(apsw.Connection(str(path))) as beside:
            beside.execute("INSERT INTO plans (id, digest, body) VALUES (1, x'00', x'00')")
            beside.execute("BEGIN")
            beside.execute(_FILL, (kept,))
            beside.execute("COMMIT")
            starts = Starts(Database(path, SqliteOptions()))
            for name, sql in (("filed many at once", ""), ("with indexes beside", _INDEXES)):
                beside.execute(sql)
                spent: list[float] = []
                written: list[int] = []
                for _ in range(OF_EACH if sql else BATCHES):
                    spent.append(starts.batch())
                    written.append(beside.wal_checkpoint()[0])
                half = len(spent) // 2 * SIZE
                pages = sum(written[-half // SIZE :]) / half
                cpu = sum(spent[-half // SIZE :]) / half
                sys.stdout.write(f"{name}: {pages:.2f} pages, {cpu * 1e6:.1f} us a start\n")


if __name__ == "__main__":
    main()
