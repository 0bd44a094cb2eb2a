"""What processes are found by is never missing, whoever wrote it and whatever was rolled back."""

from __future__ import annotations

import threading
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING

import apsw
import pytest

from otp_server.errors import StoreUnavailable
from otp_server.stores import open_sqlite_store
from otp_server.stores.sqlite import SqliteOptions, start_statements
from otp_server.stores.sqlite.connection import Database, prepare_file
from otp_server.stores.sqlite.process_keys import KEY_BYTES, ProcessKeys
from tests.contracts import rest_samples as rest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from otp_server.stores.sqlite.process_keys import Row
    from otp_server.stores.sqlite.process_rows import ProcessWork

SMALL = 12
"""Keys of a generation: some processes fill it."""
OPTIONS = SMALL, SMALL
_INSERT = (
    "INSERT INTO processes (id, uuid, tenant, type_id, plan_id, status, attempts, generation,"
    " route, route_status, route_attempts, key_id, created_at_ms, updated_at_ms, expires_at_ms,"
    " phone_index, phone_sealed, phone_counted, email_index, email_sealed, email_counted, entities)"
    " VALUES (?1, ?2, 'acme', 1, 1, 'new', 0, 1, 0, 'new', 0, 'k', 0, 0, 1,"
    " ?3, iif(?3 IS NULL, NULL, x'00'), 1, ?4, iif(?4 IS NULL, NULL, x'00'), 1, '[]')"
)
_LAST = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'processes'"
_ALL = "SELECT id, uuid, phone_index, email_index FROM processes"


@pytest.fixture
def database(path: Path) -> Database:
    """A prepared file, with the plan that the processes have."""
    options = SqliteOptions()
    prepare_file(path, options)
    database = Database(path, options)
    with closing(database.connect(read_only=False)) as connection:
        connection.execute("INSERT INTO plans (id, digest, body) VALUES (1, x'00', x'00')")
    return database


class Server:
    """A server on the file: its keys, a connection that writes and one that reads."""

    def __init__(self, database: Database, draw: Random) -> None:
        self.keys = ProcessKeys(OPTIONS)
        self.writer = database.connect(read_only=False)
        self.reader = database.connect(read_only=True)
        self._draw = draw

    def close(self) -> None:
        """As a crash leaves it, for what is in memory."""
        self.writer.close()
        self.reader.close()

    def row(self, process_id: int) -> Row:
        """A new process: its contacts are of few, so that some have many processes."""
        draw = self._draw
        phone, email = (
            draw.choice([None, bytes([draw.randrange(4)]) * 32]) for _ in ("phone", "email")
        )
        if phone is None and email is None:
            phone = draw.randbytes(32)
        return process_id, draw.randbytes(KEY_BYTES), phone, email

    def start(self, count: int) -> None:
        """Insert processes, in this transaction."""
        first = self.writer.execute(_LAST).get + 1
        rows = [self.row(process_id) for process_id in range(first, first + count)]
        self.writer.executemany(_INSERT, rows)
        self.keys.add(self.writer, rows)

    def forget(self, count: int) -> None:
        """Delete old ones, in this transaction."""
        old = self.writer.execute(f"{_ALL} ORDER BY id LIMIT ? OFFSET 1", (2 * count,)).fetchall()
        rows = old[::2]  # clocks differ, so not always the oldest
        self.writer.executemany("DELETE FROM processes WHERE id = ?", [row[:1] for row in rows])
        self.keys.forget(self.writer, rows)

    def commit(self) -> None:
        """End the transaction."""
        self.writer.execute("COMMIT")
        self.keys.ended(committed=True)

    def roll_back(self) -> None:
        """As a full disk does."""
        self.writer.execute("ROLLBACK")
        self.keys.ended(committed=False)


def missing(keys: ProcessKeys, connection: apsw.Connection, now: apsw.Connection) -> list[Row]:
    """Processes that ``connection`` and ``now`` see, and that one of their keys does not find."""
    rows = connection.execute(_ALL).fetchall()
    found = [
        (row, row[0] in keys.find(connection, (b"\xff" * 16, key)))
        for row in rows
        for key in row[1:]
        if key is not None
    ]
    there = {row[0] for row in now.execute(_ALL)}
    return [row for row, is_found in found if not is_found and row[0] in there]


@pytest.fixture
def draw(request: pytest.FixtureRequest) -> Random:
    """Chances of one seed."""
    return Random(request.param)  # noqa: S311 - a test's


