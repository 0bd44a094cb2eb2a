"""RateLimit and RateLimit-Policy as they are written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otp_server.api.limit_headers import limit_headers
from otp_server.core import Limit, LimitRow, Quota, Quotas

NUMBER = st.integers(0, 2**63 - 1)


def test_each_policy_is_an_item() -> None:
    quotas = [Quota("contact-60", 6, 60_000, 5, 59_001), Quota("tenant-3600", 100, 3_600_000, 0, 1)]
    assert limit_headers(Quotas(quotas)) == (
        ("RateLimit-Policy", '"contact-60";q=6;w=60, "tenant-3600";q=100;w=3600'),
        ("RateLimit", '"contact-60";r=5;t=60, "tenant-3600";r=0;t=1'),
    )


def test_nothing_to_tell_is_no_header() -> None:
    assert limit_headers(None) == ()
    assert limit_headers(Quotas([])) == ()
    hidden = LimitRow([Limit("hidden", [(1, 1000)], 1, told=False)])
    assert limit_headers(hidden.foresee(("",), 0)) == ()


@given(st.lists(st.builds(Quota, st.text("abc-19"), NUMBER, NUMBER, NUMBER, NUMBER), min_size=1))
def test_numbers_are_whole_and_seconds_are_rounded_up(quotas: list[Quota]) -> None:
    policies = [f'"{each.policy}";q={each.limit};w={each.window_ms // 1000}' for each in quotas]
    left = [f'"{each.policy}";r={each.remaining};t={-(-each.reset_ms // 1000)}' for each in quotas]
    assert limit_headers(Quotas(quotas)) == (
        ("RateLimit-Policy", ", ".join(policies)),
        ("RateLimit", ", ".join(left)),
    )


def test_the_policies_of_one_row_are_one_text() -> None:
    """It is not made again for each answer."""
    row = LimitRow([Limit("a", [(6, 60_000)], 10), Limit("b", [(9, 1000)], 10)])
    one, other = row.foresee(("x", "y"), 0), row.spend(("y", "x"), 5)
    assert one is not None
    assert other is not None
    assert one.policies is other.policies
    assert one.left is one.left
    assert (one.left, other.left) == (
        '"a-60";r=6;t=0, "b-1";r=9;t=0',
        '"a-60";r=5;t=60, "b-1";r=8;t=1',
    )
