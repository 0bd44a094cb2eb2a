"""The development outbox of a server, read as it grows."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.observe import until

if TYPE_CHECKING:
    from pathlib import Path

CODE = re.compile(r"(?<![\w@#])[A-Z0-9]{6,32}(?!\w)")


@dataclass(frozen=True)
class Mail:
    """One message: its code is the first word of six or more digits or capitals in its text.

    ``code`` is empty where there is none: a notice has no code.
    """

    channel: str
    to: str
    process: str
    code: str
    subject: str = ""
    text: str = ""


@dataclass
class Outbox:
    """Follows ``<data_dir>/outbox.jsonl``; a line half written is read when it is whole."""

    path: Path
    mails: list[Mail] = field(default_factory=list)
    _read: int = 0

    def look(self) -> list[Mail]:
        """All messages so far."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read += len(whole)
            self.mails += [_mail(line) for line in whole.splitlines()]
        return self.mails

    def to(self, address: str) -> list[Mail]:
        """The messages to one address, the first one first."""
        return [mail for mail in self.look() if mail.to == address]

    def of(self, process: str) -> list[Mail]:
        """The messages of one process, the first one first."""
        return [mail for mail in self.look() if mail.process == process]

    async def code_of(self, process: str, number: int = 0, within_s: float = 10) -> str:
        """The code of the process's message of that number; waits until it is there."""
        await until(lambda: len(self.of(process)) > number, within_s)
        return self.of(process)[number].code


def _mail(line: bytes) -> Mail:
    said = json.loads(line)
    found = CODE.search(said["text"])
    return Mail(
        said["channel"],
        said["to"],
        said["process"],
        found[0] if found else "",
        said["subject"],
        said["text"],
    )
