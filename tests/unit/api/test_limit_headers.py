"""RateLimit and RateLimit-Policy as they are written."""

from __future__ import annotations

from otp_server.api.limit_headers import limit_headers
from otp_server.domain.process_outcome import Quota


def test_each_policy_is_an_item() -> None:
    quotas = [Quota("contact-60", 6, 60_000, 5, 59_001), Quota("tenant-3600", 100, 3_600_000, 0, 1)]
    assert limit_headers(quotas) == (
        ("RateLimit-Policy", '"contact-60";q=6;w=60, "tenant-3600";q=100;w=3600'),
        ("RateLimit", '"contact-60";r=5;t=60, "tenant-3600";r=0;t=1'),
    )


def test_nothing_to_tell_is_no_header() -> None:
    assert limit_headers([]) == ()
