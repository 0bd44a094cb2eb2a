"""A process's public identifier (requirement 5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_server.domain.process_id import format_uuid, new_uuid, parse_uuid

UUID = "98df8e4e-7240-4291-9322-282a8d97542a"


@given(st.binary(min_size=16, max_size=16))
def test_round_trip(raw: bytes) -> None:
    text = format_uuid(raw)
    assert len(text) == 36
    assert text == text.lower()
    assert parse_uuid(text) == parse_uuid(text.upper()) == raw


def test_all_bits_are_random() -> None:
    drawn = [int.from_bytes(new_uuid()) for _ in range(200)]
    ever, always = 0, (1 << 128) - 1
    for each in drawn:
        ever |= each
        always &= each
    assert (ever, always) == ((1 << 128) - 1, 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        UUID.replace("-", ""),
        UUID[:-1],
        UUID + "0",
        UUID + "\n",
        " " + UUID,
        "{" + UUID + "}",
        "urn:uuid:" + UUID,
        UUID.replace("9", "\uff19"),
        UUID.replace("-", "_"),
        "g" + UUID[1:],
    ],
)
def test_no_other_spelling(text: str) -> None:
    assert parse_uuid(text) is None
