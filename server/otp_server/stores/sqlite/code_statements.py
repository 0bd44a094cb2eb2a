"""Codes and guesses in SQL: each function is one operation inside the caller's transaction.

What a function promises is the sentence of its namesake in ``services/ports/``. Writers are
serial, so looking and then changing is one step; the unique indexes would refuse what a mistake
here let through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otp_server.domain.challenge import CodeState, DeviceCode
from otp_server.domain.device import Device
from otp_server.services.ports import AcceptRefusal, Guess
from otp_server.stores.bounds import SWEEP_ROWS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import apsw

    from otp_server.services.ports import Acceptance

_CODE_COLUMNS = "challenge_id, device_id, digest, length, state, issued_at_ms, expires_at_ms"
_END_LIVE = (
    "UPDATE device_codes SET ended_at_ms = ?1,"
    " state = CASE WHEN expires_at_ms <= ?1 THEN 'expired' ELSE ?2 END"
    " WHERE device_id = ?3 AND state = 'issued'"
)
_FIND_LIVE = (
    f"SELECT {_CODE_COLUMNS} FROM device_codes WHERE state = 'issued'"  # noqa: S608 - our own words
    " AND digest IN ({digests}) ORDER BY seq DESC LIMIT 1"
)
# From part to part of device_codes_digest; an hour of a thousand devices has some ten.
_FIND_ENDED = (
    "WITH RECURSIVE parts (part) AS (SELECT max(seq) >> 11 FROM device_codes UNION ALL"  # noqa: S608 - our own words
    " SELECT part - 1 FROM parts WHERE part > (SELECT min(seq) >> 11 FROM device_codes))"
    f" SELECT {_CODE_COLUMNS} FROM device_codes WHERE seq = ("
    "SELECT max(c.seq) FROM parts CROSS JOIN device_codes AS c"
    " ON c.seq >> 11 = part AND c.digest IN ({digests}) WHERE c.ended_at_ms IS NOT NULL)"
)

_FORGET_CODES = (
    "DELETE FROM device_codes WHERE seq IN (SELECT seq FROM device_codes"
    " WHERE ended_at_ms IS NOT NULL AND ended_at_ms < ?1 ORDER BY ended_at_ms LIMIT ?2)"
)
_END_EXPIRED = (
    "UPDATE device_codes SET state = 'expired', ended_at_ms = ?1 WHERE seq IN ("
    "SELECT seq FROM device_codes WHERE state = 'issued' AND expires_at_ms <= ?1"
    " ORDER BY expires_at_ms LIMIT ?2)"
)
_FORGET_GUESSES = (
    "DELETE FROM guesses WHERE seq IN (SELECT seq FROM guesses"
    " WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2)"
)


def places(count: int) -> str:
    """So many question marks."""
    return ", ".join("?" * count)


def end_live_code(connection: apsw.Connection, device_id: str, state: str, at_ms: int) -> None:
    """End a device's live code, if it has one; ``expired`` if it was over already."""
    connection.execute(_END_LIVE, (at_ms, state, device_id))


def void_device_codes(
    connection: apsw.Connection, challenge_ids: Sequence[bytes], at_ms: int
) -> int:
    """Also the undo of an abandoned ``issue_device_codes``."""
    voided = 0
    for challenge_id in challenge_ids:
        connection.execute(
            "UPDATE device_codes SET state = 'void', ended_at_ms = ?"
            " WHERE challenge_id = ? AND state = 'issued'",
            (at_ms, challenge_id),
        )
        voided += connection.changes()
    return voided


def live_device_codes(connection: apsw.Connection, now_ms: int) -> dict[int, int]:
    """A scan of the live codes' covering index, for the reader."""
    rows: Iterable[tuple[Any, ...]] = connection.execute(
        "SELECT length, count(*) FROM device_codes"
        " WHERE state = 'issued' AND expires_at_ms > ? GROUP BY length",
        (now_ms,),
    )
    return {length: count for length, count in rows}  # noqa: C416 - typed so


