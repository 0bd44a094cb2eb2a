"""Issuing in SQL: one operation inside the caller's transaction.

A batch is issued by three statements, whatever its size, as long as it is *clear*: every device is
known and asks once, and no first candidate is in anybody's way. What such a batch does is the same
in any order, so it is what the port's "in order" asks for. A batch that is not clear is halved,
and the halves are issued one after the other; what is left of it in the end is an item, which
tries its candidates.

Large statements, because each ends in a fight for the GIL: SQLite works without it. But not
without end, and with a yield after each: where this thread has no processor of its own, the event
loop would wait for all of its time slice.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import apsw

from otp_server.errors import AlreadyExists
from otp_server.services.ports import IssueRefusal
from otp_server.stores.sqlite.code_statements import end_live_code, places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.services.ports import NewDeviceCode

ROWS_AT_ONCE: Final = 128
"""Codes issued by one statement: about half a millisecond of work."""
_DIGEST_BYTES: Final = 32

_USED_IDS = (
    "SELECT c.challenge_id FROM carray(?) AS given"
    " CROSS JOIN device_codes AS c ON c.challenge_id = given.value"
)

# A row of a batch is one blob: its digests, its challenge id from ?2 on, its device id from ?3 on.
_DEVICE_ID = "CAST(substr(value, ?3) AS TEXT)"
_COUNT_CLEAR = (
    "SELECT count(*) FROM carray(?1) AS new"  # noqa: S608 - our own words
    f" CROSS JOIN devices AS d ON d.device_id = {_DEVICE_ID}"
    " WHERE d.revoked_at_ms IS NULL AND NOT EXISTS ("
    "SELECT 1 FROM device_codes AS c WHERE c.state = 'issued' AND c.digest IN ({digests}))"
)
_SUPERSEDE = (
    "UPDATE device_codes SET ended_at_ms = ?4,"  # noqa: S608 - our own words
    " state = CASE WHEN expires_at_ms <= ?4 THEN 'expired' ELSE 'superseded' END"
    f" FROM (SELECT {_DEVICE_ID} AS device_id FROM carray(?1)) AS new"
    " WHERE device_codes.state = 'issued' AND device_codes.device_id = new.device_id"
)
_INSERT_CODES = (
    "INSERT INTO device_codes"  # noqa: S608 - our own words
    " (challenge_id, device_id, digest, length, state, issued_at_ms, expires_at_ms)"
    f" SELECT substr(value, ?2, ?3 - ?2), {_DEVICE_ID},"
    f" substr(value, 1, {_DIGEST_BYTES}), ?4, 'issued', ?5, ?6 FROM carray(?1)"
)
_INSERT_CODE = (
    "INSERT INTO device_codes"
    " (challenge_id, device_id, digest, length, state, issued_at_ms, expires_at_ms)"
    " VALUES (?, ?, ?, ?, 'issued', ?, ?)"
)


def issue_device_codes(
    connection: apsw.Connection, batch: Sequence[NewDeviceCode]
) -> list[int | IssueRefusal]:
    """In order, so an item meets the codes of those before it."""
    if not batch:
        return []
    _refuse_used_ids(connection, [item.challenge_id for item in batch])
    outcomes: list[int | IssueRefusal] = []
    for start in range(0, len(batch), ROWS_AT_ONCE):
        outcomes += _issue(connection, batch[start : start + ROWS_AT_ONCE])
    return outcomes


def _refuse_used_ids(connection: apsw.Connection, ids: Sequence[bytes]) -> None:
    used = {row[0] for row in connection.execute(_USED_IDS, (apsw.carray(tuple(ids)),))}
    if not used and len(set(ids)) == len(ids):
        return
    for challenge_id in ids:
        if challenge_id in used:
            raise AlreadyExists("challenge_id", challenge_id.hex())
        used.add(challenge_id)


def _issue(connection: apsw.Connection, batch: Sequence[NewDeviceCode]) -> list[int | IssueRefusal]:
    if _issue_clear(connection, batch):
        return [0] * len(batch)
    if len(batch) == 1:
        return [_issue_one(connection, batch[0])]
    middle = len(batch) // 2
    return _issue(connection, batch[:middle]) + _issue(connection, batch[middle:])


def _issue_clear(connection: apsw.Connection, batch: Sequence[NewDeviceCode]) -> bool:
    """Issue the first candidate of every item, or say that the batch is not clear."""
    rows = _rows(batch)
    if rows is None:
        return False
    first = batch[0]
    keys = len(first.candidates[0])
    id_at = keys * _DIGEST_BYTES + 1
    place = (apsw.carray(rows), id_at, id_at + len(first.challenge_id))
    digests = ", ".join(
        f"substr(value, {1 + n * _DIGEST_BYTES}, {_DIGEST_BYTES})" for n in range(keys)
    )
    clear = connection.execute(_COUNT_CLEAR.format(digests=digests), place).get
    if clear != len(rows):
        return False
    os.sched_yield()
    connection.execute(_SUPERSEDE, (*place, first.issued_at_ms))
    os.sched_yield()
    connection.execute(
        _INSERT_CODES, (*place, first.length, first.issued_at_ms, first.expires_at_ms)
    )
    os.sched_yield()
    return True


def _rows(batch: Sequence[NewDeviceCode]) -> tuple[bytes, ...] | None:
    """The items as blobs; None when they are not of one kind, or in each other's way."""
    rows: list[bytes] = []
    digests: set[bytes] = set()
    kind = _kind(batch[0])
    keys = len(batch[0].candidates[0]) if batch[0].candidates else 0
    for item in batch:
        if _kind(item) != kind or not item.candidates or len(item.candidates[0]) != keys:
            return None
        digests.update(item.candidates[0])
        rows.append(b"".join((*item.candidates[0], item.challenge_id, item.device_id.encode())))
    apart = len({item.device_id for item in batch}) == len(rows) and len(digests) == keys * len(
        rows
    )
    return tuple(rows) if apart and {len(digest) for digest in digests} == {_DIGEST_BYTES} else None


