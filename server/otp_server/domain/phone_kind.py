"""What kind of line a phone number is of, by the library's tables and in its order.

The library asks in the same way, and looks up and counts more on its way, at three times the cost.
A number of no kind cannot be in use: the library's ``is_valid_number`` says just that.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumberType

if TYPE_CHECKING:
    from collections.abc import Callable

    from phonenumbers import PhoneNumber, PhoneNumberDesc

    Fits = Callable[[str], object]
    """Truthy for national digits that are described."""

_TABLES_MAX = 4096
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


def kind_of(number: PhoneNumber) -> int:
    """The ``PhoneNumberType``, as ``phonenumbers.number_type`` has it; ``UNKNOWN`` for none."""
    region = phonenumbers.region_code_for_number(number)
    if region is None:
        return PhoneNumberType.UNKNOWN
    digits = phonenumbers.national_significant_number(number)
    table = _table(number.country_code or 0, region, len(digits))
    if table is None or not table.any_kind(digits):
        return PhoneNumberType.UNKNOWN
    for kind, fits in table.kinds:
        if fits(digits):
            return kind
    if table.fixed(digits):
        mobile_too = table.one_pattern or table.mobile(digits)
        return PhoneNumberType.FIXED_LINE_OR_MOBILE if mobile_too else PhoneNumberType.FIXED_LINE
    if not table.one_pattern and table.mobile(digits):
        return PhoneNumberType.MOBILE
    return PhoneNumberType.UNKNOWN


class _Table:
    """The descriptions that a region has of numbers with so many digits."""

    def __init__(self, metadata: PhoneMetadata, length: int) -> None:
        self.any_kind = _fits(metadata.general_desc, length)
        asked = [(kind, _fits(getattr(metadata, name), length)) for kind, name in _BEFORE_LINES]
        self.kinds = [(kind, fits) for kind, fits in asked if fits is not _nothing]
        self.fixed = _fits(metadata.fixed_line, length)
        self.mobile = _fits(metadata.mobile, length)
        self.one_pattern = metadata.same_mobile_and_fixed_line_pattern


@lru_cache(_TABLES_MAX)
def _table(country_code: int, region: str, length: int) -> _Table | None:
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(country_code, region)
    return None if metadata is None else _Table(metadata, length)


def _fits(described: PhoneNumberDesc | None, length: int) -> Fits:
    if described is None or not described.national_number_pattern:
        return _nothing
    lengths = described.possible_length
    if lengths and length not in lengths:
        return _nothing
    return re.compile(described.national_number_pattern).fullmatch


def _nothing(_digits: str) -> object:
    return None
