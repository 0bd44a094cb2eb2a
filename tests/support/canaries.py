"""Secrets to look for, in every form they could be written in."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SHOWN = 40


def forms_of(secret: bytes) -> set[bytes]:
    """As it is, in hexadecimal, in base64 at each alignment, in UTF-16; of digits, as a number."""
    forms = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            # Only whole groups of three bytes look the same whatever comes before and after.
            body = secret[(3 - before) % 3 :]
            forms.add(encode(body[: len(body) // 3 * 3]))
    if secret.isascii():
        forms.add(secret.decode().encode("utf-16-le"))
    if secret.isdigit():
        number = int(secret)
        length = max(5, -(-number.bit_length() // 8))
        forms |= {number.to_bytes(length, order) for order in ("big", "little")}
        forms |= {b" ".join([secret[:3], secret[3:6], secret[6:]]), secret[:3] + b"-" + secret[3:]}
    return forms


def leaks(secrets: Iterable[str | bytes], places: Mapping[str, bytes]) -> list[str]:
    """Where a secret was found; what is said of it shows a few of its characters only."""
    found: list[str] = []
    for secret in secrets:
        raw = secret.encode() if isinstance(secret, str) else secret
        assert len(raw) >= 10, "too short to tell from chance"
        for form in forms_of(raw):
            for place, content in places.items():
                if (at := content.find(form)) >= 0:
                    around = content[max(0, at - _SHOWN) : at + _SHOWN]
                    found.append(f"{place}: {around!r}")
    return found
