"""The public identifier of an OTP process: 128 random bits in the form of a UUID (requirement 5).

All bits are random, so it is no UUID of any version; only the writing is a UUID's.
"""

from __future__ import annotations

import re
from functools import lru_cache

from otp_server.domain.draws import Draws

_BYTES = 16
_TOLD_MAX = 1024
_FORM = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", re.ASCII)


new_uuid = Draws(_BYTES).take
"""Gives a fresh one."""


@lru_cache(maxsize=_TOLD_MAX)
def format_uuid(uuid: bytes) -> str:
    """As it is told: 8-4-4-4-12, lower case. Each is told in the trail, an answer, a message."""
    text = uuid.hex("-", 2)  # in fours: these hyphens are too many
    return f"{text[:4]}{text[5:29]}{text[30:34]}{text[35:]}"


def parse_uuid(text: str) -> bytes | None:
    """The 16 bytes; None for every spelling but 8-4-4-4-12 in hexadecimal of either case."""
    return bytes.fromhex(text.replace("-", "")) if _FORM.fullmatch(text) else None
