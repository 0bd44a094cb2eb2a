"""Strict framing of HTTP/1.1 requests, kept before h11 sees the bytes (requirement 74).

Two programs in a row that disagree about where a request ends let a client smuggle one. h11 is
lenient where RFC 9112 lets a server be: it takes a Content-Length beside a Transfer-Encoding, a
bare LF as the end of a line, folded fields, chunk extensions, blanks after a chunk size and control
characters in values. What a client sends is therefore watched here: heads, chunk lines and trailers
are read, bodies are skipped by count, and the first offence ends the hearing.

What h11 itself takes care of, and is not repeated here:

- the Host field (one, and not more), ``Expect: 100-continue``, ``Connection``;
- an empty line before a request (RFC 9112 would allow it);
- a body cut short by the end of the stream;
- that a pipelined request waits for the answer to the one before.

Other versions of HTTP/x.y are let through, to be refused as such (``transport.http``), and so are
all forms of a request target. Nor is an upgrade known here: what comes behind one that is taken is
read on as requests, and the bytes as they came are to be kept beside it (``transport.http``).
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

UNREADABLE = b"\0\r\n\r\n"
"""What h11 is sure to refuse, whatever came before: NUL is nowhere allowed, and the rest ends any
line and any section that it could wait for."""

_LF, _BLANK = 0x0A, 0x20
_CRLF = b"\r\n"
_SECTION_END = b"\r\n\r\n"

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_METHOD = rb"[!#$%&'*+.^_`|~0-9A-Z-]++"  # Hypercorn would raise a small letter to a capital
_FIELDS = rb"(?:\r\n" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+)*+\r\n\r\n"
_REQUEST_LINE = _METHOD + rb" [\x21-\x7e]++ HTTP/([0-9]\.[0-9])"
_HEAD = re.compile(_REQUEST_LINE + _FIELDS)
_TRAILER = re.compile(rb"0++" + _FIELDS)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8}+)\r\n")
_CHUNK_SIZE_BEGUN = re.compile(rb"[0-9A-Fa-f]{0,8}+\r?")
_FRAMING = re.compile(rb"\r\n(?:(content-length)|transfer-encoding):([^\r]*+)", re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,18}+")
_STRAY = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
"""LF without CR, and CR without LF (none is known of a last one)."""

_FIRST_LINE = re.compile(_REQUEST_LINE + rb"|0++")
_DIGITS = re.compile(rb"\A[0-9A-Fa-f]{0,8}+")
_FIELD_NAME = re.compile(_TOKEN + rb":")


class _Offence(NamedTuple):
    text: str
    status: int = 400


class Offence(Enum):
    """What is wrong with the bytes: ``text`` for the client's log, and the answer's ``status``."""

    STRAY_LINE_END = _Offence("A line ends in a bare LF or holds a bare CR.")
    REQUEST_LINE = _Offence("The request line is not a method, a target and HTTP/1.1.")
    FOLDED = _Offence("A header field is folded over lines.")
    FIELD_NAME = _Offence("A header field has no name, or a blank in or after it.")
    FIELD_VALUE = _Offence("A header field's value holds control characters.")
    TOO_LARGE = _Offence("The header fields are too large.", 431)
    LENGTH_AND_CODING = _Offence("Content-Length and Transfer-Encoding go not together.")
    REPEATED = _Offence("Content-Length or Transfer-Encoding is repeated.")
    LENGTH = _Offence("Content-Length is not a plain number.")
    CODING = _Offence("The one Transfer-Encoding known here is chunked, in HTTP/1.1.")
    CHUNK_SIZE = _Offence("A chunk has no plain hexadecimal size, or more bytes than it says.")
    CHUNK_EXTENSION = _Offence("Chunk extensions are not understood here.")

    @property
    def text(self) -> str:
        """A sentence."""
        return self.value.text

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return self.value.status


class _OffenceError(Exception):
    def __init__(self, offence: Offence) -> None:
        super().__init__(offence)
        self.offence = offence


class FramingGuard:
    """The framing of one connection's requests, however their bytes are cut; no I/O.

    ``head_bytes_max`` bounds a request's head, and a trailer, each up to the end of its empty line.
    """

    __slots__ = ("_after_chunk", "_chunked", "_head_bytes_max", "_held", "_skip", "offence")

    def __init__(self, head_bytes_max: int) -> None:
        self.offence: Offence | None = None
        self._head_bytes_max = head_bytes_max
        self._held = b""  # of a head, a chunk line or a trailer that has not ended
        self._skip = 0  # bytes of body before the next thing to read
        self._chunked = False
        self._after_chunk = False

    def pass_on(self, data: bytes) -> bytes:
        """What h11 may read of ``data`` (never empty), which follows what was passed on before.

        It is ``data`` as it came until the first ``offence``, which is replaced, with all that
        follows it, by ``UNREADABLE``.
        """
        if self.offence:
            return UNREADABLE
        at = 0
        size = len(data)
        try:
            while at < size:
                if self._skip:
                    skipped = min(self._skip, size - at)
                    self._skip -= skipped
                    at += skipped
                else:
                    at = self._read(data, at)
        except _OffenceError as refused:
            self.offence = refused.offence
            self._held = b""
            return data[:at] + UNREADABLE
        return data

    def _read(self, data: bytes, at: int) -> int:
        """Read one head, chunk line or trailer: where in ``data`` it ends, or the end of it."""
        text, start, seen = data, at, at
        if self._held:
            text, start, seen = self._held + data[at:], 0, len(self._held)
        read = self._read_chunk_line if self._chunked else self._read_head
        end = read(text, start, seen)
        if end < 0:
            self._held = text[start:]
            return len(data)
        self._held = b""
        return at + end - seen

    def _read_head(self, text: bytes, start: int, seen: int) -> int:
        if text[start] <= _BLANK and text[start] != _LF:  # h11 refuses that at once: told why
            raise _OffenceError(Offence.REQUEST_LINE)
        end = self._section_end(text, start, seen)
        if end < 0:
            return end
        head = _HEAD.fullmatch(text, start, end)
        if not head:
            raise _OffenceError(_offence_of(text[start:end]))
        framing = _FRAMING.findall(text, start, end)
        if framing:
            self._begin_body(framing, head[1])
        return end

    def _begin_body(self, framing: list[tuple[bytes, bytes]], version: bytes) -> None:
        if len(framing) > 1:
            same = len({bool(is_length) for is_length, _ in framing}) == 1
            raise _OffenceError(Offence.REPEATED if same else Offence.LENGTH_AND_CODING)
        [(is_length, value)] = framing
        value = value.strip(b" \t")
        if is_length:
            if not _LENGTH.fullmatch(value):
                raise _OffenceError(Offence.LENGTH)
            self._skip = int(value)
        elif value.lower() != b"chunked" or version == b"1.0":
            raise _OffenceError(Offence.CODING)
        else:
            self._chunked = True

    def _read_chunk_line(self, text: bytes, start: int, seen: int) -> int:
        """A chunk's size, after the line end of the chunk before; or all after the last chunk."""
        begin = start
        if self._after_chunk:
            begin += len(_CRLF)
            if not _CRLF.startswith(text[start:begin]):
                raise _OffenceError(Offence.CHUNK_SIZE)
        end = text.find(_CRLF, begin)
        if end < 0:
            # h11 takes any extension: an offence now, and not when the line has ended.
            if not _CHUNK_SIZE_BEGUN.fullmatch(text, begin):
                raise _OffenceError(_offence_of_chunk_line(text[begin:]))
            return end
        end += len(_CRLF)
        size = _CHUNK_SIZE.fullmatch(text, begin, end)
        if not size:
            raise _OffenceError(_offence_of_chunk_line(text[begin:end]))
        self._skip = int(size[1], 16)
        if self._skip:
            self._after_chunk = True
            return end
        end = self._section_end(text, begin, max(seen, begin))
        if end < 0:
            return end
        if not _TRAILER.fullmatch(text, begin, end):
            raise _OffenceError(_offence_of(text[begin:end]))
        self._chunked = self._after_chunk = False
        return end

    def _section_end(self, text: bytes, start: int, seen: int) -> int:
        """Where the empty line that ends lines ends; -1 if it has not come."""
        end = text.find(_SECTION_END, max(start, seen - len(_SECTION_END) + 1))
        if end < 0:
            # h11 takes a bare LF for an end of line: an offence now, and not when ours has come.
            if _STRAY.search(text[start:], max(0, seen - start - 1)):
                raise _OffenceError(Offence.STRAY_LINE_END)
            if len(text) - start >= self._head_bytes_max:
                raise _OffenceError(Offence.TOO_LARGE)
            return end
        end += len(_SECTION_END)
        if end - start > self._head_bytes_max:
            raise _OffenceError(Offence.TOO_LARGE)
        return end


def _offence_of(section: bytes) -> Offence:
    """What is wrong with a head or a trailer that something is wrong with."""
    if _STRAY.search(section):
        return Offence.STRAY_LINE_END
    first, *lines = section.removesuffix(_SECTION_END).split(_CRLF)
    if not _FIRST_LINE.fullmatch(first):
        return Offence.REQUEST_LINE
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            return Offence.FOLDED
        if not _FIELD_NAME.match(line):
            return Offence.FIELD_NAME
    return Offence.FIELD_VALUE


def _offence_of_chunk_line(line: bytes) -> Offence:
    rest = _DIGITS.sub(b"", line, count=1)
    if _STRAY.match(rest):
        return Offence.STRAY_LINE_END
    return Offence.CHUNK_EXTENSION if rest.startswith(b";") else Offence.CHUNK_SIZE
