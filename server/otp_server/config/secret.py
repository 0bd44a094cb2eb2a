"""Secrets: keys of the installation (``id:base64``, the first current), and others' words.

What is read here is wrapped at once. The wrappers show ids in ``repr`` and ``str`` and never a
key or a word; ``SecretKeys`` and ``Secret`` are plain classes on purpose, so that JSON encoders
refuse them instead of printing them. No message of this module quotes what it could not read.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY_BYTES_MIN = 32  # as long as the HMAC-SHA-256 output: a shorter key would be the weaker part
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_WORD = re.compile(r"[^\x00-\x1f\x7f]{0,4096}")
_FILE_BYTES_MAX = 65536  # hundreds of keys; whatever is larger is not a key file


class SecretKey(NamedTuple):
    """A pair ``(id, key)`` as the core takes it, silent in repr and str."""

    key_id: str
    key: bytes

    def __repr__(self) -> str:
        return f"<key {self.key_id!r}>"

    def __str__(self) -> str:
        return repr(self)


class SecretKeys:
    """The keys of one purpose, first is current; empty when none is configured."""

    __slots__ = ("entries",)

    def __init__(self, entries: tuple[SecretKey, ...] = ()) -> None:
        self.entries = entries

    def __repr__(self) -> str:
        return f"SecretKeys({list(self.entries)!r})"

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[SecretKey]:
        return iter(self.entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretKeys) and self.entries == other.entries

    def __hash__(self) -> int:
        return hash(tuple(entry.key_id for entry in self.entries))

    @classmethod
    def parse(cls, values: object) -> SecretKeys:
        """Read a list of ``id:base64``.

        Raises:
            ValueError: something cannot be read; the message names every bad entry by its place.
        """
        if not isinstance(values, list | tuple):
            raise ValueError(f"expected a list, got {type(values).__name__}")  # noqa: TRY004 - documented
        return cls._collect([(f"entry {place}", value) for place, value in enumerate(values, 1)])

    @classmethod
    def parse_lines(cls, text: str) -> SecretKeys:
        """Read a key file: one ``id:base64`` per line; blank lines and ``#`` comments are skipped.

        Raises:
            ValueError: a line cannot be read, or there is no key at all.
        """
        lines = [
            (f"line {number}", line.strip()) for number, line in enumerate(text.split("\n"), 1)
        ]
        keys = cls._collect([(at, line) for at, line in lines if line and not line.startswith("#")])
        if not keys:
            raise ValueError("it holds no key")
        return keys

    @classmethod
    def _collect(cls, written: list[tuple[str, object]]) -> SecretKeys:
        entries: list[SecretKey] = []
        faults: list[str] = []
        for place, value in written:
            try:
                entry = _parse_key(value)
                if any(entry.key_id == other.key_id for other in entries):
                    faults.append(f"{place} repeats the id {entry.key_id!r}")
                entries.append(entry)
            except ValueError as error:
                faults.append(f"{place} {error}")
        if faults:
            raise ValueError("; ".join(faults))
        return cls(tuple(entries))


class Secret:
    """A password or token that another server gave us; empty when none is configured."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def __repr__(self) -> str:
        return "<secret>" if self._text else "<no secret>"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(bool(self._text))

    def reveal(self) -> str:
        """The word itself, for the one who sends it."""
        return self._text

    @classmethod
    def parse(cls, text: object) -> Secret:
        """Read one line of text.

        Raises:
            ValueError: it is something else.
        """
        if not isinstance(text, str):
            raise ValueError(f"expected a string, got {type(text).__name__}")  # noqa: TRY004 - documented
        if _WORD.fullmatch(text) is None:
            raise ValueError("it is longer than 4096 characters, or not one line")
        return cls(text)

    @classmethod
    def parse_lines(cls, text: str) -> Secret:
        """Read a file of one line; the line's end is not part of it.

        Raises:
            ValueError: it holds nothing, or more than a line.
        """
        secret = cls.parse(text.removesuffix("\n").removesuffix("\r"))
        if not secret:
            raise ValueError("it holds nothing")
        return secret


def _parse_key(text: object) -> SecretKey:
    if not isinstance(text, str):
        raise ValueError("is not a string")  # noqa: TRY004 - collected with the others
    key_id, colon, written = text.partition(":")
    if not colon:
        raise ValueError("has no id before a colon")
    if _KEY_ID.fullmatch(key_id) is None:
        raise ValueError("has an id that is not 1 to 64 letters, digits, '.', '_' or '-'")
    written = written.strip().rstrip("=")
    try:
        key = base64.b64decode(written + "=" * (-len(written) % 4), validate=True)
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        raise ValueError("is not base64 after its id") from None
    if len(key) < KEY_BYTES_MIN:
        raise ValueError(f"has {len(key)} bytes, and {KEY_BYTES_MIN} or more are needed")
    return SecretKey(key_id, key)


def read_key_file(path: Path) -> tuple[str, int]:
    """The text of a key file and its permission bits, both of the very file that was opened.

    Raises:
        OSError: it cannot be read (FileNotFoundError when it is not there).
        ValueError: it is no regular file, too large, or not UTF-8.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        data = file.read(_FILE_BYTES_MAX + 1)
    if len(data) > _FILE_BYTES_MAX:
        raise ValueError(f"it has more than {_FILE_BYTES_MAX} bytes")
    try:
        return data.decode(), stat.S_IMODE(status.st_mode)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
