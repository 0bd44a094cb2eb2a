"""The contacts of a request, as the API's fields name them, in normal form by channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.domain.challenge_type import Channel
from otp_server.domain.contact import Phone, read_email, read_phone

if TYPE_CHECKING:
    from otp_server.domain.phone_kind import PhoneKind

FIELD_OF = {Channel.SMS: "mobilePhone", Channel.EMAIL: "email"}
"""The contract's name of the field that holds a channel's contact."""

Contacts = dict[Channel, str]
Problems = dict[str, list[str]]
"""What is wrong with each field; the sentences quote no value."""
_SMS = Channel.SMS
_EMAIL = Channel.EMAIL


def read_contacts(
    phone: str | None, email: str | None, *, default_country: str | None
) -> tuple[Contacts, Problems]:
    """The given contacts in normal form, and the problems of those that have none."""
    contacts, problems, _ = read_with_kind(phone, email, default_country)
    return contacts, problems


def read_with_kind(
    phone: str | None, email: str | None, default_country: str | None
) -> tuple[Contacts, Problems, PhoneKind | None]:
    """As ``read_contacts``, and what the phone number is, for ``PhoneRules``."""
    contacts: Contacts = {}
    problems: Problems = {}
    kind = None
    if phone is not None:
        read = read_phone(phone, default_country=default_country)
        if isinstance(read, Phone):
            contacts[_SMS] = read.e164
            kind = read.kind
        else:
            problems[FIELD_OF[_SMS]] = [read.text]
    if email is not None:
        address = read_email(email)
        if isinstance(address, str):
            contacts[_EMAIL] = address
        else:
            problems[FIELD_OF[_EMAIL]] = [address.text]
    return contacts, problems, kind
