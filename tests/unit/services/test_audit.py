"""Walking the trail: what holds, and where it breaks first."""

from __future__ import annotations

import pytest
from msgspec import structs

from otp_server.domain.audit import GENESIS, AuditEntry, chained
from otp_server.services.audit import AuditService

Row = tuple[int, AuditEntry, bytes, bytes]


class Trail:
    """Rows as a database holds them, whoever changed them; gives the page that is asked for."""

    def __init__(self, count: int, *, step: int = 1) -> None:
        self.rows: list[Row] = []
        self.pages = 0
        digest = GENESIS
        for seq in range(step, step * count + 1, step):
            entry = AuditEntry(seq, "acme", "client:a", "", "otp.init", f"process {seq}", "started")
            previous, digest = digest, chained(digest, entry)
            self.rows.append((seq, entry, previous, digest))

    async def append_audit(self, entries: object) -> None:
        raise AssertionError("reading changes nothing")

    async def audit_after(self, seq: int, limit: int) -> list[Row]:
        self.pages += 1
        return [row for row in self.rows if row[0] > seq][:limit]


async def test_an_empty_trail_holds() -> None:
    walk = await AuditService(Trail(0)).verify()
    assert (walk.entries, walk.last_seq, walk.last_digest) == (0, 0, GENESIS)
    assert walk.broken_seq is None


async def test_a_long_trail_is_walked_in_pages() -> None:
    trail = Trail(2500)
    walk = await AuditService(trail).verify()
    assert (walk.entries, walk.last_seq, walk.broken_seq) == (2500, 2500, None)
    assert walk.last_digest == trail.rows[-1][3]
    assert trail.pages == 4


async def test_numbers_that_were_never_given_break_nothing() -> None:
    walk = await AuditService(Trail(2500, step=2)).verify()
    assert (walk.entries, walk.last_seq, walk.broken_seq) == (2500, 5000, None)


@pytest.mark.parametrize(
    "field", ["at_ms", "tenant", "actor", "address", "action", "subject", "outcome"]
)
async def test_a_changed_field_shows_at_its_entry(field: str) -> None:
    trail = Trail(9)
    seq, entry, previous, digest = trail.rows[4]
    other = 77 if field == "at_ms" else "changed"
    trail.rows[4] = (seq, structs.replace(entry, **{field: other}), previous, digest)
    walk = await AuditService(trail).verify()
    assert (walk.broken_seq, walk.entries, walk.last_seq) == (5, 4, 4)
    assert walk.last_digest == trail.rows[3][3]


async def test_a_changed_entry_with_a_hash_made_anew_shows_at_the_next() -> None:
    trail = Trail(9)
    seq, entry, previous, _ = trail.rows[4]
    forged = structs.replace(entry, outcome="forged")
    trail.rows[4] = (seq, forged, previous, chained(previous, forged))
    assert (await AuditService(trail).verify()).broken_seq == 6


async def test_a_removed_an_inserted_and_a_moved_entry_show() -> None:
    removed = Trail(9)
    del removed.rows[4]
    assert (await AuditService(removed).verify()).broken_seq == 6
    inserted = Trail(9)
    inserted.rows[4:] = [(row[0] + 1, *row[1:]) for row in inserted.rows[4:]]
    _, entry, previous, _ = inserted.rows[3]
    inserted.rows.insert(4, (5, entry, previous, chained(previous, entry)))
    assert (await AuditService(inserted).verify()).broken_seq == 5
    moved = Trail(9)
    fourth, fifth = moved.rows[3], moved.rows[4]
    moved.rows[3:5] = [(4, *fifth[1:]), (5, *fourth[1:])]
    assert (await AuditService(moved).verify()).broken_seq == 4


async def test_a_trail_that_begins_late_shows() -> None:
    trail = Trail(9)
    del trail.rows[0]
    assert (await AuditService(trail).verify()).broken_seq == 2


async def test_pages_are_given_after_a_number() -> None:
    trail = Trail(1500)
    page = await AuditService(trail).page_after(200)
    assert [line.seq for line in page] == list(range(201, 1201))
    assert (page[0].entry, page[0].digest) == (trail.rows[200][1], trail.rows[200][3])
    assert await AuditService(trail).page_after(1500) == []
