"""Messages into a file, for development: one JSON line each. The file holds codes.

The file is made with mode 0600, locked while it is written to, and holds whole lines only: what a
full disk or a crash left of a line is taken away.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import trio

from otp_server.services.ports.delivery import NotSent, SendProblem, Sent
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from otp_server.services.ports.delivery import Message, SendOutcome

_MODE = 0o600
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_TAIL_BYTES = 65_536
_RETRY_MS = 1000
_ENCODE = msgspec.json.Encoder().encode

log = get_logger(__name__)


def append_lines(path: Path, lines: Sequence[bytes]) -> int:
    """Append ``lines``, which end in a newline each, or as many as there is room for: how many.

    OSError: none of them is in the file.
    """
    file = os.open(path, _FLAGS, _MODE)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = os.fstat(file)
        if stat.S_IMODE(found.st_mode) != _MODE:
            os.fchmod(file, _MODE)
        size = _whole_lines_end(file, found.st_size)
        if size != found.st_size:
            os.ftruncate(file, size)
        written = os.write(file, b"".join(lines))
        count = kept = 0
        while count < len(lines) and kept + len(lines[count]) <= written:
            kept += len(lines[count])
            count += 1
        if kept != written:
            with suppress(OSError):  # then who writes next takes the torn line away
                os.ftruncate(file, size + kept)
        if lines and not count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return count
    finally:
        os.close(file)


def _whole_lines_end(file: int, end: int) -> int:
    """The size of the file, which is ``end``, without a torn last line."""
    if end and os.pread(file, 1, end - 1) == b"\n":
        return end
    while end > 0:
        start = max(0, end - _TAIL_BYTES)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


class OutboxFileSender:
    """Writes what it is given into ``path``; fit for any channel."""

    name = "outbox"
    concurrency = 256
    deadline_s = 10.0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._limiter = trio.CapacityLimiter(1)  # who waits would wait for the file's lock

    async def send(self, message: Message) -> SendOutcome:
        """Append it. Raises nothing; a message whose writing was cancelled is in the file."""
        [outcome] = await self.send_many([message])
        return outcome

    async def send_many(self, messages: Sequence[Message]) -> Sequence[SendOutcome]:
        """Append them at once, as ``send`` each."""
        lines = [_line(message) for message in messages]
        count = 0
        try:
            count = await trio.to_thread.run_sync(
                append_lines, self._path, lines, limiter=self._limiter
            )
        except OSError as error:
            log.warning(
                "the outbox file cannot be written", path=str(self._path), why=error.strerror
            )
        left = NotSent(SendProblem.UNREACHABLE, _RETRY_MS)
        return [Sent()] * count + [left] * (len(lines) - count)

    async def aclose(self) -> None:
        """Nothing is kept open."""


def _line(message: Message) -> bytes:
    line = _ENCODE(
        {
            "channel": message.channel,
            "to": message.to,
            "subject": message.subject,
            "text": message.text,
            "process": message.process,
        }
    )
    return line + b"\n"
