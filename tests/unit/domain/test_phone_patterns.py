"""The rules of the library hold for whatever its tables say: here for countries that are made up.

Its real tables agree with themselves, so they do not tell many of its rules from others: no number
is of two types, and general descriptions say nothing that the types do not say. These do not agree.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import phonenumbers
import pytest
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumberDesc, PhoneNumberFormat

from otp_server.domain import phone_kind, phone_national
from otp_server.domain.contact import Phone, read_phone

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNTRIES: Final = {39: ("IT", "VA"), 34: ("ES",)}
"""Two that share a code, and one that does not."""
TYPES = (
    *("premium_rate", "toll_free", "shared_cost", "voip", "personal_number", "pager", "uan"),
    *("voicemail", "fixed_line", "mobile"),
)
PATTERNS = (
    *(r"\d{3,7}", r"[12]\d{3}", r"1\d{2,5}", r"0?[0-2]\d{3}", r"(?:1|22)\d{3,4}", r"[0-2]{4}"),
    *(r"1\d{3}|2\d{4}", r"2(?:0|1\d)\d\d", r"12?\d\d|3\d{5}", r"\d{2}|\d{4,5}", r"3\d*", ""),
)
PREFIXES = (
    *(None, None, "0", "1", "0|12", "(?:0|11)(2)?", "0?(?:(1)2)?", "0(1)?", r"([12]\d{3})$|0"),
)
INSTEAD = (None, None, r"2\1", r"\g<1>")
LEADING = (None, None, "1", "[02]", "12|3")


def described(dice: random.Random, pattern: str | None = None) -> PhoneNumberDesc:
    lengths = sorted(dice.sample(range(2, 9), dice.choice([0, 1, 2, 4])))
    wanted = dice.choice(PATTERNS) if pattern is None else pattern
    return PhoneNumberDesc(wanted, possible_length=tuple(lengths))


def country(dice: random.Random, code: int, name: str) -> PhoneMetadata:
    lengths = sorted(dice.sample(range(2, 9), dice.choice([2, 4, 6])))
    local = dice.sample(range(2, 9), dice.choice([0, 0, 2]))
    prefix = dice.choice(PREFIXES)
    instead = dice.choice(INSTEAD) if prefix is not None and "(" in prefix[1:] else None
    part = dice.choice([0.1, 0.3, 0.6])
    types: dict[str, Any] = {name: described(dice) for name in TYPES if dice.random() < part}
    if dice.random() < 0.6 and "fixed_line" in types:
        types["mobile"] = described(dice, types["fixed_line"].national_number_pattern)
    return PhoneMetadata(
        name,
        general_desc=PhoneNumberDesc(
            dice.choice([r"\d+", r"\d+", r"\d{3,6}", *PATTERNS[:4]]),
            possible_length=tuple(lengths),
            possible_length_local_only=tuple(local),
        ),
        country_code=code,
        international_prefix=dice.choice(["00", "31", None]),
        national_prefix_for_parsing=prefix,
        national_prefix_transform_rule=instead,
        leading_digits=dice.choice(LEADING),
        register=False,
        **types,
    )


@pytest.fixture(params=range(100))
def dice(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[random.Random]:
    """The countries are made up until the end of the test."""
    dice = random.Random(int(request.param))  # noqa: S311 - made up the same at each run
    for code, names in COUNTRIES.items():
        for name in names:
            assert PhoneMetadata.metadata_for_region(name) is not None  # read now, and not later
            made = country(dice, code, name)
            monkeypatch.setitem(PhoneMetadata._region_metadata, name, made)
    forget()
    yield dice
    monkeypatch.undo()
    forget()


def forget() -> None:
    for tables in (phone_kind._WRITTEN, phone_kind._NORMAL):
        for code in COUNTRIES:
            tables[f"+{code}0"].clear()
    phone_national._rules_of_country.cache_clear()
    phone_national._rules_of_code.cache_clear()


Read = tuple[str, str | None, str]


def by_the_library(text: str, default_country: str | None) -> Read | None:
    try:
        number = phonenumbers.parse(text, default_country)
    except NumberParseException:
        return None
    if not (phonenumbers.is_possible_number(number) and phonenumbers.is_valid_number(number)):
        return None
    phone = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    line = phone_kind._LINES[phonenumbers.number_type(number)]
    return phone, phonenumbers.region_code_for_number(number), line


def by_us(text: str, default_country: str | None) -> Read | None:
    read = read_phone(text, default_country=default_country)
    return (read.e164, read.kind.country, read.kind.line) if isinstance(read, Phone) else None


def test_numbers_of_made_up_countries_are_read_as_the_library_does_it(
    dice: random.Random,
) -> None:
    for _ in range(500):
        digits = "".join(dice.choices("0123", k=dice.randint(1, 9)))
        code = dice.choice(list(COUNTRIES))
        text = f"+{code}{digits}"
        assert by_us(text, None) == by_the_library(text, None), text
        if len(digits) >= 3 and not digits.startswith("00"):
            name = dice.choice(COUNTRIES[code])
            assert by_us(digits, name) == by_the_library(digits, name), (digits, name)
