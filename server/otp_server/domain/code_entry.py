"""A code as a person types it, made canonical before anything is counted or hashed.

Blanks and dashes are dropped, any script's decimal digits are folded to ASCII and letters are
raised to upper case (requirement 24). What is too long is refused before any of that.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from otp_server.core import Passcode
from otp_server.domain.policy import ALPHABET

if TYPE_CHECKING:
    from otp_server.domain.challenge_type import CodeType

_DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2212"
CHARACTERS_PER_SYMBOL_MAX = 4
"""Of what is looked at: room for blanks, dashes and invisible marks between symbols."""


def parse_code(text: str, *, length_min: int, length_max: int) -> Passcode | None:
    """The passcode, or None when the text cannot be a code of this installation."""
    kept = _kept(text, length_max)
    if kept is None or not length_min <= len(kept) <= length_max or not kept.isdecimal():
        return None
    return Passcode.from_text(kept, ALPHABET)


def parse_answer(text: str, code_type: CodeType, length: int) -> Passcode | None:
    """The passcode that somebody typed for a type's code, or None when it cannot be one."""
    kept = _kept(text, length)
    if kept is None or len(kept) != length:
        return None
    try:
        return Passcode.from_text(kept, code_type.value)
    except ValueError:
        return None


def _kept(text: str, length_max: int) -> str | None:
    """The symbols in canonical form; None for a text too long to look at.

    Only ASCII letters are raised: ``str.upper`` would make two letters of some, and Latin ones of
    others that are not.
    """
    if len(text) > CHARACTERS_PER_SYMBOL_MAX * length_max:
        return None
    if text.isascii() and text.isalnum():  # as most people type it
        return text.upper()
    return "".join(
        str(unicodedata.decimal(c)) if c.isdecimal() else c.upper() if c.isascii() else c
        for c in unicodedata.normalize("NFKC", text)
        if not (c.isspace() or c in _DASHES)
    )
