"""The session cookie (contracts B3), and where a session's id is read from.

The cookie has no ``Domain``: it goes back to the very host that set it. Ids are read from it or,
for clients without cookies, from the header ``x-param-regsid``; never from a target, which ends up
in logs and histories.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from otp_server.api.operation import AnswerHeader

if TYPE_CHECKING:
    from collections.abc import Mapping

COOKIE = "regsid"
HEADER = "x-param-regsid"
SET_COOKIE = AnswerHeader(
    "Set-Cookie",
    {"type": "string"},
    f"The session, `{COOKIE}`: for this host only, HttpOnly, SameSite=Strict.",
)
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_BETWEEN = re.compile(r"[;,]")
"""Cookies stand between ``;``; the lines of a repeated header were joined by ``,``."""
_DAY_S = 86400


class SessionCookies:
    """Writes cookies. ``secure``: for TLS only."""

    def __init__(self, *, secure: bool, days: int) -> None:
        flags = "; Secure" if secure else ""
        self._after = f"; Path=/; Max-Age={{}}{flags}; HttpOnly; SameSite=Strict"
        self._max_age_s = days * _DAY_S

    def give(self, session_id: str) -> tuple[str, str]:
        """The header that gives a browser its session."""
        return "Set-Cookie", f"{COOKIE}={session_id}{self._after.format(self._max_age_s)}"

    def take(self) -> tuple[str, str]:
        """The header that makes it forget."""
        return "Set-Cookie", f"{COOKIE}={self._after.format(0)}"


def session_id_of(headers: Mapping[str, str]) -> str | None:
    """The session's id that came with a request, the cookie's first; header names are lower case.

    None when there is none, and when there are several different cookies of the name: another host
    of the domain may have planted one, and which is ours cannot be told.
    """
    found = {
        value.strip().strip('"')
        for name, equals, value in (
            pair.partition("=") for pair in _BETWEEN.split(headers.get("cookie", ""))
        )
        if equals and name.strip() == COOKIE
    }
    found.discard("")
    if not found and HEADER in headers:
        found = {headers[HEADER].strip()}
    if len(found) != 1:
        return None
    [session_id] = found
    return session_id if _ID.fullmatch(session_id) else None
