"""A code as a person types it: requirements 3 and 24."""

from __future__ import annotations

import pytest

from otp_server.domain.code_entry import parse_code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("123456", "123456"),
        ("000000", "000000"),
        ("012345", "012345"),
        (" 123 456 ", "123456"),
        ("123-456", "123456"),
        ("123\u2013456", "123456"),
        ("\uff11\uff12\uff13\uff14\uff15\uff16", "123456"),  # full width
        ("\u0661\u0662\u0663\u0664\u0665\u0666", "123456"),  # Arabic-Indic
        ("12345678", "12345678"),
    ],
)
def test_read(text: str, code: str) -> None:
    passcode = parse_code(text, length_min=6, length_max=8)
    assert passcode is not None
    assert passcode.reveal() == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12345",
        "123456789",
        "12345a",
        "12.456",
        "\u00b2\u00b2\u00b2\u00b2\u00b2\u00bd",
        "1" * 10_000,
    ],
)
def test_not_a_code(text: str) -> None:
    assert parse_code(text, length_min=6, length_max=8) is None
