"""Plans in SQL: each kept once, under the SHA-256 of its canonical JSON.

A process row names its plan by number. What is decoded is cached by digest and not by number: a
number that a rolled back transaction gave is given again, to another plan.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import msgspec

from otp_server.domain.challenge_type import Plan

if TYPE_CHECKING:
    from collections.abc import Iterable

    import apsw

K = TypeVar("K")
V = TypeVar("V")

CACHE_BYTES: Final = 8 * 1024 * 1024
"""How much JSON a cache of decoded plans stands for."""

_FIND = "SELECT id FROM plans WHERE digest = ?"
_INSERT = "INSERT INTO plans (digest, body) VALUES (?, ?)"
_BODY = "SELECT body FROM plans WHERE id = ?"
_DROP = (
    "DELETE FROM plans WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM processes WHERE plan_id = ?1)"
)


class _Bounded(Generic[K, V]):
    """What was used last, up to a sum of sizes."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._held: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: K) -> V | None:
        found = self._held.get(key)
        if found is None:
            return None
        self._held.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, size: int) -> None:
        """A key that is not held."""
        self._held[key] = (value, size)
        self._bytes += size
        while self._bytes > self._bytes_max:
            _, (_, dropped) = self._held.popitem(last=False)
            self._bytes -= dropped


class PlanCache:
    """Decoded plans by digest, and the digests of plans to store; the least used dropped first.

    Of one thread. A plan to store is known again by identity: a start brings the object that the
    last start of its type brought, and to encode it each time would cost more than the rest.
    """

    def __init__(self, bytes_max: int = CACHE_BYTES) -> None:
        self._plans: _Bounded[bytes, Plan] = _Bounded(bytes_max)
        self._digests: _Bounded[int, tuple[Plan, bytes]] = _Bounded(bytes_max)

    def get(self, connection: apsw.Connection, plan_id: int, digest: bytes) -> Plan:
        """The plan of a row of ``plans``."""
        known = self._plans.get(digest)
        if known is not None:
            return known
        body = connection.execute(_BODY, (plan_id,)).get
        plan = msgspec.json.decode(body, type=Plan)
        self._plans.put(digest, plan, len(body))
        return plan

    def keep(self, connection: apsw.Connection, plan: Plan) -> int:
        """The number of the plan's row, inserted if there is none."""
        digest = self._digest_of(plan)
        row = connection.execute(_FIND, (digest,)).fetchone()
        if row is not None:
            return int(row[0])
        connection.execute(_INSERT, (digest, msgspec.json.encode(plan)))
        return connection.last_insert_rowid()

    def _digest_of(self, plan: Plan) -> bytes:
        known = self._digests.get(id(plan))  # held with the plan, so the id stays the plan's
        if known is not None:
            return known[1]
        body = msgspec.json.encode(plan)
        digest = hashlib.sha256(body).digest()
        self._digests.put(id(plan), (plan, digest), len(body))
        return digest


def drop_plans(connection: apsw.Connection, plan_ids: Iterable[int]) -> None:
    """Delete those of them that no process keeps any more."""
    connection.executemany(_DROP, [(plan_id,) for plan_id in plan_ids])
