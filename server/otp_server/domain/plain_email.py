"""The e-mail addresses that most people have, read by one pattern.

The library that reads all others (``domain/contact.py``) looks at each character of a domain more
than once, which costs twenty times as much. What is read here, it reads alike: the rule takes less
than it does, and never more.

    local part   letters, digits, ``_``, ``+`` and ``-``, with single dots between them
    domain       labels of letters and digits with single hyphens between them; so no Punycode
    top level    letters only, and of no domain that is reserved
    length       254 in all, 63 for the whole domain, so that no label is longer

Letters are ASCII: others turn into these by case mapping, such as the sign of kelvin.
"""

from __future__ import annotations

import re

from email_validator import SPECIAL_USE_DOMAIN_NAMES

_CHARACTERS_MAX = 254
_DOMAIN_CHARACTERS_MAX = 63
_WORD = "[a-z0-9_+-]++"
_LABEL = "[a-z0-9]++(?:-[a-z0-9]++)*+"
_RESERVED = "|".join({name.rpartition(".")[2] for name in SPECIAL_USE_DOMAIN_NAMES})
"""Top levels of the names that mail cannot reach, whole or not: the library tells."""
_PLAIN = re.compile(
    rf"{_WORD}(?:\.{_WORD})*+@(?=.{{1,{_DOMAIN_CHARACTERS_MAX}}}\Z)"
    rf"(?:{_LABEL}\.)++(?!(?:{_RESERVED})\Z)[a-z]++\Z"
)


def plain_email(text: str) -> str | None:
    """The address in its normal form; None when it is none of these, and may be another."""
    if len(text) > _CHARACTERS_MAX or not text.isascii():
        return None
    lower = text.lower()
    return lower if _PLAIN.match(lower) else None
