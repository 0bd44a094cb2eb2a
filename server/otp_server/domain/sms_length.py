"""How many messages an SMS text takes: 3GPP TS 23.038 alphabets, TS 23.040 concatenation.

A text of the GSM 7-bit alphabet has 160 septets in one message and 153 in each of several; any
other is sent as UTF-16 with 70 and 67 units. A character of two septets, or of two units, is not
cut in half.
"""

from __future__ import annotations

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("\f^{}\\[~]|€")
_GSM_LENGTHS = (160, 153)
_UCS2_LENGTHS = (70, 67)
_PLANE_0_MAX = 0xFFFF


def is_gsm(text: str) -> bool:
    """Whether every character is of the GSM 7-bit alphabet or its extension."""
    return all(c in _BASIC or c in _EXTENDED for c in text)


def segments(text: str) -> int:
    """How many messages carry ``text``; an empty one takes one."""
    if is_gsm(text):
        (single, several), sizes = _GSM_LENGTHS, [1 if c in _BASIC else 2 for c in text]
    else:
        (single, several), sizes = _UCS2_LENGTHS, [1 + (ord(c) > _PLANE_0_MAX) for c in text]
    if sum(sizes) <= single:
        return 1
    count, room = 1, several
    for size in sizes:
        if size > room:
            count, room = count + 1, several
        room -= size
    return count
