"""Rows of limits: one call is the composition of single ones, and what is peculiar to rows.

The model is made of ``SlidingWindows``, which ``test_windows.py`` holds against their definition.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp_server.core import Charges, Limit, LimitRow, Quota, Quotas, SlidingWindows
from otp_server.errors import LimiterFull

if TYPE_CHECKING:
    from collections.abc import Sequence

KEYS_MAX = 2
UNDECIDED_MS = 1000


@dataclass(eq=False)
class ModelLimit:
    """One limit by single calls."""

    name: str
    windows: list[tuple[int, int]]
    told: bool
    held: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.table = SlidingWindows(self.windows, KEYS_MAX)

    def quotas(self, key: str, now_ms: int) -> list[Quota]:
        quotas = []
        room = self.table.room(key, now_ms)
        for (limit, period_ms), (remaining, reset_ms) in zip(self.windows, room, strict=True):
            undecided = not remaining and self.held[key]
            wait_ms = min(reset_ms, UNDECIDED_MS) if undecided else reset_ms
            name = f"{self.name}-{period_ms // 1000}"
            quotas.append(Quota(name, limit, period_ms, remaining, wait_ms))
        return quotas


Asked = list[tuple[ModelLimit, str]]


def has_room(limit: ModelLimit, key: str, now_ms: int) -> bool:
    return limit.table.wait_ms(key, now_ms) == 0


def told(asked: Asked, now_ms: int) -> Quotas:
    """Of each policy the tightest key, and hidden ones that refuse."""
    found: dict[str, Quota] = {}
    for limit, key in asked:
        for quota in limit.quotas(key, now_ms):
            if limit.told or not quota.remaining:
                held = found.setdefault(quota.policy, quota)
                if (quota.remaining, -quota.reset_ms) < (held.remaining, -held.reset_ms):
                    found[quota.policy] = quota
    return Quotas(list(found.values()))


def refusal(asked: Asked, now_ms: int, *, first: bool) -> tuple[list[tuple[str, int]], Quotas]:
    count = len(asked)
    if first:
        full = [n for n, (limit, key) in enumerate(asked, 1) if not has_room(limit, key, now_ms)]
        count = min([*full, count])
    violated = [
        (quota.policy, quota.reset_ms)
        for limit, key in asked[:count]
        for quota in limit.quotas(key, now_ms)
        if not quota.remaining
    ]
    return violated, told(asked[:count], now_ms)


def charge(asked: Asked, now_ms: int) -> bool:
    """Charge all, which have room; or none, when a table is full."""
    for n, (limit, key) in enumerate(asked):
        try:
            assert limit.table.reserve(key, now_ms) == 0
        except LimiterFull:
            for other, its in asked[:n]:
                other.table.refund(its, now_ms)
            return False
    return True


def once(asked: Asked) -> Asked:
    """The same key twice counts once."""
    return [one for n, one in enumerate(asked) if one not in asked[:n]]


@dataclass
class Given:
    """What both have charged."""

    core: Charges
    model: Asked
    at_ms: int
    held: bool
    stands: bool = True


windows = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4000)), min_size=1, max_size=3)
limits = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), windows, st.booleans()), min_size=1, max_size=3
)
steps_ms = st.one_of(st.just(0), st.integers(0, 300), st.integers(0, 9000), st.integers(-1500, 0))
acts = st.tuples(
    st.sampled_from(["foresee", "charge", "hold", "spend", "record", "refund", "decide"]),
    st.lists(st.sampled_from(["x", "y", "z"]), min_size=4, max_size=4),
    steps_ms,
    st.integers(0, 5),
)


@settings(max_examples=500, deadline=None)
@given(limits, st.data(), st.booleans(), st.lists(acts, max_size=50))
def test_one_call_is_the_composition_of_single_ones(
    made: list[tuple[str, list[tuple[int, int]], bool]],
    data: st.DataObject,
    first: bool,
    history: list[tuple[str, list[str], int, int]],
) -> None:
    models = [ModelLimit(name, pairs, told_) for name, pairs, told_ in made]
    cores = [Limit(name, pairs, KEYS_MAX, told=told_) for name, pairs, told_ in made]
    places = data.draw(st.lists(st.integers(0, len(made) - 1), min_size=1, max_size=4))
    row = LimitRow([cores[place] for place in places], first_only=first)
    given_: list[Given] = []
    now_ms = 1_000_000
    for act, texts, step_ms, which in history:
        now_ms += step_ms
        keys = tuple(texts[: len(places)])
        asked = [(models[place], key) for place, key in zip(places, keys, strict=True)]
        free = all(has_room(limit, key, now_ms) for limit, key in asked)
        assert row.foresee(keys, now_ms) == (told(asked, now_ms) if free else None)
        assert row.refusal(keys, now_ms) == refusal(asked, now_ms, first=first)
        if act in ("charge", "hold", "spend"):
            play_charge(row, act, keys, once(asked), now_ms, given_)
        elif act == "record":
            play_record(row, keys, asked, now_ms)
        elif act in ("refund", "decide") and given_:
            one = given_[which % len(given_)]
            play_end(one, act)
        for one in given_:
            assert one.core.quotas(now_ms) == told(one.model, now_ms)
        assert [len(core) for core in cores] == [len(model.table) for model in models]


def play_charge(
    row: LimitRow, act: str, keys: tuple[str, ...], asked: Asked, now_ms: int, given_: list[Given]
) -> None:
    call = {"charge": row.charge, "hold": row.hold, "spend": row.spend}[act]
    if not all(has_room(limit, key, now_ms) for limit, key in asked):
        assert call(keys, now_ms) is None
        return
    if not charge(asked, now_ms):
        with pytest.raises(LimiterFull):
            call(keys, now_ms)
        return
    if act == "hold":
        for limit, key in asked:
            limit.held[key] += 1
    done = call(keys, now_ms)
    if isinstance(done, Charges):
        assert done.at_ms == now_ms
        given_.append(Given(done, asked, now_ms, act == "hold"))
    else:
        assert done == told(asked, now_ms)


def play_record(row: LimitRow, keys: tuple[str, ...], asked: Asked, now_ms: int) -> None:
    try:
        for limit, key in asked:
            limit.table.record(key, now_ms)
    except LimiterFull:
        with pytest.raises(LimiterFull):
            row.record(keys, now_ms)
    else:
        row.record(keys, now_ms)


def play_end(one: Given, act: str) -> None:
    if act == "refund":
        one.core.refund()
        if one.stands:
            for limit, key in one.model:
                limit.table.refund(key, one.at_ms)
        one.stands = False
    else:
        one.core.decide()
        if one.held:
            for limit, key in one.model:
                limit.held[key] -= 1
        one.held = False


def row_of(*windows: tuple[int, int], told: bool = True, keys_max: int = 9) -> LimitRow:
    return LimitRow([Limit("one", windows, keys_max, told=told)])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a", "b"),
        (("a", "b"), ("ab",)),
        (("a", "bc"), ("ab", "c")),
        (("a b", "c"), ("a", "b c")),
        (("t", 1, bytes(16)), ("t", 2, bytes(16))),
        (("t", 1, bytes(16)), ("t", 1, bytes(15) + b"\1")),
        (("t", b""), ("t", bytes(16))),
        (("", "a"), ("a", "")),
        (("", "a"), ("a",)),
    ],
)
def test_unlike_keys_are_counted_apart(one: object, other: object) -> None:
    row = row_of((1, 1000))
    assert row.charge((one,), 0) is not None
    assert row.charge((one,), 0) is None
    assert row.charge((other,), 0) is not None


def test_of_a_digest_sixteen_bytes_count() -> None:
    row = row_of((1, 1000))
    assert row.charge((("t", bytes(32)),), 0) is not None
    assert row.foresee((("t", bytes(16)),), 0) is None
    assert row.foresee((("t", bytes(16) + b"\1" * 16),), 0) is None


@pytest.mark.parametrize(
    "keys", [(), ("a", "b"), (1,), (b"a",), (None,), ((1.5,),), (("a", 2**64),)]
)
def test_other_keys_are_errors(keys: tuple[object, ...]) -> None:
    row = row_of((1, 1000))
    for call in (row.foresee, row.charge, row.hold, row.spend, row.refusal, row.record):
        with pytest.raises((ValueError, TypeError, OverflowError)):
            call(keys, 0)


@pytest.mark.parametrize("pairs", [[], [(0, 1)], [(1, 0)], [(1, -(2**70))]])
def test_senseless_limits_are_refused(pairs: Sequence[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="at least"):
        Limit("one", pairs, 1)
    with pytest.raises(ValueError, match="at least"):
        Limit("one", [(1, 1)], 0)
    with pytest.raises(ValueError, match="at least"):
        LimitRow([])


def test_two_rows_share_a_limit() -> None:
    limit = Limit("one", [(2, 60_000)], 9)
    rows = [LimitRow([limit]), LimitRow([limit, limit])]
    assert rows[0].charge(("a",), 0) is not None
    assert rows[1].charge(("a", "b"), 0) is not None
    assert rows[0].charge(("a",), 0) is None
    assert rows[1].foresee(("b", "b"), 0) == Quotas([Quota("one-60", 2, 60_000, 1, 60_000)])


def test_charges_are_given_back_and_decided_once() -> None:
    row = row_of((2, 60_000))
    one, other = row.hold(("a",), 0), row.hold(("a",), 0)
    assert one is not None
    assert other is not None
    for _ in range(3):
        one.refund()
        one.decide()
    assert row.charge(("a",), 0) is not None
    assert row.refusal(("a",), 0)[0] == [("one-60", 1000)], "the other is not decided yet"
    other.decide()
    assert row.refusal(("a",), 0)[0] == [("one-60", 60_000)]


def test_quotas_are_values() -> None:
    quota = Quota("contact-60", 6, 60_000, 5, 59_001)
    quotas = row_of((2, 60_000)).foresee(("a",), 0)
    assert quotas == Quotas([Quota("one-60", 2, 60_000, 2, 0)])
    assert hash(quotas) == hash(Quotas([Quota("one-60", 2, 60_000, 2, 0)]))
    assert quotas != Quotas([quota])
    assert quotas != "one-60"
    assert (list(Quotas([quota])), len(Quotas([quota])), bool(Quotas([]))) == ([quota], 1, False)
    assert {quota, Quota("contact-60", 6, 60_000, 5, 59_001)} == {quota}
    match quota:
        case Quota(policy, limit, window_ms, remaining, reset_ms):
            told = policy, limit, window_ms, remaining, reset_ms
            assert told == ("contact-60", 6, 60_000, 5, 59_001)


def test_keys_are_not_shown() -> None:
    limit = Limit("one", [(1, 1000)], 2)
    row = LimitRow([limit])
    charges = row.charge(("person@example.org",), 0)
    quotas = row.refusal(("person@example.org",), 0)[1]
    shown = [repr(each) for each in (limit, row, charges, quotas, *quotas)]
    assert shown == [
        '<Limit "one" keys=1>',
        "<LimitRow of 1>",
        "<Charges at 0>",
        '<Quotas "one-1";r=0;t=1>',
        "Quota('one-1', 1, 1000, 0, 1000)",
    ]
