"""What a password may be (requirement 27)."""

from __future__ import annotations

import unicodedata

import pytest

from otp_server.domain.password_rules import (
    ABOUT_YOU,
    BREACHED,
    CHARACTERS_MAX,
    TOO_LONG,
    TOO_SHORT,
    normal_password,
    password_problems,
)

ABOUT = ("Jane.Doe@example.com", "Jane", "Doe-Müller", "")
FI = "\N{LATIN SMALL LIGATURE FI}"
E_AND_ACUTE = "e\N{COMBINING ACUTE ACCENT}"


def problems(password: str, breached: frozenset[str] = frozenset()) -> list[str]:
    return password_problems(password, about=ABOUT, is_breached=breached.__contains__)


@pytest.mark.parametrize(
    "password",
    [
        "12345678",
        "        ",
        "пароль-1",
        "🐎🔋📎✅🐎🔋📎✅",
        "a" * 64,
        "a" * CHARACTERS_MAX,
        E_AND_ACUTE * CHARACTERS_MAX,  # typed as two characters each
        "tab\tand\0nul",
        "\ud800 and others",
        "jane.doe@example.org",
        "Jane Doe 1",
    ],
)
def test_any_characters_will_do(password: str) -> None:
    assert problems(password) == []


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        ("", TOO_SHORT),
        ("1234567", TOO_SHORT),
        (E_AND_ACUTE * 7, TOO_SHORT),
        ("a" * (CHARACTERS_MAX + 1), TOO_LONG),
        (FI * (CHARACTERS_MAX // 2 + 1), TOO_LONG),
        ("a" * 100_000, TOO_LONG),
        ("jane.doe@example.com", ABOUT_YOU),
        ("JANE.DOE@EXAMPLE.COM", ABOUT_YOU),
        ("jane.doe", ABOUT_YOU),
        ("doe-MÜLLER", ABOUT_YOU),
        ("Doe-Mu\N{COMBINING DIAERESIS}ller", ABOUT_YOU),
        ("jane doe-müller", ABOUT_YOU),
        ("Doe-Müller, Jane", ABOUT_YOU),
    ],
)
def test_what_is_refused_says_why(password: str, problem: str) -> None:
    assert problems(password) == [problem]


def test_a_breached_password_is_asked_for_in_its_normal_form_and_case() -> None:
    stolen = frozenset({"finished", "Caf\N{LATIN SMALL LETTER E WITH ACUTE} noir"})
    assert problems(f"{FI}nished", stolen) == [BREACHED]
    assert problems(f"Caf{E_AND_ACUTE} noir", stolen) == [BREACHED]
    assert problems("Finished", stolen) == []


def test_lists_are_asked_last() -> None:
    asked: list[str] = []

    def is_breached(password: str) -> bool:
        asked.append(password)
        return True

    for password in ("short", "a" * 1000, "jane.doe"):
        password_problems(password, about=ABOUT, is_breached=is_breached)
    assert asked == []


def test_names_without_a_letter_say_nothing() -> None:
    never = frozenset[str]().__contains__
    assert password_problems("--------", about=("", "---", "@"), is_breached=never) == []


def test_no_problem_quotes_the_password() -> None:
    password = "Zx81-Zx81"
    said = problems(password, frozenset({password}))
    assert said
    assert password not in "".join(said)


def test_no_password_is_too_long_for_being_typed_in_many_marks() -> None:
    """Nothing takes more than four code points for one."""
    most = "\N{GREEK SMALL LETTER ALPHA}\u0313\u0300\u0345"
    assert normal_password(most * CHARACTERS_MAX) == "\u1f82" * CHARACTERS_MAX
    assert problems(most * CHARACTERS_MAX) == []


def test_what_is_far_too_long_is_not_even_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    normalised: list[int] = []

    def normalize(form: str, text: str) -> str:
        normalised.append(len(text))
        return text

    monkeypatch.setattr(unicodedata, "normalize", normalize)
    assert normal_password("a" * (4 * CHARACTERS_MAX + 1)) is None
    assert problems("\u0323\u0301" * 30_000) == [TOO_LONG]
    assert normalised == []


def test_the_normal_form_of_a_normal_form_is_itself() -> None:
    normal = normal_password(f"{FI}x {E_AND_ACUTE}\N{NO-BREAK SPACE}")
    assert normal == "fix \N{LATIN SMALL LETTER E WITH ACUTE} "
    assert normal_password(normal) == normal
    assert normal_password("a" * 513) is None
