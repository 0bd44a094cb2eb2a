"""What the quick rule takes for an address, the library reads alike; the rest is left to it."""

from __future__ import annotations

import pytest
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otp_server.domain.contact import parse_email
from otp_server.domain.plain_email import plain_email

_TOP = [*SPECIAL_USE_DOMAIN_NAMES, *("com", "example", "xn--p1ai", "c", "c0m", "0", "tEst", "a-b")]
_WORDS = st.text("abzAZ09", min_size=1, max_size=4)
_JOINTS = st.sampled_from(
    [".", "-", "_", "+", "..", "--", ".-", "-.", "'", "!", "\u212a", "\u3002"]
)
_LONG = st.builds(
    lambda letter, count: letter * count, st.sampled_from("a0-."), st.integers(0, 260)
)
_PARTS = st.lists(
    st.one_of(_WORDS, _WORDS, _JOINTS, st.sampled_from(["xn--", "ab--c", "info", "\u0130", " "])),
    max_size=7,
).map("".join)
_LOCALS = st.one_of(_PARTS, _LONG, st.text(max_size=6))
_DOMAINS = st.one_of(
    st.builds("{}.{}".format, st.one_of(_PARTS, _LONG), st.sampled_from(_TOP)),
    st.builds("{}.{}.{}".format, _PARTS, st.sampled_from(_TOP), st.sampled_from(_TOP)),
    st.sampled_from(_TOP),
    st.text(max_size=6),
)
ADDRESSES = st.builds(
    "{}{}{}".format, _LOCALS, st.sampled_from(["@", "@", "@", "", "@@", " @"]), _DOMAINS
)


def by_the_library(text: str) -> str | None:
    try:
        address = validate_email(
            text, check_deliverability=False, allow_smtputf8=False, test_environment=False
        )
    except EmailNotValidError:
        return None
    return None if address.ascii_email is None else address.ascii_email.lower()


@settings(max_examples=1000)
@given(ADDRESSES)
@example("a@" + "b." * 31 + "com")
@example("a@" + "b" * 60 + ".com")
@example("a" * 250 + "@b.co")
@example("a@b.\u212aom")
@example("a@xn--p1ai.com")
@example("a@b--c.com")
@example("a@b.com\n")
def test_what_is_plain_is_an_address_as_the_library_reads_it(text: str) -> None:
    plain = plain_email(text)
    if plain is not None:
        assert plain == by_the_library(text)
        assert plain == parse_email(plain)


@pytest.mark.parametrize(
    "text",
    [
        "person@example.com",
        "First.Last+tag@Mail-1.Example.co.uk",
        "_a-b_@9.example",
        "0@0.de",
        "a" * 190 + "@" + "b" * 59 + ".com",
    ],
)
def test_what_most_people_have_is_plain(text: str) -> None:
    assert plain_email(text) == text.lower() == by_the_library(text)


@pytest.mark.parametrize("top", sorted({*SPECIAL_USE_DOMAIN_NAMES, "LOCAL", "Test"}))
@pytest.mark.parametrize("under", ["", "host.", "a.b."])
def test_no_reserved_name_is_plain(top: str, under: str) -> None:
    assert plain_email(f"person@{under}{top}") is None


@pytest.mark.parametrize(
    "text",
    [
        "person@example",
        "person@example.c0m1",
        "person@example.123",
        "person@-example.com",
        "person@example-.com",
        "person@exa--mple.com",
        "person@example..com",
        ".person@example.com",
        "person.@example.com",
        "per..son@example.com",
        '"person"@example.com',
        "person@[192.0.2.1]",
        "person@\u0435xample.com",
        " person@example.com",
        "person@example.com.",
        "a@" + "b" * 60 + ".com",
    ],
)
def test_the_rest_is_left_to_the_library(text: str) -> None:
    assert plain_email(text) is None
