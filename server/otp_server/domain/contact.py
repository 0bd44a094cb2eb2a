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
from enum import Enum, StrEnum
from functools import cache

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from phonenumbers import (
    NumberParseException,
    PhoneMetadata,
    PhoneNumber,
    PhoneNumberFormat,
    PhoneNumberType,
)

from otp_server.domain.phone_kind import kind_of
from otp_server.domain.plain_email import plain_email

PHONE_CHARACTERS_MAX = 64  # E.164 has 16; the rest is for blanks, dashes and invisible marks
EMAIL_CHARACTERS_MAX = 254  # RFC 5321 section 4.5.3.1.3 without the angle brackets
_PHONE_MARKS = frozenset("().-/\u2212")
_ASCII_MARKS = str.maketrans("", "", " ().-/")
"""What :func:`_kept` drops of ASCII: it asks the Unicode tables for each character."""
_COUNTRY_CODE_DIGITS = 3
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


class LineType(StrEnum):
    """What a phone number belongs to, as far as its digits tell; the words of configurations."""

    MOBILE = "mobile"
    FIXED_LINE = "fixed_line"
    FIXED_LINE_OR_MOBILE = "fixed_line_or_mobile"
    VOIP = "voip"
    TOLL_FREE = "toll_free"
    PREMIUM_RATE = "premium_rate"
    SHARED_COST = "shared_cost"
    PERSONAL_NUMBER = "personal_number"
    PAGER = "pager"
    UAN = "uan"
    VOICEMAIL = "voicemail"


LINE_TYPES_FOR_SMS = frozenset({LineType.MOBILE, LineType.FIXED_LINE_OR_MOBILE, LineType.VOIP})
"""Those that take an SMS and cost their sender no premium."""

_LINES = {
    PhoneNumberType.MOBILE: LineType.MOBILE,
    PhoneNumberType.FIXED_LINE: LineType.FIXED_LINE,
    PhoneNumberType.FIXED_LINE_OR_MOBILE: LineType.FIXED_LINE_OR_MOBILE,
    PhoneNumberType.VOIP: LineType.VOIP,
    PhoneNumberType.TOLL_FREE: LineType.TOLL_FREE,
    PhoneNumberType.PREMIUM_RATE: LineType.PREMIUM_RATE,
    PhoneNumberType.SHARED_COST: LineType.SHARED_COST,
    PhoneNumberType.PERSONAL_NUMBER: LineType.PERSONAL_NUMBER,
    PhoneNumberType.PAGER: LineType.PAGER,
    PhoneNumberType.UAN: LineType.UAN,
    PhoneNumberType.VOICEMAIL: LineType.VOICEMAIL,
}


@dataclass(frozen=True, slots=True)
class PhoneRules:
    """Which phone numbers codes are sent to (requirement 85).

    ``countries`` are ISO 3166 alpha-2 codes in upper case; none at all means every country.
    """

    countries: frozenset[str] = frozenset()
    line_types: frozenset[LineType] = LINE_TYPES_FOR_SMS

    def problem_of(self, phone: str) -> ContactProblem | None:
        """Why this E.164 number is refused; None when it is not."""
        if self.countries and country_of(phone) not in self.countries:
            return ContactProblem.COUNTRY_REFUSED
        if line_type_of(phone) not in self.line_types:
            return ContactProblem.LINE_REFUSED
        return None


def parse_email(text: str) -> str | None:
    """The address in its normal form; None when it is no address that mail can reach."""
    read = read_email(text)
    return read if isinstance(read, str) else None


def country_of(phone: str) -> str | None:
    """The ISO 3166 code of an E.164 number; None for numbers of no country, such as +883."""
    region = phonenumbers.region_code_for_number(_number_of(phone))
    return None if region in (None, "001") else region


def line_type_of(phone: str) -> LineType | None:
    """What an E.164 number belongs to; None when its digits do not tell."""
    return _LINES.get(kind_of(_number_of(phone)))


