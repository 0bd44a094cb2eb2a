"""The contacts of a request: normal forms by channel, problems by field, the phone's kind."""

from __future__ import annotations

import pytest

from otp_server.domain.challenge_type import Channel
from otp_server.domain.contact import ContactProblem
from otp_server.domain.phone_kind import LineType, PhoneKind
from otp_server.services.contact_entry import read_contacts, read_with_kind

PHONE, EMAIL = "+491711234567", "person@example.com"
GERMAN = PhoneKind("DE", LineType.MOBILE)
NOT_IN_USE = [ContactProblem.NOT_IN_USE.text]
NOT_AN_EMAIL = [ContactProblem.NOT_AN_EMAIL.text]


@pytest.mark.parametrize(
    ("phone", "email", "contacts", "problems", "kind"),
    [
        (None, None, {}, {}, None),
        ("+49 171 1234567", None, {Channel.SMS: PHONE}, {}, GERMAN),
        ("0171 1234567", None, {Channel.SMS: PHONE}, {}, GERMAN),
        (None, "Person@Example.com", {Channel.EMAIL: EMAIL}, {}, None),
        (PHONE, EMAIL, {Channel.SMS: PHONE, Channel.EMAIL: EMAIL}, {}, GERMAN),
        ("+49 1", EMAIL, {Channel.EMAIL: EMAIL}, {"mobilePhone": NOT_IN_USE}, None),
        (PHONE, "person", {Channel.SMS: PHONE}, {"email": NOT_AN_EMAIL}, GERMAN),
        ("+49 1", "", {}, {"mobilePhone": NOT_IN_USE, "email": NOT_AN_EMAIL}, None),
    ],
)
def test_each_contact_is_read_or_has_its_problem(
    phone: str | None,
    email: str | None,
    contacts: dict[Channel, str],
    problems: dict[str, list[str]],
    kind: PhoneKind | None,
) -> None:
    assert read_with_kind(phone, email, "DE") == (contacts, problems, kind)
    assert read_contacts(phone, email, default_country="DE") == (contacts, problems)
    assert list(read_contacts(phone, email, default_country="DE")[0]) == list(contacts)
