"""Where processes are found by what callers know of them: their uuids and contacts.

Such keys are random, and a B-tree takes each into a page of its own: once the tree is larger than a
batch, every start would write a page for its uuid and one for its contact. So the tree gets many
at once, in its own order (a log-structured merge of two levels). New keys are held in memory::

    a start ──▶ filling ──when full──▶ filing ──part by part──▶ process_keys
                                          └─ kept until the next is full: for older readers

``process_filing`` says up to which process the tree has all keys; those after it are read from the
rows when a store is opened, and after a transaction that failed. What others wrote into the file is
seen by the number of the last process.

What is found are candidates: who asks looks at the row. A key may be one of a process that was
rolled back or is forgotten; it is never missing for one that the asker's transaction sees and that
is not forgotten meanwhile.
"""

from __future__ import annotations

import threading
from array import array
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import apsw

from otp_server.stores.sqlite.bulk_insert import BulkInsert

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Row: TypeAlias = "tuple[int, bytes, bytes | None, bytes | None]"
"""A process: its id, its uuid, the indexes of its phone and its e-mail address."""

KEY_BYTES: Final = 16
GENERATION: Final = 4_096, 131_072
"""Keys held before they are filed: a part of those that are kept, so that several go into each page
of the tree; at least so many, and at most. Three generations are in memory at the most, of some 150
bytes a key: 2 MB, and with two million processes 60 MB; in a server that only looks on, up to four
of the largest."""

_SHARE = 16
_KEYS_EACH = 2
"""A process has its uuid and a contact, or two."""
_PARTS = 256
"""A generation is filed by the first byte of its keys."""
_PACE = 2
"""Keys filed for each new one: so a generation is filed when the next one is half full."""

_KEPT = "SELECT max(id) - min(id) FROM processes"
_STATE = "SELECT filed, (SELECT max(id) FROM processes) FROM process_filing WHERE only = 1"
_ROWS = "SELECT id, uuid, phone_index, email_index FROM processes WHERE id > ? ORDER BY id"
_THERE = "SELECT {} FROM carray(?) AS given CROSS JOIN processes ON id = given.value"
_COUNT_THERE, _IDS_THERE = _THERE.format("count(*)"), _THERE.format("id")
_IDS = "SELECT id FROM processes WHERE id > ? AND id <= ?"
_FILED = "SELECT process_id FROM carray(?) AS given CROSS JOIN process_keys ON key = given.value"
_ALL_FILED = "UPDATE process_filing SET filed = max(filed, ?)"
_FORGET = "DELETE FROM process_keys WHERE key = ? AND process_id = ?"
_KEYS = BulkInsert("process_keys", "key, process_id", verb="INSERT OR IGNORE")


