"""Numbers are read and told apart as the library does it, at a part of its cost."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import phonenumbers
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    COUNTRY_CODES_FOR_NON_GEO_REGIONS,
    NumberParseException,
    PhoneMetadata,
    PhoneNumberFormat,
    PhoneNumberType,
)

from otp_server.domain import phone_kind
from otp_server.domain.contact import Phone, countries, read_phone
from otp_server.domain.phone_kind import (
    LineType,
    NoKind,
    PhoneKind,
    country_code_of,
    kind_of,
    told_of,
)
from otp_server.domain.phone_patterns import NATIONAL_DIGITS_MAX

KINDS = [value for name, value in vars(PhoneNumberType).items() if name.isupper()]
_DIGITS = "0123456789"
_CODES = frozenset(map(str, COUNTRY_CODE_TO_REGION_CODE))


def _examples() -> list[str]:
    """A number of every kind of every country, and of every code without one."""
    found = [
        phonenumbers.example_number_for_type(country, kind)
        for country in sorted(countries())
        for kind in KINDS
    ]
    found += [
        phonenumbers.example_number_for_non_geo_entity(code)
        for code in COUNTRY_CODES_FOR_NON_GEO_REGIONS
    ]
    return [
        phonenumbers.format_number(number, PhoneNumberFormat.E164)
        for number in found
        if number is not None
    ]


EXAMPLES = _examples()


def code_in(digits: str) -> str:
    """The country code that digits begin with; empty when they begin with none."""
    return next((digits[:n] for n in (1, 2, 3) if digits[:n] in _CODES), "")


@st.composite
def digits_in_full(draw: st.DrawFn) -> str:
    """Country codes and numbers near those that are in use, and any others."""
    code = draw(st.sampled_from(sorted(_CODES)))
    digits = draw(
        st.one_of(
            st.sampled_from(EXAMPLES).map(lambda phone: phone[1:]),
            st.text(_DIGITS, max_size=14).map(lambda rest: code + rest),
            st.text(_DIGITS, min_size=3, max_size=20),
        )
    )
    prefix = draw(st.sampled_from(["", "", "0", "1", "8", "9", "15", "06", "90", "180020"]))
    place = draw(st.one_of(st.just(len(code_in(digits))), st.integers(0, 3)))
    digits = digits[:place] + prefix + digits[place:]
    for changed in draw(st.lists(st.integers(0, len(digits) - 1), max_size=3)):
        digits = f"{digits[:changed]}{draw(st.sampled_from(_DIGITS))}{digits[changed + 1 :]}"
    return digits[: draw(st.one_of(st.none(), st.integers(1, len(digits))))]


@st.composite
def national_digits(draw: st.DrawFn) -> tuple[str, str]:
    """Numbers as they are called within a country, and the country."""
    digits = draw(digits_in_full())
    code = code_in(digits)
    regions = set(COUNTRY_CODE_TO_REGION_CODE[int(code)] if code else ()) & countries()
    country = draw(st.sampled_from(sorted(regions or countries())))
    metadata = PhoneMetadata.metadata_for_region(country)
    assert metadata is not None
    prefixes = ["", "0", "1", "8", metadata.national_prefix or "0", code]
    return draw(st.sampled_from(prefixes)) + digits[len(code) :], country


Read = tuple[str, str | None, int]
"""Normal form, country and type of a number."""


def by_the_library(text: str, country: str | None) -> Read | None:
    try:
        number = phonenumbers.parse(text, country)
    except NumberParseException:
        return None
    if not (phonenumbers.is_possible_number(number) and phonenumbers.is_valid_number(number)):
        return None
    region = phonenumbers.region_code_for_number(number)
    phone = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    return phone, None if region == "001" else region, phonenumbers.number_type(number)


def by_us(text: str, country: str | None) -> Read | None:
    read = read_phone(text, default_country=country)
    if not isinstance(read, Phone):
        return None
    assert kind_of(read.e164) == read.kind
    assert read.e164.startswith(f"+{country_code_of(read.e164)}")
    return read.e164, read.kind.country, TYPES[read.kind.line]


TYPES = {line: kind for kind, line in phone_kind._LINES.items()}


@settings(max_examples=500)
@given(
    digits_in_full().map(lambda digits: f"+{digits}"),
    st.one_of(st.none(), st.sampled_from(sorted(countries())), st.just("XX")),
)
@example("+04917676255246", "US")
@example("+00111048569277", None)
@example("+01112025550123", "US")  # a + before a prefix of international calls
@example("+4401217715554", None)
@example("+541123456789", "AR")
@example("+78001234567", None)  # begins as the prefix of national calls does
@example("+3906698123456", None)  # two countries share the code
@example("+77012345678", None)
@example("+12684641234", None)
@example("+12689999999", None)  # a country by its first digits, and no number there
@example("+37860123456", None)
@example("+3780549886377", None)
@example("+810002123456", None)
def test_a_number_in_full_is_read_as_the_library_does_it(text: str, country: str | None) -> None:
    assume(3 < len(text) <= 21)
    assert by_us(text, country) == by_the_library(text, country)


@settings(max_examples=500)
@given(national_digits())
@example(("01711234567", "DE"))
@example(("491711234567", "DE"))
@example(("886377", "SM"))  # a prefix that stands for another
@example(("01115123456", "AR"))
@example(("0111512345678", "AR"))
@example(("15123456", "NF"))
@example(("0012125550123", "DE"))
@example(("01112125550123", "US"))
@example(("12025550123", "US"))
@example(("83012345678", "BY"))
@example(("0669812345", "VA"))
def test_a_national_number_is_read_as_the_library_does_it(written: tuple[str, str]) -> None:
    text, country = written
    assume(3 <= len(text) <= 20)
    in_full = f"+{text[2:]}" if text.startswith("00") else text
    assert by_us(text, country) == by_the_library(in_full, country)


def test_each_number_near_an_example_is_read_as_the_library_does_it() -> None:
    """Each digit changed, taken out and doubled."""
    near = set(EXAMPLES)
    for phone in EXAMPLES:
        for place in range(1, len(phone)):
            other = str((int(phone[place]) + 1 + place) % 10)
            near.add(phone[:place] + other + phone[place + 1 :])
            if place % 3 == 0:
                near.add(phone[:place] + phone[place + 1 :])
                near.add(phone[:place] + phone[place] + phone[place:])
    in_use = 0
    for phone in sorted(near):
        read = by_us(phone, None)
        assert read == by_the_library(phone, None), phone
        in_use += read is not None
    assert len(near) > 10_000
    assert 0.2 < in_use / len(near) < 0.8


def test_the_examples_are_told_at_once_but_for_those_that_begin_as_a_prefix() -> None:
    told = Counter(type(told_of(phone)).__name__ for phone in EXAMPLES)
    assert told["PhoneKind"] > 0.9 * len(EXAMPLES)
    for phone in EXAMPLES:
        read = by_the_library(phone, None)
        kind = told_of(phone)
        assert isinstance(kind, PhoneKind) or kind is NoKind.PREFIXED or read is None
        if isinstance(kind, PhoneKind):
            assert read == (phone, kind.country, TYPES[kind.line])


def test_every_line_is_told() -> None:
    seen = {kind.line for kind in map(kind_of, EXAMPLES) if kind is not None}
    assert seen == set(LineType)
    assert set(TYPES.values()) == set(KINDS) - {PhoneNumberType.UNKNOWN}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "+4",
        "+49",
        "+491",
        "+4917",
        "491711234567",
        "+49 1711234567",
        "+49171 1234567",
        "+491711234567 ",
        "+491711234567\n",
        "+49171123456\u0667",
        "+4\u0669171123456",
        "\uff0b491711234567",
        "+9991711234567",
        "+0491711234567",
        "+49171123456x",
        "+49" + "1" * 100_000,
    ],
)
def test_a_text_that_is_no_number_in_full_is_of_no_kind(text: str) -> None:
    assert not isinstance(told_of(text), PhoneKind)
    assert kind_of(text) is None


@pytest.mark.parametrize("text", ["", "+", "+9991234567", "491711234567", "email@example.com"])
def test_a_text_that_is_no_number_has_no_country_code(text: str) -> None:
    with pytest.raises(ValueError, match=r"no E\.164 number"):
        country_code_of(text)


def test_what_is_kept_is_by_country_code_and_length() -> None:
    starts = len(phone_kind._WRITTEN)
    for phone in (*EXAMPLES, "+49" + "1" * 1000, "+1" + "2" * 50):
        told_of(phone)
        kind_of(phone)
    assert len(phone_kind._WRITTEN) == starts < 1000
    for tables in (*phone_kind._WRITTEN.values(), *phone_kind._NORMAL.values()):
        longest = 1 + len(tables.country_code) + NATIONAL_DIGITS_MAX
        assert set(tables) <= set(range(longest + 3))


def test_no_country_is_looked_at_before_its_first_number() -> None:
    code = """
import sys
from otp_server.domain import contact, phone_kind
def loaded():
    return {name[-2:] for name in sys.modules if name.startswith("phonenumbers.data.region_")}
assert not any(phone_kind._WRITTEN.values()) and not loaded(), loaded()
contact.read_phone("+491711234567", default_country=None)
assert loaded() == {"DE"}, loaded()
assert len({id(tables) for tables in phone_kind._WRITTEN.values() if tables}) == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True)
