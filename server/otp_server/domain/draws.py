"""Random bytes of the operating system, drawn many at a time.

Each draw is a system call that gives up the GIL, and while another thread is busy it costs more to
win that back than all that a request does with the bytes. They are no secrets that must not wait in
memory: identifiers and nonces, which are told anyway.
"""

from __future__ import annotations

import os

_AT_ONCE = 64


class Draws:
    """Random values of one size. For any number of threads: none is given twice."""

    def __init__(self, size: int) -> None:
        """``size`` in bytes."""
        self._size = size
        self._drawn: list[bytes] = []

    def take(self) -> bytes:
        """The next one."""
        while True:
            try:
                return self._drawn.pop()  # one step: an item of a list goes to one thread
            except IndexError:
                size, many = self._size, os.urandom(self._size * _AT_ONCE)
                self._drawn = [many[start : start + size] for start in range(0, len(many), size)]
