"""Phone numbers as they are written within a country, and what the library makes of them.

A prefix of national calls is taken off as the library's ``parse`` takes it off, at a tenth of its
cost. Both are left to ``parse``: prefixes of international calls other than ``+`` and ``00``, and
numbers that begin as their country code does.
"""

from __future__ import annotations

import re
from functools import cache

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumberDesc, PhoneNumberFormat


def national_in_full(written: str, country: str) -> str | None:
    """A number of digits alone in E.164 form, not judged; None when it cannot be read.

    Args:
        written: as a number is called within ``country``, or from there.
        country: the ISO 3166 code; nothing is read for those that are not known.
    """
    if country not in phonenumbers.SUPPORTED_REGIONS:
        return None
    rules = _rules_of_country(country)
    if rules.may_go_abroad(written):
        return parsed_in_full(written, country)
    return f"+{rules.code}{rules.without_prefix(written)}"


def prefixed_in_full(written: str, country_code: str) -> str:
    """A number with ``+`` and its country code in E.164 form, not judged."""
    digits = written[1 + len(country_code) :]
    return f"+{country_code}{_rules_of_code(int(country_code)).without_prefix(digits)}"


def parsed_in_full(written: str, country: str) -> str | None:
    """A number in E.164 form as the library reads it, not judged; None when it cannot be read."""
    try:
        number = phonenumbers.parse(written, country)
    except NumberParseException:
        return None
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


class _Rules:
    """How the numbers of a region are called."""

    def __init__(self, metadata: PhoneMetadata) -> None:
        general = metadata.general_desc or PhoneNumberDesc()
        self.code = str(metadata.country_code)
        self._abroad = re.compile(metadata.international_prefix or "(?!)")
        self._prefix = re.compile(metadata.national_prefix_for_parsing or "(?!)")
        self._instead = metadata.national_prefix_transform_rule or None
        self._general = re.compile(general.national_number_pattern or "(?!)")
        self._lengths = frozenset(general.possible_length)
        self._longest = max(self._lengths, default=0)
        self._local_lengths = frozenset(general.possible_length_local_only)

    def may_go_abroad(self, digits: str) -> bool:
        """Whether these may begin with a country code, with a prefix before it or without."""
        return digits.startswith(self.code) or self._abroad.match(digits) is not None

    def without_prefix(self, digits: str) -> str:
        """The digits that follow the country code, without a prefix that can be taken off."""
        found = self._prefix.match(digits)
        if found is None:
            return digits
        if self._instead is None or found[found.re.groups] is None:
            rest = digits[found.end() :]
        else:
            rest = self._prefix.sub(self._instead, digits, count=1)
        fits = self._general.fullmatch
        if not self._long_enough(len(rest)) or (fits(digits) and not fits(rest)):
            return digits
        return rest

    def _long_enough(self, length: int) -> bool:
        """Too long is long enough here, and is refused later."""
        if length in self._local_lengths:
            return False
        return length in self._lengths or length > self._longest


@cache
def _rules_of_country(country: str) -> _Rules:
    return _rules(PhoneMetadata.metadata_for_region(country))


@cache
def _rules_of_code(country_code: int) -> _Rules:
    region = phonenumbers.region_code_for_country_code(country_code)
    return _rules(PhoneMetadata.metadata_for_region_or_calling_code(country_code, region))


def _rules(metadata: PhoneMetadata | None) -> _Rules:
    if metadata is None:  # pragma: no cover - asked for what the library knows
        raise LookupError("no such region")
    return _Rules(metadata)
