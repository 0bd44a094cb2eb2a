"""How an Idempotency-Key is written."""

from __future__ import annotations

import pytest

from otp_server.domain.idempotency import parse_key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("a", "a"),
        ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ('"8e03978e"', "8e03978e"),
        (r'"a\"b\\c"', 'a"b\\c'),
        ("!~" * 127 + "!", "!~" * 127 + "!"),
        ('"' + r"\\" * 255 + '"', "\\" * 255),
        ('a"b', 'a"b'),
        ("", None),
        ('""', None),
        ('"', None),
        ('"a', None),
        ('"a"b', None),
        (r'"a\b"', None),
        ("a b", None),
        ('"a b"', None),
        (" a", None),
        ("a\n", None),
        ("\x7f", None),
        ("ü", None),
        ("a" * 256, None),
        ('"' + "a" * 256 + '"', None),
        ('"' + r"\\" * 256 + '"', None),
    ],
)
def test_keys(text: str, key: str | None) -> None:
    assert parse_key(text) == key


def test_quoted_and_bare_name_the_same_key() -> None:
    assert parse_key('"abc"') == parse_key("abc")