def count_guesses(
    connection: apsw.Connection, batch: Sequence[tuple[Guess, Sequence[bytes]]]
) -> list[DeviceCode | None]:
    """Record, then look."""
    for guess, _ in batch:
        connection.execute(
            "INSERT INTO guesses (guess_id, at_ms, address_key, org_id) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (guess_id) DO NOTHING",
            (guess.guess_id, guess.at_ms, guess.address_key, guess.org_id),
        )
    return [_find(connection, digests, guess.at_ms) for guess, digests in batch]


def _find(connection: apsw.Connection, digests: Sequence[bytes], at_ms: int) -> DeviceCode | None:
    """Of a code that is over, swept or not, as much is read as of one never given (51)."""
    found: DeviceCode | None = None
    for query in (_FIND_LIVE, _FIND_ENDED):
        row = connection.execute(
            query.format(digests=places(len(digests))), tuple(digests)
        ).fetchone()
        if row is not None and found is None:
            challenge_id, device_id, digest, length, state, issued_at_ms, expires_at_ms = row
            found = DeviceCode(
                challenge_id=challenge_id,
                device_id=device_id,
                digest=digest,
                length=length,
                state=CodeState(state),
                issued_at_ms=issued_at_ms,
                expires_at_ms=expires_at_ms,
            )
            if found.state is CodeState.ISSUED and at_ms < found.expires_at_ms:
                break
    return found


def accept_device_codes(
    connection: apsw.Connection, batch: Sequence[Acceptance]
) -> list[Device | AcceptRefusal]:
    """In order, so the second of two for one code is refused."""
    return [_accept(connection, item) for item in batch]


def _accept(connection: apsw.Connection, item: Acceptance) -> Device | AcceptRefusal:
    row = connection.execute(
        "SELECT d.device_id, d.name, d.device_key, d.token_digest, d.created_at_ms, d.org_id"
        " FROM device_codes AS c JOIN devices AS d USING (device_id)"
        " WHERE c.challenge_id = ? AND c.state = 'issued' AND c.expires_at_ms > ?"
        " AND d.revoked_at_ms IS NULL",
        (item.challenge_id, item.at_ms),
    ).fetchone()
    if row is None:
        return AcceptRefusal.NOT_LIVE
    device_id, name, device_key, token_digest, created_at_ms, org_id = row
    if item.org_id is not None and item.org_id != org_id:
        if org_id is not None:
            return AcceptRefusal.LINKED_ELSEWHERE
        org_id = item.org_id
        connection.execute("UPDATE devices SET org_id = ? WHERE device_id = ?", (org_id, device_id))
    connection.execute(
        "UPDATE device_codes SET state = 'confirmed', ended_at_ms = ?, confirmed_route = ?"
        " WHERE challenge_id = ? AND state = 'issued'",
        (item.at_ms, item.route.value, item.challenge_id),
    )
    connection.execute("DELETE FROM guesses WHERE guess_id = ?", (item.guess_id,))
    return Device(device_id, name, device_key, token_digest, created_at_ms, org_id)


def guesses_since(connection: apsw.Connection, at_ms: int) -> list[Guess]:
    """Oldest first; of one millisecond in order of arrival."""
    rows = connection.execute(
        "SELECT guess_id, at_ms, address_key, org_id FROM guesses"
        " WHERE at_ms > ? ORDER BY at_ms, seq",
        (at_ms,),
    )
    return [Guess(*row) for row in rows]


def sweep(
    connection: apsw.Connection, now_ms: int, forget_before_ms: int, guesses_before_ms: int
) -> int:
    """At most ``SWEEP_ROWS_MAX`` rows of each kind; what is ended now is not forgotten now."""
    touched = 0
    for statement, before_ms in (
        (_FORGET_CODES, forget_before_ms),
        (_END_EXPIRED, now_ms),
        (_FORGET_GUESSES, guesses_before_ms),
    ):
        connection.execute(statement, (before_ms, SWEEP_ROWS_MAX))
        touched += connection.changes()
    return touched
