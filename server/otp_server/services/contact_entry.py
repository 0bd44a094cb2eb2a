"""The contacts of a request, as the API's fields name them, in normal form by channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.domain.challenge_type import Channel
from otp_server.domain.contact import email_problem, parse_email, parse_phone, phone_problem

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
    contacts: dict[Channel, str] = {}
    problems: Problems = {}

    def keep(channel: Channel, contact: str | None, problem: ContactProblem | None) -> None:
        if contact is not None:
            contacts[channel] = contact
        elif problem is not None:
            problems[FIELD_OF[channel]] = [problem.text]

    if phone is not None:
        parsed = parse_phone(phone, default_country=default_country)
        why = None if parsed else phone_problem(phone, default_country=default_country)
        keep(Channel.SMS, parsed, why)
    if email is not None:
        parsed = parse_email(email)
        keep(Channel.EMAIL, parsed, None if parsed else email_problem(email))
    return contacts, problems
