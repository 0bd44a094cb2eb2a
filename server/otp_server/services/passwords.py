"""Passwords hashed and compared: Argon2id, a few at a time (requirement 27).

The cost is that of RFC 9106 section 4 for machines without memory to spare (3 passes over 64 MiB),
above each of OWASP's choices (2 passes over 19 MiB is one). One lane instead of four: lanes spread
the same work over more cores, which a server that answers others meanwhile has no use for. A hash
takes 160 ms on an idle core of the machine at hand, and two at once take 128 MiB:

    python -m timeit -n 5 -s "import argon2; h = argon2.PasswordHasher(3, 65536, 1)" "h.hash('x')"

Where there is no password to compare with, one that nobody knows is, so that it takes as long.
"""

from __future__ import annotations

import base64
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import argon2
from argon2.exceptions import VerificationError, VerifyMismatchError

from otp_server.domain.password_rules import normal_password
from otp_server.services.bounded_threads import BoundedThreads

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_ONCE = 2
WAITING_MAX = 64
"""Some 5 s of waiting with two cores; who comes then is told to come again."""
_SALT_BYTES = 16
_HASH_BYTES = 32


@dataclass(frozen=True, slots=True)
class HashCost:
    """What one hash costs; tests take less."""

    passes: int = 3
    memory_kib: int = 64 * 1024


class PasswordHasher:
    """Hashes and compares passwords, as typed; their normal form is made here."""

    def __init__(self, cost: HashCost | None = None) -> None:
        cost = cost or HashCost()
        self._argon2 = argon2.PasswordHasher(
            cost.passes, cost.memory_kib, 1, hash_len=_HASH_BYTES, salt_len=_SALT_BYTES
        )
        self._nobodys = _unknown_hash(cost)
        self._threads = BoundedThreads(AT_ONCE, WAITING_MAX)

    async def hash(self, password: str) -> str:
        """The stored form of a password that was judged good (``domain/password_rules.py``).

        Raises Busy, and ValueError for a text too long to be a password.
        """
        with self.reserve() as place:
            return await place.hash(password)

    @contextmanager
    def reserve(self) -> Iterator[ReservedPlace]:
        """Room for what follows, before anything is counted. Raises Busy."""
        with self._threads.reserve():
            yield ReservedPlace(self, self._threads)

    def hash_now(self, password: str) -> str:
        """As :meth:`hash`, blocking the thread it is called in."""
        entry = _entry_of(password)
        if entry is None:
            raise ValueError("it is too long to be a password")
        return self._argon2.hash(entry)

    def verify_now(self, stored: str | None, password: str) -> bool:
        """Whether the password is that of a stored form; blocks the thread it is called in.

        None, and what cannot be read, are nobody's password, found out at the same cost.
        """
        entry = _entry_of(password)
        if stored is not None and entry is not None:
            try:
                return self._argon2.verify(stored, entry)
            except VerifyMismatchError:
                return False
            except (VerificationError, ValueError):  # it cannot be read: as if there were none
                pass
        with suppress(VerifyMismatchError):
            self._argon2.verify(self._nobodys, entry or b"")
        return False


@dataclass(frozen=True, slots=True)
class ReservedPlace:
    """A place in the hasher's queue, inside ``reserve``: one call at a time, never Busy."""

    _hasher: PasswordHasher
    _threads: BoundedThreads

    async def hash(self, password: str) -> str:
        """As ``PasswordHasher.hash``."""
        return await self._threads.run(partial(self._hasher.hash_now, password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """As ``PasswordHasher.verify_now``, in a thread."""
        return await self._threads.run(partial(self._hasher.verify_now, stored, password))


def _entry_of(password: str) -> bytes | None:
    normal = normal_password(password)
    return None if normal is None else normal.encode(errors="surrogatepass")


def _unknown_hash(cost: HashCost) -> str:
    """A stored form of this cost whose password nobody knows, made without hashing."""
    salt, digest = (
        base64.b64encode(os.urandom(count)).rstrip(b"=").decode()
        for count in (_SALT_BYTES, _HASH_BYTES)
    )
    return f"$argon2id$v=19$m={cost.memory_kib},t={cost.passes},p=1${salt}${digest}"
