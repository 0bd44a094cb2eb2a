"""One contact, one normal form (requirements 34, 82), and which numbers are sent to (85)."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_server.domain.contact import (
    ContactProblem,
    Phone,
    PhoneRules,
    countries,
    mask,
    parse_email,
    read_email,
    read_phone,
)
from otp_server.domain.phone_kind import LineType, PhoneKind, kind_of

PHONE = "+12025550123"


def parse_phone(text: str, *, default_country: str | None) -> str | None:
    read = read_phone(text, default_country=default_country)
    return read.e164 if isinstance(read, Phone) else None


def phone_problem(text: str, *, default_country: str | None) -> ContactProblem | None:
    read = read_phone(text, default_country=default_country)
    return read if isinstance(read, ContactProblem) else None


def email_problem(text: str) -> ContactProblem | None:
    read = read_email(text)
    return read if isinstance(read, ContactProblem) else None


@pytest.mark.parametrize(
    "text",
    [
        "+12025550123",
        "0012025550123",
        "00 1 202 555 0123",
        "+1 (202) 555-0123",
        "+1.202.555.0123",
        "+1/202/555/0123",
        "+1\u2013202\u2014555\u22120123",
        "\u00a0+1\u2009202\u3000555 0123 ",
        "\uff0b\uff11\uff12\uff10\uff12\uff15\uff15\uff15\uff10\uff11\uff12\uff13",  # full width
        "+\u0661\u0662\u0660\u0662\u0665\u0665\u0665\u0660\u0661\u0662\u0663",  # Arabic-Indic
        "\u202a+12025550123\u202c",  # as copied out of an address book
    ],
)
@pytest.mark.parametrize("country", [None, "", "US", "GB"])
def test_every_way_to_write_a_number_is_one(text: str, country: str | None) -> None:
    assert parse_phone(text, default_country=country) == PHONE
    assert phone_problem(text, default_country=country) is None


@pytest.mark.parametrize(
    ("text", "country", "expected"),
    [
        ("07911 123456", "GB", "+447911123456"),
        ("+44 (0)7911 123456", None, "+447911123456"),
        ("8 916 123-45-67", "RU", "+79161234567"),
        ("+54 11 15 2345 6789", None, "+5491123456789"),
        ("+39 06 1234 5678", None, "+390612345678"),  # Italy keeps its zero
        ("(0049 170 1234567", "DE", "+491701234567"),  # one mark in front of mere digits
        ("/0170 1234567", "DE", "+491701234567"),
        (".0170-1234567", "DE", "+491701234567"),
    ],
)
def test_national_forms(text: str, country: str | None, expected: str) -> None:
    assert parse_phone(text, default_country=country) == expected


@pytest.mark.parametrize("country", ["XX", "de", "001", "\n"])
def test_no_number_is_of_an_unknown_country(country: str) -> None:
    assert phone_problem("0171 1234567", default_country=country) is ContactProblem.NOT_IN_USE
    assert parse_phone("+49 171 1234567", default_country=country) == "+491711234567"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("2025550123", ContactProblem.NO_COUNTRY),
        ("", ContactProblem.NOT_A_PHONE),
        ("+", ContactProblem.NOT_A_PHONE),
        ("++12025550123", ContactProblem.NOT_A_PHONE),
        ("+1202555CALL", ContactProblem.NOT_A_PHONE),
        ("+12025550123 ext. 5", ContactProblem.NOT_A_PHONE),
        ("tel:+12025550123", ContactProblem.NOT_A_PHONE),
        ("+12025550123;ext=5", ContactProblem.NOT_A_PHONE),
        ("+1202555012\u00b2\u00bd", ContactProblem.NOT_A_PHONE),
        ("+120255501", ContactProblem.NOT_IN_USE),
        ("+999123456789", ContactProblem.NOT_IN_USE),
        ("+447700900123", ContactProblem.NOT_IN_USE),
        ("+1202555\n0123", ContactProblem.CONTROL_CHARACTERS),
        ("+12025550123\r", ContactProblem.CONTROL_CHARACTERS),
        ("+1202\x005550123", ContactProblem.CONTROL_CHARACTERS),
        ("+1202\ud8005550123", ContactProblem.CONTROL_CHARACTERS),
        ("+1202555012" + " " * 100 + "3", ContactProblem.TOO_LONG),
        ("1" * 1_000_000, ContactProblem.TOO_LONG),
    ],
)
def test_no_phone(text: str, problem: ContactProblem) -> None:
    assert parse_phone(text, default_country=None) is None
    assert phone_problem(text, default_country=None) is problem
    assert problem.text


@given(st.text("+0123456789 -()", max_size=24), st.sampled_from([None, "US", "DE", "AR", "MX"]))
def test_the_normal_form_of_a_number_is_its_own(text: str, country: str | None) -> None:
    phone = parse_phone(text, default_country=country)
    if phone is not None:
        assert parse_phone(phone, default_country=None) == phone
        assert parse_phone(f"00{phone[1:]}", default_country=country) == phone


@given(st.sampled_from(sorted(countries())), st.data())
def test_the_numbers_of_every_country_keep_their_normal_form(
    country: str, data: st.DataObject
) -> None:
    example = phonenumbers.example_number(country)
    assert example is not None
    tail = data.draw(st.text("0123456789", min_size=4, max_size=4))
    written = f"{phonenumbers.format_number(example, 0)[:-4]}{tail}"
    phone = parse_phone(written, default_country=None)
    if phone is not None:
        assert parse_phone(phone, default_country=country) == phone
        assert mask(phone).count("*") >= 1


@given(st.text(max_size=80))
def test_whatever_is_written_a_phone_is_read_without_an_error(text: str) -> None:
    phone = parse_phone(text, default_country="FR")
    assert (phone is None) is (phone_problem(text, default_country="FR") is not None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("email@example.com", "email@example.com"),
        (" Email@Example.COM ", "email@example.com"),
        ("first.last+tag@mail.example.com", "first.last+tag@mail.example.com"),
        ("o'brien@example.com", "o'brien@example.com"),
        ("a@b\u00fccher.example.com", "a@xn--bcher-kva.example.com"),
        ("a@B\u00dcCHER.example.com", "a@xn--bcher-kva.example.com"),
        ("a@xn--bcher-kva.example.com", "a@xn--bcher-kva.example.com"),
        ("a@bu\u0308cher.example.com", "a@xn--bcher-kva.example.com"),  # decomposed
        ("a@\uff45xample.com", "a@example.com"),
    ],
)
def test_every_way_to_write_an_address_is_one(text: str, expected: str) -> None:
    assert parse_email(text) == expected
    assert email_problem(text) is None
    assert parse_email(expected) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ContactProblem.NOT_AN_EMAIL),
        ("email", ContactProblem.NOT_AN_EMAIL),
        ("@example.com", ContactProblem.NOT_AN_EMAIL),
        ("a@", ContactProblem.NOT_AN_EMAIL),
        ("a@localhost", ContactProblem.NOT_AN_EMAIL),
        ("a@host.local", ContactProblem.NOT_AN_EMAIL),
        ("a@[127.0.0.1]", ContactProblem.NOT_AN_EMAIL),
        ("a..b@example.com", ContactProblem.NOT_AN_EMAIL),
        ("a b@example.com", ContactProblem.NOT_AN_EMAIL),
        ('"a b"@example.com', ContactProblem.NOT_AN_EMAIL),
        ("Me <a@example.com>", ContactProblem.NOT_AN_EMAIL),
        ("a@example.com,b@example.com", ContactProblem.NOT_AN_EMAIL),
        ("a@example.com b@example.com", ContactProblem.NOT_AN_EMAIL),
        ("\u00e4@example.com", ContactProblem.EMAIL_NOT_ASCII),
        ("a@example.com\r\nBcc: b@example.com", ContactProblem.CONTROL_CHARACTERS),
        ("a@example.com\n", ContactProblem.CONTROL_CHARACTERS),
        ("a\x00@example.com", ContactProblem.CONTROL_CHARACTERS),
        ("a\u2028@example.com", ContactProblem.CONTROL_CHARACTERS),
        ("a" * 300 + "@example.com", ContactProblem.TOO_LONG),
        ("\u00fc" * 1_000_000, ContactProblem.TOO_LONG),
        ("a@" + "\u00fc" * 60 + ".example.com", ContactProblem.NOT_AN_EMAIL),
    ],
)
def test_no_address(text: str, problem: ContactProblem) -> None:
    assert parse_email(text) is None
    assert email_problem(text) is problem


@given(
    st.text("abcXYZ019.+_-'", min_size=1, max_size=20),
    st.text("abcXYZ\u00e4\u00df\u0131\u0130\u03c3\u03c2.-", min_size=1, max_size=20),
)
def test_the_normal_form_of_an_address_is_its_own(local: str, domain: str) -> None:
    address = parse_email(f"{local}@{domain}.com")
    if address is not None:
        assert address.isascii()
        assert address == address.lower()
        assert parse_email(address) == address
        assert parse_email(address.upper()) == address


@given(st.text(max_size=60))
def test_whatever_is_written_an_address_is_read_without_an_error(text: str) -> None:
    assert (parse_email(text) is None) is (email_problem(text) is not None)


@pytest.mark.parametrize(
    ("phone", "country", "line"),
    [
        ("+12025550123", "US", LineType.FIXED_LINE_OR_MOBILE),
        ("+79161234567", "RU", LineType.MOBILE),
        ("+390612345678", "IT", LineType.FIXED_LINE),
        ("+18005551234", "US", LineType.TOLL_FREE),
        ("+447012345678", "GB", LineType.PERSONAL_NUMBER),
        ("+883510000000", None, LineType.VOIP),
    ],
)
def test_what_digits_tell(phone: str, country: str | None, line: LineType) -> None:
    kind = PhoneKind(country, line)
    assert kind_of(phone) == kind
    assert read_phone(phone, default_country=None) == Phone(phone, kind)


def test_a_read_number_does_not_show_itself() -> None:
    read = read_phone(PHONE, default_country=None)
    assert isinstance(read, Phone)
    assert "2025550123" not in f"{read!r} {read}"


@pytest.mark.parametrize("mark", list(map(chr, range(128))))
def test_ascii_is_read_as_all_unicode_is(mark: str) -> None:
    """A figure space beside it takes the way of other scripts."""
    text = f"+49 170{mark}1234567"
    other = f"{text}\u2007"
    assert parse_phone(text, default_country=None) == parse_phone(other, default_country=None)
    assert phone_problem(text, default_country=None) is phone_problem(other, default_country=None)


@pytest.mark.parametrize(
    ("rules", "phone", "problem"),
    [
        (PhoneRules(), "+12025550123", None),
        (PhoneRules(), "+79161234567", None),
        (PhoneRules(), "+390612345678", ContactProblem.LINE_REFUSED),
        (PhoneRules(), "+447012345678", ContactProblem.LINE_REFUSED),
        (PhoneRules(frozenset({"US", "CA"})), "+12025550123", None),
        (PhoneRules(frozenset({"US", "CA"})), "+79161234567", ContactProblem.COUNTRY_REFUSED),
        (PhoneRules(frozenset({"US"})), "+883510000000", ContactProblem.COUNTRY_REFUSED),
        (PhoneRules(line_types=frozenset({LineType.FIXED_LINE})), "+390612345678", None),
    ],
)
def test_which_numbers_are_sent_to(
    rules: PhoneRules, phone: str, problem: ContactProblem | None
) -> None:
    read = read_phone(phone, default_country=None)
    assert isinstance(read, Phone)
    assert rules.problem_of(read.kind) is problem


@pytest.mark.parametrize(
    ("contact", "masked"),
    [
        ("+12025550123", "+1********23"),
        ("+447911123456", "+44********56"),
        ("email@example.com", "e***@example.com"),
        ("a@example.com", "***@example.com"),
    ],
)
def test_a_masked_contact_is_not_the_contact(contact: str, masked: str) -> None:
    assert mask(contact) == masked
