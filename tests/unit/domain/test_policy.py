"""The length rule for crowded code spaces: requirement 50."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otp_server.core import SlidingWindows
from otp_server.domain.policy import CodePolicy, failures_in

POLICY = CodePolicy(
    length_min=6, length_max=8, ttl_ms=300_000, guess_risk=0.1, failures_allowed=500
)


def test_the_bound_in_numbers() -> None:
    assert [POLICY.live_max(n) for n in (6, 7, 8)] == [200, 2000, 20000]


def test_length_grows_when_live_codes_crowd() -> None:
    assert POLICY.length_for({}, 1) == 6
    assert POLICY.length_for({6: 199}, 1) == 6
    assert POLICY.length_for({6: 200}, 1) == 7
    assert POLICY.length_for({6: 200, 7: 2000}, 1) == 8
    assert POLICY.length_for({6: 200, 7: 2000, 8: 20000}, 1) is None


def test_it_shrinks_again_when_codes_end() -> None:
    assert POLICY.length_for({6: 100, 7: 1500}, 1) == 6


def test_a_batch_needs_room_for_all_of_it() -> None:
    assert POLICY.length_for({6: 150}, 51) == 7


@given(
    st.dictionaries(st.integers(6, 8), st.integers(0, 30_000)),
    st.integers(1, 1000),
)
def test_expected_hits_stay_within_the_risk(live: dict[int, int], more: int) -> None:
    length = POLICY.length_for(live, more)
    if length is not None:
        hits = POLICY.failures_allowed * (live.get(length, 0) + more) / 10**length
        assert hits <= POLICY.guess_risk
        for shorter in range(6, length):
            crowded = POLICY.failures_allowed * (live.get(shorter, 0) + more) / 10**shorter
            assert crowded > POLICY.guess_risk


@given(
    st.lists(st.tuples(st.integers(1, 8), st.integers(1, 50)), min_size=1, max_size=3),
    st.integers(1, 120),
)
def test_failures_in_is_never_less_than_what_the_windows_let_pass(
    windows: list[tuple[int, int]], span_ms: int
) -> None:
    table = SlidingWindows(windows, 1)
    stamps = [now for now in range(1, 3 * span_ms) if table.reserve("", now) == 0]
    most = max(
        sum(start < stamp <= start + span_ms for stamp in stamps) for start in range(2 * span_ms)
    )
    assert most <= failures_in(windows, span_ms)
