"""Segments of an SMS, at the edges of 3GPP TS 23.038 and 23.040."""

from __future__ import annotations

import pytest

from otp_server.domain.sms_length import is_gsm, segments


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 80 + "a", 2),
        ("a" * 152 + "€" + "a" * 152, 3),  # the euro is not cut: it begins the second
        ("a" * 151 + "€" + "a" * 153, 2),
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("ж" * 134, 2),
        ("ж" * 135, 3),
        ("\U0001f511" * 35, 1),
        ("\U0001f511" * 36, 2),
        ("ж" * 66 + "\U0001f511" + "ж" * 66, 3),  # nor is a pair of surrogates
    ],
)
def test_segments(text: str, count: int) -> None:
    assert segments(text) == count


def test_one_foreign_character_changes_the_alphabet() -> None:
    assert is_gsm("Your code: 123456_@£{}[]€\n")
    assert not is_gsm("Your code: 123456 \u2019")
    assert not is_gsm("tab\t")
    assert segments("a" * 159 + "\u2019") == 3
