"""Whether a phone number can be in use, of which country and which line, by the library's tables.

Each country code has a pattern for numbers of each length (``domain/phone_patterns.py``). It is
compiled when the first such number is met, and nothing of a number is kept. The library asks the
same in many steps, at twenty times the cost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Final

import phonenumbers
from phonenumbers import PhoneNumberType

from otp_server.domain.phone_patterns import NATIONAL_DIGITS_MAX, pattern_of, pattern_of_region

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otp_server.domain.phone_patterns import Found

_START = 4
"""``+`` and as many digits as the longest country code has."""
_CHARACTERS_MAX = _START + NATIONAL_DIGITS_MAX


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
class PhoneKind:
    """What the digits of a phone number tell. Many numbers share one.

    ``country`` is an ISO 3166 code; None for numbers of no country, such as +883.
    """

    country: str | None
    line: LineType


class NoKind(Enum):
    """Why a text is of no kind. ``PREFIXED``: it may have a prefix of national calls."""

    NOT_IN_USE = "not in use"
    NO_COUNTRY_CODE = "no country code"
    PREFIXED = "prefixed"


class _Region:
    """The numbers of one length that are one region's, told when first asked for."""

    def __init__(self, country_code: int, digits: int, region: str) -> None:
        self._numbers = country_code, digits, region
        self._table: _Table | None = None

    def told_of(self, text: str) -> PhoneKind | NoKind:
        """What this number of the region is."""
        if self._table is None:
            self._table = _made(*self._numbers[:2], pattern_of_region(*self._numbers))
        match, said = self._table
        found = match(text)
        told = NoKind.NOT_IN_USE if found is None else said[found.lastindex or 0]
        return NoKind.NOT_IN_USE if isinstance(told, _Region) else told


_Said = PhoneKind | NoKind | _Region
_Table = tuple["Callable[[str], re.Match[str] | None]", tuple[_Said, ...]]
"""Finds a number, and what its groups say; the first stands for no group at all."""


class _Tables(dict[int, _Table]):
    """The tables of a country code, by the number of all characters."""

    def __init__(self, country_code: int, *, reading: bool) -> None:
        super().__init__()
        self.country_code = str(country_code)
        self._reading = reading

    def __missing__(self, characters: int) -> _Table:
        if characters > _CHARACTERS_MAX:
            return _NONE_FITS
        code, digits = int(self.country_code), characters - len(self.country_code) - 1
        table = _made(code, digits, pattern_of(code, digits, reading=self._reading))
        self[characters] = table
        return table

    def told_of(self, text: str) -> PhoneKind | NoKind:
        """What a number is that begins with the country code."""
        match, said = self[len(text)]
        found = match(text)
        if found is None:
            return NoKind.NOT_IN_USE
        told = said[found.lastindex or 0]
        return told.told_of(text) if isinstance(told, _Region) else told


_NONE_FITS: Final[_Table] = (re.compile("(?!)").match, ())


def _made(country_code: int, digits: int, ways: tuple[str, Sequence[Found]]) -> _Table:
    pattern, groups = ways
    said: list[_Said] = [NoKind.NOT_IN_USE]
    for found in groups:
        if found is None:
            said.append(NoKind.PREFIXED)
        elif isinstance(found, str):
            said.append(_Region(country_code, digits, found))
        else:
            region, kind = found
            said.append(PhoneKind(None if region == "001" else region, _LINES[kind]))
    return re.compile(pattern, re.ASCII).match, tuple(said)


def _by_start(*, reading: bool) -> dict[str, _Tables]:
    """Each ``+`` with three digits that a number can begin with, and its country code's tables."""
    tables = {}
    for country_code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
        own = _Tables(country_code, reading=reading)
        begin = f"+{country_code}"
        width = _START - len(begin)
        for n in range(10**width):
            tables[f"{begin}{n:0{width}}" if width else begin] = own
    return tables


_WRITTEN = _by_start(reading=True)
_NORMAL = _by_start(reading=False)


def told_of(text: str) -> PhoneKind | NoKind:
    """What a number is that somebody wrote; never wrong for one of ``+`` and ASCII digits.

    A text with anything else in it is of no kind.
    """
    tables = _WRITTEN.get(text[:_START])
    return NoKind.NO_COUNTRY_CODE if tables is None else tables.told_of(text)


def kind_of(phone: str) -> PhoneKind | None:
    """What a number in E.164 form is; None when it cannot be in use."""
    told = told_of(phone)
    if told is NoKind.PREFIXED:  # it only begins as a prefix does: it is in its normal form
        told = _NORMAL[phone[:_START]].told_of(phone)
    return told if isinstance(told, PhoneKind) else None


def country_code_of(phone: str) -> str:
    """The digits of the country code of a number in E.164 form.

    Raises:
        ValueError: it is no such number.
    """
    tables = _WRITTEN.get(phone[:_START])
    if tables is None:
        raise ValueError("no E.164 number")
    return tables.country_code
