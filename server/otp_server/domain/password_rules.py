"""What a password may be (requirement 27; NIST SP 800-63B 5.1.1.2).

Any characters, 8 to 128 of them, counted and hashed in Unicode's NFKC form: the same password is
typed as different code points on different keyboards. Nothing is cut off, and no kind of character
is asked for. Refused is what attackers try first: what is known to be stolen, and what the account
itself says.
"""

from __future__ import annotations

import unicodedata
from itertools import permutations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CHARACTERS_MIN = 8
CHARACTERS_MAX = 128
_ENTRY_CHARACTERS_MAX = 4 * CHARACTERS_MAX
"""Of what is normalised at all: a letter may be typed as a base and three marks. Normalising takes
quadratic time for long runs of marks, so more is not touched."""

TOO_SHORT = f"it has fewer than {CHARACTERS_MIN} characters: make it longer"
TOO_LONG = f"it has more than {CHARACTERS_MAX} characters: make it shorter"
ABOUT_YOU = (
    "it is your e-mail address or your name: choose something that others do not know about you"
)
BREACHED = (
    "it is one of the passwords that attackers try first, since it was stolen somewhere or many "
    "people use it: choose another, such as a few words that have nothing to do with each other"
)


def normal_password(password: str) -> str | None:
    """The form that is judged and hashed; None for a text too long to be any password."""
    if len(password) > _ENTRY_CHARACTERS_MAX:
        return None
    normal = unicodedata.normalize("NFKC", password)
    return normal if len(normal) <= CHARACTERS_MAX else None


def password_problems(
    password: str, *, about: Sequence[str], is_breached: Callable[[str], bool]
) -> list[str]:
    """Why a password cannot be used, in sentences for its owner that quote nothing; or none.

    Args:
        password: as it was typed.
        about: the account's e-mail address and names; empty ones are left out.
        is_breached: asked last, with the normal form, and only where nothing else is wrong.
    """
    normal = normal_password(password)
    if normal is None:
        return [TOO_LONG]
    if len(normal) < CHARACTERS_MIN:
        return [TOO_SHORT]
    if _bare(normal) in set(_known(about)):
        return [ABOUT_YOU]
    return [BREACHED] if is_breached(normal) else []


def _known(about: Sequence[str]) -> Iterator[str]:
    """What the account says, the part of an address before the @, and any two side by side."""
    words = [word for text in about for word in (text, text.rpartition("@")[0]) if word]
    bare = [word for word in map(_bare, words) if word]
    yield from bare
    for first, second in permutations(bare, 2):
        yield first + second


def _bare(text: str) -> str:
    """Its letters and digits alone, however they are written."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if character.isalnum())
