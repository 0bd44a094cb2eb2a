"""When a code may be confirmed: requirement 17."""

from __future__ import annotations

import pytest

from otp_server.domain.challenge import CodeState, DeviceCode

ISSUED_MS, EXPIRES_MS, SKEW_MS = 1_000_000, 1_300_000, 2_000


def code(state: CodeState = CodeState.ISSUED) -> DeviceCode:
    return DeviceCode(b"c" * 16, "device", b"d" * 32, 6, state, ISSUED_MS, EXPIRES_MS)


@pytest.mark.parametrize(
    ("now_ms", "live"),
    [
        (ISSUED_MS, True),
        (EXPIRES_MS - 1, True),
        (EXPIRES_MS, False),
        (EXPIRES_MS + 3_600_000, False),
        (ISSUED_MS - SKEW_MS, True),
        (ISSUED_MS - SKEW_MS - 1, False),  # the clock went back: its age cannot be judged
        (ISSUED_MS - 3_600_000, False),
    ],
)
def test_time(now_ms: int, live: bool) -> None:
    assert code().is_live(now_ms, skew_ms=SKEW_MS) is live


@pytest.mark.parametrize("state", set(CodeState) - {CodeState.ISSUED})
def test_every_end_is_final(state: CodeState) -> None:
    assert not code(state).is_live(ISSUED_MS, skew_ms=SKEW_MS)
