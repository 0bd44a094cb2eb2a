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

    from otp_server.domain.challenge_type import Channel
    from otp_server.services.ports.delivery import Message, SendOutcome

_MODE = 0o600
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_TAIL_BYTES = 65_536
_RETRY_MS = 1000
_ENCODE = msgspec.json.Encoder().encode_lines

log = get_logger(__name__)


class _Line(msgspec.Struct, frozen=True, gc=False):
    """What people look for of a message; the code is in it. The repr shows nothing of it."""

    channel: Channel
    to: str
    subject: str
    text: str
    process: str

    def __repr__(self) -> str:
        return "<_Line>"


def append_lines(path: Path, lines: bytes) -> int:
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
        written = os.write(file, lines)
        kept = lines.rfind(b"\n", 0, written) + 1
        if kept != written:
            with suppress(OSError):  # then who writes next takes the torn line away
                os.ftruncate(file, size + kept)
        if lines and not kept:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return lines.count(b"\n", 0, kept)
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


class _Batch:
    """Lines of one caller, and how many of them are in the file; None while nobody wrote."""

    __slots__ = ("lines", "written")

    def __init__(self, lines: bytes) -> None:
        self.lines = lines
        self.written: int | None = None


class OutboxFileSender:
    """Writes what it is given into ``path``; fit for any channel, and for several at once.

    Who comes while another writes has his lines written with those of all who wait.
    """

    name = "outbox"
    concurrency = 256
    deadline_s = 10.0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[_Batch] = []
        self._lock = trio.Lock()  # who waits in a thread would wait for the file's lock there

    async def send(self, message: Message) -> SendOutcome:
        """Append it. Raises nothing; one that was cancelled while it was written is in the file."""
        [outcome] = await self.send_many([message])
        return outcome

    async def send_many(self, messages: Sequence[Message]) -> Sequence[SendOutcome]:
        """Append them at once, as ``send`` each."""
        lines = _ENCODE(
            [_Line(one.channel, one.to, one.subject, one.text, one.process) for one in messages]
        )
        batch = _Batch(lines)
        self._waiting.append(batch)
        try:
            async with self._lock:
                if batch.written is None:
                    await self._write_waiting()
        finally:
            if batch in self._waiting:  # cancelled before anybody wrote it
                self._waiting.remove(batch)
        count = batch.written or 0
        left = NotSent(SendProblem.UNREACHABLE, _RETRY_MS)
        return [Sent()] * count + [left] * (len(messages) - count)

    async def _write_waiting(self) -> None:
        """Those of all who wait, in one go. A thread cannot be cancelled, so this cannot be."""
        batches, self._waiting = self._waiting, []
        lines = b"".join([batch.lines for batch in batches])
        count = 0
        try:
            with trio.CancelScope(shield=True):
                count = await trio.to_thread.run_sync(append_lines, self._path, lines)
        except OSError as error:
            log.warning(
                "the outbox file cannot be written", path=str(self._path), why=error.strerror
            )
        for batch in batches:
            batch.written = min(count, batch.lines.count(b"\n"))
            count -= batch.written

    async def aclose(self) -> None:
        """Nothing is kept open."""
