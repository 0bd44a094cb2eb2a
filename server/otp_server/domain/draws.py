"""Random bytes of the operating system, drawn many at a time.

Each draw is a system call that gives up the GIL, and while another thread is busy it costs more to
win that back than all that a request does with the bytes. They are no secrets that must not wait in
memory: identifiers and nonces, which are told anyway.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_AT_ONCE = 64


class Draws:
    """Random values of one size. For any number of threads: none is given twice."""

    def __init__(self, size: int) -> None:
        """``size`` in bytes."""
        self._size = size
        self._drawn: Iterator[bytes] = iter(())

    def take(self) -> bytes:
        """The next one."""
        while True:
            drawn = next(self._drawn, None)  # one step: an item of a list goes to one thread
            if drawn is not None:
                return drawn
            size, many = self._size, os.urandom(self._size * _AT_ONCE)
            self._drawn = iter([many[start : start + size] for start in range(0, len(many), size)])
