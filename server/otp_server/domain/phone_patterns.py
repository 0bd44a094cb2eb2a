"""One pattern for all numbers of a country code and a length, made of the library's tables.

The pattern takes a number in full, ``+`` and ASCII digits. Each way through it ends in an empty
group, and the group that was closed says what the number is. The order of the ways is the one in
which the library asks:

    what may lose a prefix of national calls when it is read, for those patterns that look for it
    the country code's regions; where one has leading digits, these decide for it, and what its
    number is says a pattern of its own: most numbers of a code are of one or two of its regions
    of a region, its general description, then premium rate and the others, fixed lines and mobiles

A group stands behind the end of the number, so that none is closed by a way that then fails.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumber, PhoneNumberType

if TYPE_CHECKING:
    from phonenumbers import PhoneNumberDesc

NATIONAL_DIGITS_MAX = 17  # the library reads no more
_BEFORE_LINES = (
    (PhoneNumberType.PREMIUM_RATE, "premium_rate"),
    (PhoneNumberType.TOLL_FREE, "toll_free"),
    (PhoneNumberType.SHARED_COST, "shared_cost"),
    (PhoneNumberType.VOIP, "voip"),
    (PhoneNumberType.PERSONAL_NUMBER, "personal_number"),
    (PhoneNumberType.PAGER, "pager"),
    (PhoneNumberType.UAN, "uan"),
    (PhoneNumberType.VOICEMAIL, "voicemail"),
)
"""Asked in this order, before fixed lines and mobiles."""
_END = r"\Z()"
_CAPTURES = re.compile(r"\((?!\?)")


Found = tuple[str, int] | str | None
"""A region and a ``PhoneNumberType``; a region, whose own pattern says more; None: a prefix."""


def pattern_of_region(country_code: int, digits: int, region: str) -> tuple[str, list[Found]]:
    """The pattern for so many national digits of a region, as ``pattern_of`` gives it."""
    ways = _Ways(digits)
    ways.add_region(region, _metadata(country_code, region))
    return ways.behind(rf"\+{country_code}"), ways.found


def pattern_of(country_code: int, digits: int, *, reading: bool) -> tuple[str, list[Found]]:
    """The pattern for so many national digits, and what its groups say, the first one first.

    Args:
        country_code: one of those there are.
        digits: how many follow the country code.
        reading: whether a number may have a prefix of national calls, which its normal form has
            not.
    """
    ways = _Ways(digits)
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[country_code]
    if reading:
        ways.look_for_prefix(country_code, _metadata(country_code, regions[0]))
    if _is_possible(country_code, digits):
        for region in regions:
            metadata = _metadata(country_code, region)
            if metadata.leading_digits and len(regions) > 1:
                ways.leave_to_region(region, metadata.leading_digits)
            else:
                ways.add_region(region, metadata)
    return ways.behind(rf"\+{country_code}"), ways.found


def _metadata(country_code: int, region: str) -> PhoneMetadata:
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(country_code, region)
    if metadata is None:  # pragma: no cover - the library names no region without
        raise LookupError(region)
    return metadata


def _is_possible(country_code: int, digits: int) -> bool:
    """By the main region of the country code, and by the number's length alone."""
    if not 1 <= digits <= NATIONAL_DIGITS_MAX:
        return False
    some = PhoneNumber(country_code=country_code, national_number=10 ** (digits - 1))
    return phonenumbers.is_possible_number(some)


def _bare(pattern: str) -> str:
    """The pattern as one that captures nothing."""
    return f"(?:{_CAPTURES.sub('(?:', pattern)})"


class _Ways:
    """The alternatives of a pattern, as they are found."""

    def __init__(self, digits: int) -> None:
        self.found: list[Found] = []
        self._digits = digits
        self._ways: list[str] = []

    def behind(self, begin: str) -> str:
        """The whole pattern; one that nothing fits when there is no way."""
        return f"{begin}(?:{'|'.join(self._ways)})" if self._ways else "(?!)"

    def look_for_prefix(self, country_code: int, metadata: PhoneMetadata) -> None:
        """Add what may be taken off; an empty prefix is none, so some digit has to go."""
        prefix = metadata.national_prefix_for_parsing
        if prefix:
            self._ways.append(rf"(?={_bare(prefix)}(?<!\+{country_code}))()")
            self.found.append(None)

    def leave_to_region(self, region: str, leading: str) -> None:
        """Add a region that all numbers with these leading digits are of, in use or not."""
        self._ways.append(f"(?={_bare(leading)})()")
        self.found.append(region)

    def add_region(self, region: str, metadata: PhoneMetadata) -> None:
        """Add the types of a region."""
        whole = self._fitting(metadata.general_desc)
        types = [] if whole is None else self._types(region, metadata)
        if types:
            self._ways.append(rf"(?={whole}\Z)(?:{'|'.join(types)})")

    def _types(self, region: str, metadata: PhoneMetadata) -> list[str]:
        types = []
        for kind, name in _BEFORE_LINES:
            fitting = self._fitting(getattr(metadata, name))
            if fitting is not None:
                types.append(fitting + self._end(region, kind))
        fixed, mobile = self._fitting(metadata.fixed_line), self._fitting(metadata.mobile)
        if metadata.same_mobile_and_fixed_line_pattern:
            if fixed is not None:
                types.append(fixed + self._end(region, PhoneNumberType.FIXED_LINE_OR_MOBILE))
            return types
        if fixed is not None:
            both = ""
            if mobile is not None:
                both = mobile + self._end(region, PhoneNumberType.FIXED_LINE_OR_MOBILE) + "|"
            self.found.append((region, PhoneNumberType.FIXED_LINE))
            types.append(rf"(?={fixed}\Z)(?:{both}())")
        if mobile is not None:
            types.append(mobile + self._end(region, PhoneNumberType.MOBILE))
        return types

    def _end(self, region: str, kind: int) -> str:
        self.found.append((region, kind))
        return _END

    def _fitting(self, described: PhoneNumberDesc | None) -> str | None:
        """What fits the description; None when numbers of this length do not."""
        if described is None or not described.national_number_pattern:
            return None
        lengths = described.possible_length
        if lengths and self._digits not in lengths:
            return None
        return _bare(described.national_number_pattern)