def mask(contact: str) -> str:
    """A contact in normal form, for messages and logs: enough to recognise one's own.

    ``+44*******56`` of a phone number: country code and the last two digits.
    ``j***@example.com`` of an e-mail address; the stars do not tell how many they hide.
    """
    local, at, domain = contact.rpartition("@")
    if at:
        return f"{local[:1] if len(local) > 1 else ''}***@{domain}"
    code = str(_number_of(contact).country_code)
    hidden = len(contact) - len(code) - 3
    return f"+{code}{'*' * hidden}{contact[-2:]}"


def read_phone(text: str, *, default_country: str | None) -> str | ContactProblem:
    """The number in E.164 form, or why it is no phone number that can be in use.

    Args:
        text: as somebody wrote it.
        default_country: the ISO 3166 code whose national numbers are understood; None or empty:
            numbers must begin with ``+`` or ``00``.
    """
    if len(text) > PHONE_CHARACTERS_MAX:
        return ContactProblem.TOO_LONG
    if _has_control_characters(text):
        return ContactProblem.CONTROL_CHARACTERS
    if text.isascii():
        written = text.translate(_ASCII_MARKS)
    else:
        written = "".join(_kept(c) for c in unicodedata.normalize("NFKC", text))
    if written.startswith("00"):
        written = f"+{written[2:]}"
    if _WRITTEN.fullmatch(written) is None:
        return ContactProblem.NOT_A_PHONE
    if not written.startswith("+") and not default_country:
        return ContactProblem.NO_COUNTRY
    number = _in_full(written)
    if number is None:
        try:
            number = phonenumbers.parse(written, default_country or None)
        except NumberParseException:
            return ContactProblem.NOT_IN_USE
    return _normal_form(number)


def _in_full(written: str) -> PhoneNumber | None:
    """What ``parse`` reads, at a fifth of its cost, of a number with its country code.

    None where that may be more: no country code, or behind it a prefix of national calls.
    """
    if not written.startswith("+") or written.startswith("+0"):
        return None
    try:
        number = _number_of(written)
    except ValueError:
        return None
    prefix = _national_prefix(number.country_code or 0)
    code_digits = len(str(number.country_code))
    if prefix is not None and prefix.match(written[1 + code_digits :]):
        return None
    return number


@cache
def _national_prefix(country_code: int) -> re.Pattern[str] | None:
    """What ``parse`` may take off the numbers of a country code, one of those there are."""
    region = phonenumbers.region_code_for_country_code(country_code)
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(country_code, region)
    prefix = None if metadata is None else metadata.national_prefix_for_parsing
    return re.compile(prefix) if prefix else None


def _normal_form(number: PhoneNumber) -> str | ContactProblem:
    if not phonenumbers.is_possible_number(number) or kind_of(number) == PhoneNumberType.UNKNOWN:
        return ContactProblem.NOT_IN_USE
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


def _number_of(phone: str) -> PhoneNumber:
    """The number of an E.164 form, taken apart and not judged again: ``parse`` costs twice as much.

    Country codes are prefix-free. Where a country keeps leading zeros, they are told apart.
    """
    for digits in range(1, _COUNTRY_CODE_DIGITS + 1):
        code, rest = int(phone[1 : 1 + digits]), phone[1 + digits :]
        if code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
            break
    else:
        raise ValueError("no E.164 number")
    zeros = min(len(rest) - len(rest.lstrip("0")), len(rest) - 1)
    return PhoneNumber(
        country_code=code,
        national_number=int(rest),
        italian_leading_zero=True if zeros else None,
        number_of_leading_zeros=zeros if zeros > 1 else None,
    )


def _kept(character: str) -> str:
    """A digit of any script as ASCII, nothing for what only separates, others as they are."""
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    separates = character in _PHONE_MARKS or unicodedata.category(character) in ("Zs", "Pd", "Cf")
    return "" if separates else character


def read_email(text: str) -> str | ContactProblem:
    """The address in its normal form, or why it is none that mail can reach."""
    return plain_email(text) or _by_the_library(text)


def _by_the_library(text: str) -> str | ContactProblem:
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
