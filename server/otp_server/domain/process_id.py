"""The public identifier of an OTP process: 128 random bits in the form of a UUID (requirement 5).

All bits are random, so it is no UUID of any version; only the writing is a UUID's.
"""

from __future__ import annotations

import re

from otp_server.domain.draws import Draws

_BYTES = 16
_draws = Draws(_BYTES)
_FORM = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", re.ASCII)


def new_uuid() -> bytes:
    """A fresh one."""
    return _draws.take()


def format_uuid(uuid: bytes) -> str:
    """As it is told: 8-4-4-4-12, lower case."""
    text = uuid.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def parse_uuid(text: str) -> bytes | None:
    """The 16 bytes; None for every spelling but 8-4-4-4-12 in hexadecimal of either case."""
    return bytes.fromhex(text.replace("-", "")) if _FORM.fullmatch(text) else None