def _kind(item: NewDeviceCode) -> tuple[int, int, int, int]:
    return item.length, item.issued_at_ms, item.expires_at_ms, len(item.challenge_id)


def _issue_one(connection: apsw.Connection, item: NewDeviceCode) -> int | IssueRefusal:
    device = connection.execute(
        "SELECT revoked_at_ms FROM devices WHERE device_id = ?", (item.device_id,)
    ).fetchone()
    if device is None:
        return IssueRefusal.DEVICE_UNKNOWN
    if device[0] is not None:
        return IssueRefusal.DEVICE_REVOKED
    for index, digests in enumerate(item.candidates):
        if _make_free(connection, item, digests):
            end_live_code(connection, item.device_id, "superseded", item.issued_at_ms)
            connection.execute(
                _INSERT_CODE,
                (
                    item.challenge_id,
                    item.device_id,
                    digests[0],
                    item.length,
                    item.issued_at_ms,
                    item.expires_at_ms,
                ),
            )
            return index
    return IssueRefusal.NO_FREE_CANDIDATE


def _make_free(connection: apsw.Connection, item: NewDeviceCode, digests: Sequence[bytes]) -> bool:
    """Whether no other device's live code has one of the digests; expired ones are ended.

    The device's own code is about to be superseded, and in nobody's way.
    """
    now_ms = item.issued_at_ms
    in_the_way: list[tuple[Any, ...]] = connection.execute(
        "SELECT seq, expires_at_ms FROM device_codes"  # noqa: S608 - only question marks
        f" WHERE state = 'issued' AND device_id <> ? AND digest IN ({places(len(digests))})",
        (item.device_id, *digests),
    ).fetchall()
    if any(now_ms < expires_at_ms for _, expires_at_ms in in_the_way):
        return False
    for seq, _ in in_the_way:
        connection.execute(
            "UPDATE device_codes SET state = 'expired', ended_at_ms = ? WHERE seq = ?",
            (now_ms, seq),
        )
    return True
