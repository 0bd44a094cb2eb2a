"""New passwords judged (``domain/password_rules.py``), away from the loop: lists are read."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from otp_server.domain.password_rules import password_problems
from otp_server.services.bounded_threads import BoundedThreads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.services.breached import BreachedPasswords

_AT_ONCE = 2
_WAITING_MAX = 64


class PasswordPolicy:
    """The rules, and the lists of breached passwords."""

    def __init__(self, breached: BreachedPasswords) -> None:
        self._breached = breached
        self._threads = BoundedThreads(_AT_ONCE, _WAITING_MAX)

    async def problems_of(self, password: str, *, about: Sequence[str]) -> list[str]:
        """As ``password_problems``. Raises Busy, and ConfigError when a list cannot be read."""
        with self._threads.reserve():
            return await self._threads.run(
                partial(
                    password_problems,
                    password,
                    about=about,
                    is_breached=self._breached.contains,
                )
            )