@pytest.mark.parametrize("draw", range(12), indirect=True)
def test_every_process_is_found_whatever_servers_do(database: Database, draw: Random) -> None:
    """Two servers start, forget, fail and crash in turn; readers see older commits meanwhile."""
    servers = [Server(database, draw) for _ in range(2)]
    for _ in range(120):
        number = draw.randrange(2)
        server = servers[number]
        match draw.choice(("write", "write", "write", "read", "look", "crash")):
            case "write":
                server.writer.execute("BEGIN IMMEDIATE")
                for _ in range(draw.randrange(1, 4)):
                    write(server, draw)
                    if draw.random() < 0.3:
                        assert missing(server.keys, server.writer, server.writer) == []
                server.roll_back() if draw.random() < 0.2 else server.commit()
            case "read":  # begins or ends to read what is committed now
                if server.reader.in_transaction:
                    server.reader.execute("COMMIT")
                else:
                    server.reader.execute("BEGIN; SELECT max(id) FROM processes").fetchall()
            case "look":
                assert missing(server.keys, server.reader, server.writer) == []
            case "crash":
                server.close()
                servers[number] = Server(database, draw)
    for server in servers:
        assert missing(server.keys, server.reader, server.writer) == []
        assert missing(server.keys, server.writer, server.writer) == []
        server.close()


def write(server: Server, draw: Random) -> None:
    """One operation of a group: it may fail alone."""
    fails = draw.random() < 0.2
    server.writer.execute("SAVEPOINT operation")
    if draw.random() < 0.8:
        server.start(draw.randrange(1, 6))
    else:
        server.forget(draw.randrange(1, 4))
    if fails:
        server.keys.undone()
        server.writer.execute("ROLLBACK TO operation")
    server.writer.execute("RELEASE operation")


@pytest.fixture
def server(database: Database) -> Iterator[Server]:
    """One."""
    server = Server(database, Random(7))  # noqa: S311 - a test's
    yield server
    server.close()


def filed(server: Server) -> tuple[int, set[tuple[bytes, int]]]:
    """Up to which process all is filed, and what is."""
    rows = server.writer.execute("SELECT key, process_id FROM process_keys").fetchall()
    return server.writer.execute("SELECT filed FROM process_filing").get, set(rows)


def test_keys_are_filed_in_generations_and_at_a_pace(server: Server) -> None:
    last = 0
    for _ in range(40):
        server.writer.execute("BEGIN IMMEDIATE")
        server.start(2)
        server.commit()
        upto, pairs = filed(server)
        assert upto >= last
        last = upto
        rows = server.writer.execute(f"{_ALL} WHERE id <= ?", (upto,)).fetchall()
        assert {
            (key[:KEY_BYTES], row[0]) for row in rows for key in row[1:] if key is not None
        } <= pairs
    assert 80 - 3 * SMALL < last < 80
    assert missing(ProcessKeys(OPTIONS), server.writer, server.writer) == []


def test_generations_grow_with_what_is_kept(server: Server) -> None:
    server.keys = ProcessKeys((SMALL, 5 * SMALL))
    sizes: list[int] = []
    for _ in range(400):
        server.writer.execute("BEGIN IMMEDIATE")
        server.start(2)
        server.commit()
        sizes.append(server.keys._size)
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (SMALL, 5 * SMALL)
    assert 2 * 300 // 16 in range(sizes[100], sizes[200])
    assert missing(server.keys, server.writer, server.writer) == []


@pytest.mark.parametrize("by_another", [False, True])
def test_a_forgotten_process_leaves_no_key(
    database: Database, server: Server, *, by_another: bool
) -> None:
    other = Server(database, Random(9))  # noqa: S311 - a test's
    sweeper = other if by_another else server
    for started, forgotten in [(5, 3)] * 10 + [(12, 100)] * 4:
        server.writer.execute("BEGIN IMMEDIATE")
        server.start(started)
        server.commit()
        sweeper.writer.execute("BEGIN IMMEDIATE")
        sweeper.forget(forgotten)
        sweeper.commit()
    server.writer.execute("BEGIN IMMEDIATE")
    server.start(3 * SMALL)
    server.commit()
    other.close()
    there = {row[0] for row in server.writer.execute(_ALL)}
    assert {process_id for _, process_id in filed(server)[1]} <= there


def test_who_reads_an_older_commit_finds_what_has_left_memory(server: Server) -> None:
    server.writer.execute("BEGIN IMMEDIATE")
    server.start(3)
    server.commit()
    server.reader.execute("BEGIN; SELECT max(id) FROM processes").fetchall()
    for _ in range(20):
        server.writer.execute("BEGIN IMMEDIATE")
        server.start(4)
        server.commit()
    assert filed(server)[0] > 3
    assert missing(server.keys, server.reader, server.writer) == []


