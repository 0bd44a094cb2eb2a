"""The contacts of a request, as the API's fields name them, in normal form by channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.domain.challenge_type import Channel
from otp_server.domain.contact import read_email, read_phone

if TYPE_CHECKING:
    from otp_server.domain.contact import ContactProblem

FIELD_OF = {Channel.SMS: "mobilePhone", Channel.EMAIL: "email"}
"""The contract's name of the field that holds a channel's contact."""

Problems = dict[str, list[str]]
"""What is wrong with each field; the sentences quote no value."""


def read_contacts(
    phone: str | None, email: str | None, *, default_country: str | None
) -> tuple[dict[Channel, str], Problems]:
    """The given contacts in normal form, and the problems of those that have none."""
    read: list[tuple[Channel, str | ContactProblem]] = []
    if phone is not None:
        read.append((Channel.SMS, read_phone(phone, default_country=default_country)))
    if email is not None:
        read.append((Channel.EMAIL, read_email(email)))
    contacts: dict[Channel, str] = {}
    problems: Problems = {}
    for channel, found in read:
        if isinstance(found, str):
            contacts[channel] = found
        else:
            problems[FIELD_OF[channel]] = [found.text]
    return contacts, problems
