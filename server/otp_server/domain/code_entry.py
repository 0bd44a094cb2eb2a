"""A code as a person types it, made canonical before anything is counted or hashed.

Blanks and dashes are dropped and any script's decimal digits are folded to ASCII (requirement 24).
"""

from __future__ import annotations

import unicodedata

from otp_server.core import Passcode
from otp_server.domain.policy import ALPHABET

_DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2212"


def parse_code(text: str, *, length_min: int, length_max: int) -> Passcode | None:
    """The passcode, or None when the text cannot be a code of this installation."""
    if len(text) > 4 * length_max:
        return None
    folded = unicodedata.normalize("NFKC", text)
    kept = [c for c in folded if not (c.isspace() or c in _DASHES)]
    if not length_min <= len(kept) <= length_max or not all(c.isdecimal() for c in kept):
        return None
    return Passcode.from_text("".join(str(unicodedata.decimal(c)) for c in kept), ALPHABET)