class ProcessKeys:
    """Of one database file. One thread writes, and any may look: each with its own connection."""

    def __init__(self, generation: tuple[int, int] = GENERATION) -> None:
        """``generation``: how many keys are held before they are filed, at least and at most."""
        self._least, self._most = generation
        self._size = self._least  # of the generation that is being filled
        self._lock = threading.Lock()  # guards everything below
        self._is_read = False
        self._last = 0
        """The keys of processes after ``_gone`` and up to this one are in memory."""
        self._gone = 0
        self._changed = False  # in this transaction
        self._filling = _Generation()
        self._filing: _Generation | None = None
        self._kept: _Generation | None = None
        self._credit = 0

    def find(self, connection: apsw.Connection, asked: Sequence[bytes]) -> list[int]:
        """The processes that may have one of these uuids or contacts' indexes, in no order."""
        if not asked:
            return []
        keys = tuple([key[:KEY_BYTES] for key in asked])
        state: Any = connection.execute(_STATE).fetchone()
        filed, newest = state[0], state[1] or 0
        with self._lock:
            if not self._is_read or newest > self._last:
                self._read(connection, filed)
            gone = self._gone
            found = self._filling.find(keys)
            for older in (self._filing, self._kept):
                if older is not None:
                    found |= older.find(keys)
        rows: list[tuple[Any, ...]] = connection.execute(_FILED, (apsw.carray(keys),)).fetchall()
        found.update(process_id for (process_id,) in rows)
        if filed < gone:  # an older commit is being read
            found.update(process_id for (process_id,) in connection.execute(_IDS, (filed, gone)))
        return list(found)

    def bound(self, connection: apsw.Connection, asked: Sequence[bytes]) -> apsw.CArrayBinding:
        """What ``find`` finds, to be bound to a statement's ``carray``."""
        found = self.find(connection, asked) or (0,)  # which is nobody's
        return apsw.carray(array("q", found))

    def add(self, connection: apsw.Connection, rows: Sequence[Row]) -> None:
        """Processes that this transaction inserted, by their ids, and file some older keys."""
        with self._lock:
            self._changed = True
            if not self._is_read or rows[0][0] != self._last + 1:
                state: Any = connection.execute(_STATE).fetchone()
                self._read(connection, state[0])  # these too
            else:
                self._hold(rows)
            self._credit += _PACE * _KEYS_EACH * len(rows)
            self._turn(connection)
            self._file(connection)

    def forget(self, connection: apsw.Connection, rows: Sequence[Row]) -> None:
        """Processes that this transaction deletes. What is in memory is not filed then."""
        connection.executemany(_FORGET, [(key, row[0]) for row in rows for key in _keys_of(row)])

    def undone(self) -> None:
        """What this transaction did was rolled back, or some of it: read everything anew."""
        with self._lock:
            if self._changed:
                self._is_read = False

    def ended(self, *, committed: bool) -> None:
        """A transaction of the writer ended."""
        if not committed:
            self.undone()
        self._changed = False

    def _hold(self, rows: Iterable[Row]) -> None:
        filling = self._filling
        for row in rows:
            for key in _keys_of(row):
                filling.add(key, row[0])
            filling.last = self._last = row[0]

    def _turn(self, connection: apsw.Connection) -> None:
        """Begin the next generation, if this one is full and the one before is filed."""
        if self._filling.count < self._size or self._filing is not None:
            return
        if self._kept is not None:
            self._gone = max(self._gone, self._kept.last)  # others may have filed more
        self._kept, self._filing, self._filling = None, self._filling, _Generation()
        self._credit = 0
        kept: Any = connection.execute(_KEPT).get
        self._size = min(max(_KEYS_EACH * kept // _SHARE, self._least), self._most)

    def _read(self, connection: apsw.Connection, filed: int) -> None:
        """What this transaction sees and memory has not."""
        idle = self._filing is None and self._filling.count >= 4 * self._most
        if idle or not self._is_read:  # who only looks on does not keep what others have filed
            self._filling, self._filing, self._kept = _Generation(), None, None
            self._last = self._gone = filed
            self._is_read = True
        elif filed > self._last:  # others wrote those, and filed them
            self._last = self._gone = filed
        rows: Any = connection.execute(_ROWS, (self._last,))
        self._hold(rows)

    def _file(self, connection: apsw.Connection) -> None:
        """As much as there is credit for."""
        filing = self._filing
        if filing is None:
            return
        pairs: list[tuple[bytes, int]] = []
        while self._credit > 0 and filing.parts_filed < _PARTS:
            part = filing.next_part()
            self._credit -= len(part)
            pairs += part
        if pairs:
            pairs = _of_who_is_there(connection, pairs)
            _KEYS.insert(connection, [value for pair in pairs for value in pair])
        if filing.parts_filed == _PARTS:
            connection.execute(_ALL_FILED, (filing.last,))
            self._kept, self._filing = filing, None


class _Generation:
    """Keys of successive processes."""

    __slots__ = ("_parts", "count", "last", "parts_filed")

    def __init__(self) -> None:
        self._parts: list[dict[bytes, tuple[int, ...]]] = [{} for _ in range(_PARTS)]
        self.count = 0
        self.last = 0
        """The last of the processes."""
        self.parts_filed = 0

    def add(self, key: bytes, process_id: int) -> None:
        part = self._parts[key[0]]
        part[key] = (*part.get(key, ()), process_id)
        self.count += 1

    def find(self, keys: Iterable[bytes]) -> set[int]:
        parts = self._parts
        found: set[int] = set()
        for key in keys:
            process_ids = parts[key[0]].get(key)
            if process_ids is not None:
                found.update(process_ids)
        return found

    def next_part(self) -> list[tuple[bytes, int]]:
        """In the order of the tree."""
        part = self._parts[self.parts_filed]
        self.parts_filed += 1
        return [(key, process_id) for key in sorted(part) for process_id in part[key]]


def _of_who_is_there(
    connection: apsw.Connection, pairs: list[tuple[bytes, int]]
) -> list[tuple[bytes, int]]:
    """Without those whose process is forgotten: there is none, nearly always."""
    which = (apsw.carray(array("q", [process_id for _, process_id in pairs])),)
    if connection.execute(_COUNT_THERE, which).get == len(pairs):
        return pairs
    there = {process_id for (process_id,) in connection.execute(_IDS_THERE, which)}
    return [pair for pair in pairs if pair[1] in there]


def _keys_of(row: Row) -> list[bytes]:
    _, uuid, phone, email = row
    keys = [uuid]
    if phone is not None:
        keys.append(phone[:KEY_BYTES])
    if email is not None:
        keys.append(email[:KEY_BYTES])
    return keys
