"""Passwords that attackers try first: a built-in list, and a file of stolen ones if there is one.

The built-in list is that of the ``zxcvbn`` package, of which only the list is used: some 11 600
passwords of eight characters and more (shorter ones are refused as short). It is read at the first
question, in about 10 ms; 1.2 MB stay. It is in small letters, and any case of its words is refused:
a capital is the first thing that is tried. In the file, case makes another password.

The file is what "Have I Been Pwned" gives for download: SHA-1 digests, one a line in hexadecimal,
sorted, each with a count behind a colon. Nothing of it is kept in memory: an answer is some 70
reads of 256 bytes at most, for a file of 40 GB too.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from otp_server.domain.password_rules import CHARACTERS_MIN
from otp_server.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

_BLOCK_BYTES = 256
"""More than two lines."""
_LINE = re.compile(rb"([0-9A-Fa-f]{40})(:\d+)?\s*")


class BreachedPasswords:
    """Both lists. Questions block: ask from a thread (``services/password_policy.py``)."""

    def __init__(self, file: str = "") -> None:
        """``file`` is ``svc.breached_passwords``; empty: none.

        Raises ConfigError when it cannot be read, or does not begin as such a list.
        """
        self._file = Path(file) if file else None
        if self._file is not None:
            _check_beginning(self._file)

    def contains(self, password: str) -> bool:
        """Whether this password, in its normal form, is on one of the lists.

        Raises ConfigError when the file cannot be read any more.
        """
        return password.lower() in self._common or (
            self._file is not None and _is_listed(self._file, password)
        )

    @cached_property
    def _common(self) -> frozenset[str]:
        return frozenset(word for word in _frequent_words() if len(word) >= CHARACTERS_MIN)


def _frequent_words() -> Sequence[str]:
    """The list out of the package, whose other modules would keep five times as much in memory."""
    package = importlib.util.find_spec("zxcvbn")
    if package is None or not package.submodule_search_locations:
        raise ConfigError("the package zxcvbn is not installed: install otp-server anew")
    place = Path(package.submodule_search_locations[0]) / "frequency_lists.py"
    spec = importlib.util.spec_from_file_location("zxcvbn_frequency_lists", place)
    if spec is None or spec.loader is None:
        raise ConfigError("the package zxcvbn has no frequency_lists: install otp-server anew")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    words: Sequence[str] = module.FREQUENCY_LISTS["passwords"]
    return words


def _check_beginning(file: Path) -> None:
    try:
        with file.open("rb") as lines:
            first = lines.readline(_BLOCK_BYTES)
    except OSError as error:
        raise _unreadable(error) from error
    if first and _LINE.fullmatch(first) is None:
        raise ConfigError(
            "svc.breached_passwords does not begin with a SHA-1 digest: give a file with one a "
            "line, in hexadecimal and sorted"
        )


def _unreadable(error: OSError) -> ConfigError:
    return ConfigError(f"svc.breached_passwords cannot be read: {error.strerror or error}")


def _is_listed(file: Path, password: str) -> bool:
    data = password.encode(errors="surrogatepass")
    wanted = hashlib.sha1(data, usedforsecurity=False).hexdigest().upper().encode()
    try:
        with file.open("rb", buffering=0) as lines:
            return _find_line(lines.fileno(), wanted)
    except OSError as error:
        raise _unreadable(error) from error


def _find_line(descriptor: int, wanted: bytes) -> bool:
    """Binary search: what is looked for begins at or after ``low`` and before ``high``."""
    low, high = 0, os.fstat(descriptor).st_size
    while low < high:
        middle = (low + high) // 2
        start = middle if middle == low else _next_line(descriptor, middle)
        if start >= high:
            high = middle
            continue
        line = os.pread(descriptor, _BLOCK_BYTES, start).partition(b"\n")[0]
        digest = line[: len(wanted)].upper()
        if digest == wanted:
            return True
        if digest < wanted:
            low = start + len(line) + 1
        else:
            high = middle
    return False


def _next_line(descriptor: int, place: int) -> int:
    """Where the first line begins that begins at ``place`` or after it; past the end: none does."""
    block = os.pread(descriptor, _BLOCK_BYTES, place - 1)
    end = block.find(b"\n")
    return place + (end if end >= 0 else len(block))
