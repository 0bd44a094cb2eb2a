"""``Idempotency-Key``: how one is written (draft-ietf-httpapi-idempotency-key-header).

A quoted structured-field string or, as most clients send it, the bare characters: both name the
same key. It has 1 to 255 visible ASCII characters.
"""

from __future__ import annotations

import re

KEY_CHARACTERS_MAX = 255
_HEADER_CHARACTERS_MAX = 2 * KEY_CHARACTERS_MAX + 2  # quoted, and each character escaped
_VISIBLE = re.compile(r"[!-~]{1,255}", re.ASCII)
_QUOTED = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])*)"', re.ASCII)
_ESCAPED = re.compile(r'\\(["\\])')


def parse_key(text: str) -> str | None:
    """The key of a header's value; None when it cannot be one."""
    if len(text) > _HEADER_CHARACTERS_MAX:
        return None
    if text.startswith('"'):
        quoted = _QUOTED.fullmatch(text)
        if quoted is None:
            return None
        text = _ESCAPED.sub(r"\1", quoted[1])
    return text if _VISIBLE.fullmatch(text) else None
