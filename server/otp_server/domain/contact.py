"""Phone numbers and e-mail addresses in the one form that is counted, looked up and sent to.

However a contact is written - unicode digits, blanks, dashes, ``00`` or ``+``, any case - it has
one normal form, and the normal form of a normal form is itself (requirement 34). Phone numbers
become E.164; e-mail addresses lower case with the domain's ASCII (IDNA) form. Nothing is looked up
in the DNS. Lengths are checked before anything is parsed; control characters are refused (82).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum
from functools import cache

import msgspec
import phonenumbers
from email_validator import EmailNotValidError, validate_email

from otp_server.domain.phone_kind import (
    LineType,
    NoKind,
    PhoneKind,
    country_code_of,
    kind_of,
    told_of,
)
from otp_server.domain.phone_national import national_in_full, parsed_in_full, prefixed_in_full
from otp_server.domain.plain_email import plain_email

PHONE_CHARACTERS_MAX = 64  # E.164 has 16; the rest is for blanks, dashes and invisible marks
EMAIL_CHARACTERS_MAX = 254  # RFC 5321 section 4.5.3.1.3 without the angle brackets
_PHONE_MARKS = frozenset("().-/\u2212")
_ASCII_MARKS = str.maketrans("", "", " ().-/")
"""What :func:`_kept` drops of ASCII: it asks the Unicode tables for each character."""
_WRITTEN = re.compile(r"\+?[0-9]{3,20}")


class ContactProblem(Enum):
    """Why a text is no contact, as the caller may be told; the texts quote nothing."""

    TOO_LONG = "it is too long"
    CONTROL_CHARACTERS = "it holds control characters, such as a line break"
    NOT_A_PHONE = "it is not a phone number: give + or 00, the country code and the number"
    NO_COUNTRY = "it has no country code: begin with + or 00"
    NOT_IN_USE = "no such phone number can exist: check the country code and the digits"
    NOT_AN_EMAIL = "it is not an e-mail address, or of a domain that mail cannot reach"
    EMAIL_NOT_ASCII = "the part before the @ may hold ASCII characters only"
    COUNTRY_REFUSED = "codes are not sent to phone numbers of this country"
    LINE_REFUSED = "codes are not sent to phone numbers of this kind"

    @property
    def text(self) -> str:
        """The sentence for the answer."""
        return self.value


LINE_TYPES_FOR_SMS = frozenset({LineType.MOBILE, LineType.FIXED_LINE_OR_MOBILE, LineType.VOIP})
"""Those that take an SMS and cost their sender no premium."""


class Phone(msgspec.Struct, frozen=True, gc=False):
    """A phone number that can be in use, in its normal form, and what its digits tell."""

    e164: str
    kind: PhoneKind

    def __repr__(self) -> str:
        """Without the number."""
        return f"<Phone of {self.kind}>"


@dataclass(frozen=True, slots=True)
class PhoneRules:
    """Which phone numbers codes are sent to (requirement 85).

    ``countries`` are ISO 3166 alpha-2 codes in upper case; none at all means every country.
    """

    countries: frozenset[str] = frozenset()
    line_types: frozenset[LineType] = LINE_TYPES_FOR_SMS

    def problem_of(self, kind: PhoneKind) -> ContactProblem | None:
        """Why numbers of this kind are refused; None when they are not."""
        if self.countries and kind.country not in self.countries:
            return ContactProblem.COUNTRY_REFUSED
        return None if kind.line in self.line_types else ContactProblem.LINE_REFUSED


def parse_email(text: str) -> str | None:
    """The address in its normal form; None when it is no address that mail can reach."""
    read = read_email(text)
    return read if isinstance(read, str) else None


def mask(contact: str) -> str:
    """A contact in normal form, for messages and logs: enough to recognise one's own.

    ``+44*******56`` of a phone number: country code and the last two digits.
    ``j***@example.com`` of an e-mail address; the stars do not tell how many they hide.
    """
    local, at, domain = contact.rpartition("@")
    if at:
        return f"{local[:1] if len(local) > 1 else ''}***@{domain}"
    code = country_code_of(contact)
    hidden = len(contact) - len(code) - 3
    return f"+{code}{'*' * hidden}{contact[-2:]}"


def read_phone(text: str, *, default_country: str | None) -> Phone | ContactProblem:
    """The number in E.164 form, or why it is no phone number that can be in use.

    Args:
        text: as somebody wrote it.
        default_country: the ISO 3166 code whose national numbers are understood; None or empty:
            numbers must begin with ``+`` or ``00``.
    """
    told = told_of(text)
    if isinstance(told, PhoneKind):
        return Phone(text, told)
    if len(text) > PHONE_CHARACTERS_MAX:
        return ContactProblem.TOO_LONG
    if _has_control_characters(text):
        return ContactProblem.CONTROL_CHARACTERS
    written = _joined(text)
    if written.startswith("00"):
        written = f"+{written[2:]}"
    if _WRITTEN.fullmatch(written) is None:
        return ContactProblem.NOT_A_PHONE
    return _read_written(written, default_country)


def _read_written(written: str, default_country: str | None) -> Phone | ContactProblem:
    """The number of nothing but digits and perhaps a ``+``."""
    if written.startswith("+"):
        return _read_in_full(written, default_country)
    if not default_country:
        return ContactProblem.NO_COUNTRY
    return _judged(national_in_full(written, default_country))


def _read_in_full(written: str, default_country: str | None) -> Phone | ContactProblem:
    told = told_of(written)
    if isinstance(told, PhoneKind):
        return Phone(written, told)
    if told is NoKind.PREFIXED:
        return _judged(prefixed_in_full(written, country_code_of(written)))
    if told is NoKind.NO_COUNTRY_CODE and default_country:  # perhaps the + is not meant
        return _judged(parsed_in_full(written, default_country))
    return ContactProblem.NOT_IN_USE


def _judged(phone: str | None) -> Phone | ContactProblem:
    kind = None if phone is None else kind_of(phone)
    return ContactProblem.NOT_IN_USE if phone is None or kind is None else Phone(phone, kind)


def _joined(text: str) -> str:
    """What is left without all that only separates."""
    if not text.isascii():
        return "".join(_kept(c) for c in unicodedata.normalize("NFKC", text))
    written = text.replace(" ", "").replace("-", "")
    return written if written.removeprefix("+").isdigit() else written.translate(_ASCII_MARKS)


def _kept(character: str) -> str:
    """A digit of any script as ASCII, nothing for what only separates, others as they are."""
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    separates = character in _PHONE_MARKS or unicodedata.category(character) in ("Zs", "Pd", "Cf")
    return "" if separates else character


def read_email(text: str) -> str | ContactProblem:
    """The address in its normal form, or why it is none that mail can reach."""
    return plain_email(text) or _by_validating(text)


def _by_validating(text: str) -> str | ContactProblem:
    if len(text) > EMAIL_CHARACTERS_MAX:
        return ContactProblem.TOO_LONG
    if _has_control_characters(text):
        return ContactProblem.CONTROL_CHARACTERS
    text = text.strip()
    if not text.rpartition("@")[0].isascii():
        return ContactProblem.EMAIL_NOT_ASCII
    try:
        address = validate_email(
            text, check_deliverability=False, allow_smtputf8=False, test_environment=False
        )
    except EmailNotValidError:
        return ContactProblem.NOT_AN_EMAIL
    if address.ascii_email is None or len(address.ascii_email) > EMAIL_CHARACTERS_MAX:
        return ContactProblem.NOT_AN_EMAIL
    return address.ascii_email.lower()


def _has_control_characters(text: str) -> bool:
    if text.isascii():
        return not text.isprintable()
    return any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text)


@cache
def countries() -> frozenset[str]:
    """Every ISO 3166 code that phone numbers are known of, to check configurations with."""
    return frozenset(phonenumbers.SUPPORTED_REGIONS)