def test_what_others_have_filed_is_not_read_again(database: Database, server: Server) -> None:
    assert missing(server.keys, server.reader, server.writer) == []
    other = Server(database, Random(8))  # noqa: S311 - a test's
    for _ in range(50):
        other.writer.execute("BEGIN IMMEDIATE")
        other.start(2)
        other.commit()
    other.close()
    assert missing(server.keys, server.reader, server.writer) == []
    assert server.keys._filling.count < 4 * SMALL


def test_who_only_looks_on_does_not_keep_what_others_have_filed(
    database: Database, server: Server
) -> None:
    other = Server(database, Random(8))  # noqa: S311 - a test's
    most = 0
    for _ in range(200):
        run(other, 2)
        assert missing(server.keys, server.reader, other.writer) == []
        most = max(most, server.keys._filling.count)
    other.close()
    assert most < 5 * SMALL


def run(server: Server, count: int) -> None:
    """One transaction of starts."""
    server.writer.execute("BEGIN IMMEDIATE")
    server.start(count)
    server.commit()


def test_an_older_reader_finds_what_others_filed_and_this_server_never_held(
    database: Database, server: Server
) -> None:
    other = Server(database, Random(8))  # noqa: S311 - a test's
    while server.keys._kept is None or server.keys._filing is not None:
        run(server, 1)
    run(other, 4)
    server.reader.execute("BEGIN; SELECT max(id) FROM processes").fetchall()
    seen = server.reader.execute("SELECT max(id) FROM processes").get
    while filed(other)[0] <= seen:
        run(other, 2)
    for _ in range(SMALL):
        run(server, 1)
        assert missing(server.keys, server.reader, server.writer) == []
    other.close()


def test_threads_look_while_one_writes(database: Database) -> None:
    """Each reader finds whatever its snapshot shows, at any moment of a filing."""
    server = Server(database, Random(3))  # noqa: S311 - a test's
    bad: list[Row] = []
    done = threading.Event()

    def look() -> None:
        with closing(database.connect(read_only=True)) as connection:
            while not done.is_set():
                connection.execute("BEGIN")
                bad.extend(missing(server.keys, connection, connection))
                connection.execute("COMMIT")

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(60):
        server.writer.execute("BEGIN IMMEDIATE")
        server.start(2)
        server.commit()
    done.set()
    for reader in readers:
        reader.join()
    server.close()
    assert bad == []


@pytest.mark.parametrize("alone", [False, True])
async def test_who_gets_the_number_of_a_start_that_was_rolled_back_is_found(
    path: Path, *, alone: bool
) -> None:
    """Alone, or with its transaction, which cannot be committed."""
    store = await open_sqlite_store(path)

    def start_and_fail(work: ProcessWork) -> None:
        start_statements.start_processes(work, [rest.new_process(1)])
        if alone:
            raise RuntimeError
        work.connection.pragma("defer_foreign_keys", 1)
        work.connection.execute("INSERT INTO open_attempts VALUES (999, 1, 0)")

    await rest.start(store, rest.new_process(7, to=7))
    for n in (2, 3):
        with pytest.raises((StoreUnavailable, RuntimeError)):
            await store._write(start_and_fail)
        with closing(apsw.Connection(str(path))) as other:
            other.execute(
                "INSERT INTO processes SELECT NULL, ?, tenant, type_id, plan_id, status, failure,"
                " attempts, generation, route, route_status, route_attempts, key_id, created_at_ms,"
                " updated_at_ms, expires_at_ms, phone_index, phone_sealed, phone_counted,"
                " email_index, email_sealed, email_counted, address, entities, given_back, open"
                " FROM processes WHERE uuid = ?",
                (rest.uuid(n), rest.uuid(7)),
            )
        assert await store.find_process(rest.TENANT, rest.uuid(n)) is not None
        assert await store.find_process(rest.TENANT, rest.uuid(1)) is None
    await store.aclose()


async def test_starts_write_fewer_pages_than_they_are(path: Path) -> None:
    """32 at a time: none writes a page at random."""
    store = await open_sqlite_store(path)
    frames: list[int] = []
    with closing(apsw.Connection(str(path))) as beside:
        beside.pragma("user_version")  # it looks, and knows that there is a log
        for batch in range(60):
            numbers = range(batch * 32, batch * 32 + 32)
            await store.start_processes([rest.new_process(n, to=n, at=batch) for n in numbers])
            frames.append(beside.wal_checkpoint()[0])  # so that each batch has a log of its own
    await store.aclose()
    assert sum(frames[-10:]) < 10 * 32
