"""A code as a person types it: requirements 3 and 24."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_server.domain.challenge_type import CodeType
from otp_server.domain.code_entry import parse_answer, parse_code


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


@pytest.mark.parametrize(
    ("text", "code_type", "length", "code"),
    [
        ("123456", CodeType.NUMERIC, 6, "123456"),
        (" 000-000 ", CodeType.NUMERIC, 6, "000000"),
        ("\uff11\u0662\u0663\u06f4\u096b6", CodeType.NUMERIC, 6, "123456"),  # any script
        ("ab12", CodeType.ALPHANUMERIC, 4, "AB12"),
        ("aB-cD e", CodeType.ALPHABETIC, 5, "ABCDE"),
        ("\uff41\uff22\uff43\uff24\uff45", CodeType.ALPHABETIC, 5, "ABCDE"),
        ("bcdfg", CodeType.UNAMBIGUOUS, 5, "BCDFG"),
        ("b c d f g " + " " * 10, CodeType.UNAMBIGUOUS, 5, "BCDFG"),
        ("1" * 32, CodeType.NUMERIC, 32, "1" * 32),
    ],
)
def test_an_answer_is_read(text: str, code_type: CodeType, length: int, code: str) -> None:
    passcode = parse_answer(text, code_type, length)
    assert passcode is not None
    assert passcode.reveal() == code


@pytest.mark.parametrize(
    ("text", "code_type", "length"),
    [
        ("", CodeType.NUMERIC, 6),
        ("12345", CodeType.NUMERIC, 6),
        ("1234567", CodeType.NUMERIC, 6),
        ("12345a", CodeType.NUMERIC, 6),
        ("abcd1", CodeType.ALPHABETIC, 5),
        ("bcdfa", CodeType.UNAMBIGUOUS, 5),
        ("bcdfy", CodeType.UNAMBIGUOUS, 5),
        ("\u0131bcde", CodeType.ALPHABETIC, 5),  # dotless i is no I
        ("\u00dfabc", CodeType.ALPHABETIC, 5),  # nor is sharp s two
        ("\u0410\u0412CDE", CodeType.ALPHABETIC, 5),  # nor are Cyrillic letters Latin
        ("\u212bBCDE", CodeType.ALPHABETIC, 5),
        ("123\ud80056", CodeType.NUMERIC, 6),
        ("1" * 25, CodeType.NUMERIC, 6),
        ("123456" + " " * 100_000, CodeType.NUMERIC, 6),
        ("\ufdfa" * 24, CodeType.ALPHABETIC, 6),  # one character that folds to eighteen
    ],
)
def test_not_an_answer(text: str, code_type: CodeType, length: int) -> None:
    assert parse_answer(text, code_type, length) is None


@given(st.text(max_size=40), st.sampled_from(CodeType), st.integers(4, 32))
def test_reading_an_answer_twice_changes_nothing(
    text: str, code_type: CodeType, length: int
) -> None:
    once = parse_answer(text, code_type, length)
    if once is not None:
        again = parse_answer(once.reveal(), code_type, length)
        assert again is not None
        assert again.matches(once)
