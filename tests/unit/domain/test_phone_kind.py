"""Numbers are read and told apart as the library does it, at a part of its cost."""

from __future__ import annotations

import phonenumbers
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    COUNTRY_CODES_FOR_NON_GEO_REGIONS,
    NumberParseException,
    PhoneNumber,
    PhoneNumberFormat,
    PhoneNumberType,
)

from otp_server.domain import contact as contacts
from otp_server.domain.contact import countries, read_phone
from otp_server.domain.phone_kind import kind_of

KINDS = [value for name, value in vars(PhoneNumberType).items() if name.isupper()]


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
_DIGITS = "0123456789"


@st.composite
def numbers(draw: st.DrawFn) -> str:
    """Numbers near those that are in use, and any others."""
    code = str(draw(st.sampled_from(sorted(COUNTRY_CODE_TO_REGION_CODE))))
    digits = draw(
        st.one_of(
            st.sampled_from(EXAMPLES).map(lambda phone: phone[1:]),
            st.text(_DIGITS, max_size=14).map(lambda rest: code + rest),
            st.text(_DIGITS, min_size=3, max_size=20),
        )
    )
    prefix = draw(st.sampled_from(["", "", "0", "1", "8", "9", "15", "06"]))
    place = draw(st.integers(0, 3))
    digits = digits[:place] + prefix + digits[place:]
    changed = draw(st.integers(0, len(digits) - 1))
    return f"+{digits[:changed]}{draw(st.sampled_from(_DIGITS))}{digits[changed + 1 :]}"


def by_the_library(text: str, country: str | None) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(text, country)
    except NumberParseException:
        return None


@settings(max_examples=1000)
@given(numbers(), st.sampled_from([None, "US", "DE", "AR", "MX", "IT", "BR"]))
@example("+04917676255246", "US")
@example("+00111048569277", None)
@example("+4401217715554", None)
@example("+541123456789", "AR")
def test_a_number_is_read_as_the_library_does_it(text: str, country: str | None) -> None:
    assume(len(text) <= 21)
    number = by_the_library(text, country)
    valid = (
        number is not None
        and phonenumbers.is_possible_number(number)
        and phonenumbers.is_valid_number(number)
    )
    wanted = phonenumbers.format_number(number, PhoneNumberFormat.E164) if valid else None
    read = read_phone(text, default_country=country)
    assert (read if isinstance(read, str) else None) == wanted
    quick = contacts._in_full(text)
    if quick is not None:
        assert kind_of(quick) == phonenumbers.number_type(quick)


def test_most_numbers_are_read_quickly() -> None:
    read = [contacts._in_full(phone) for phone in EXAMPLES]
    assert sum(number is not None for number in read) > len(EXAMPLES) * 0.8
    for phone, number in zip(EXAMPLES, read, strict=True):
        if number is not None:
            assert number == by_the_library(phone, None)


def test_every_kind_is_told_in_every_country() -> None:
    seen = set()
    for phone in EXAMPLES:
        number = by_the_library(phone, None)
        assert number is not None
        seen.add(kind_of(number))
        assert kind_of(number) == phonenumbers.number_type(number)
    assert seen >= set(KINDS) - {PhoneNumberType.UNKNOWN}
