"""How HTTP/1.1 requests may be framed and how they may not: the smuggling corpus (requirement 74).

Rows hold whole requests; whoever runs one over a connection adds a good request after it.
"""

from __future__ import annotations

from typing import NamedTuple

from otp_server.transport.http_framing import Offence

START = b"POST /nothing HTTP/1.1\r\nHost: x\r\n"
GET = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = START + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD_BYTES_MAX = 16 * 1024


class Row(NamedTuple):
    """Some bytes, how many of their requests are answered, and the offence that comes after."""

    name: str
    data: bytes
    answered: int
    offence: Offence | None = None


def _field(line: bytes) -> bytes:
    return b"GET /nothing HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n"


def _padded(size: int) -> bytes:
    """A request of this many bytes, without a body."""
    return _field(b"X: " + (size - len(_field(b"X: "))) * b"x")


GOOD = [
    Row("a get", GET, 1),
    Row("two gets", GET + GET, 2),
    Row("a length", START + b"Content-Length: 2\r\n\r\n{}", 1),
    Row("a length in other letters", START + b"CONTENT-length:2 \t\r\n\r\n{}", 1),
    Row("a length of nothing", START + b"Content-Length: 0\r\n\r\n", 1),
    Row("leading zeros of a length", START + b"Content-Length: 002\r\n\r\n{}", 1),
    Row("a body like a head", START + b"Content-Length: %d\r\n\r\n" % len(GET) + GET, 1),
    Row("a body of line ends", START + b"Content-Length: 4\r\n\r\n\n\r\n\n" + GET, 2),
    Row("chunks", CHUNKED + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", 1),
    Row("chunks of line ends", CHUNKED + b"4\r\n\n\r\n\n\r\n2\r\n\r\n\r\n0\r\n\r\n" + GET, 2),
    Row("no chunk", CHUNKED + b"0\r\n\r\n" + GET, 2),
    Row("zeros before a chunk size", CHUNKED + b"00000002\r\n{}\r\n000\r\n\r\n", 1),
    Row("hexadecimal", CHUNKED + b"a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n", 1),
    Row("a coding in other letters", CHUNKED.replace(b"chunked", b"Chunked") + b"0\r\n\r\n", 1),
    Row("a trailer", CHUNKED + b"2\r\n{}\r\n0\r\nX-Sum: 1\r\nX: 2\r\n\r\n" + GET, 2),
    Row("a value of nothing", _field(b"X:"), 1),
    Row("a tab and latin-1", _field(b"X: a\tb \xe9"), 1),
    Row("every character of a name", _field(b"!#$%&'*+.^_`|~09azAZ-: x"), 1),
    Row(
        "http/1.0",
        GET.replace(b"1.1", b"1.0", 1).replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"),
        1,
    ),
    Row("a head of all the bytes", _padded(HEAD_BYTES_MAX) + GET, 2),
]

BAD = [
    # --- where the body ends
    Row(
        "length and chunks",
        START + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        0,
        Offence.LENGTH_AND_CODING,
    ),
    Row(
        "chunks and length",
        START + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
        0,
        Offence.LENGTH_AND_CODING,
    ),
    Row(
        "two lengths",
        START + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}a",
        0,
        Offence.REPEATED,
    ),
    Row(
        "one length twice",
        START + b"Content-Length: 2\r\nX: y\r\ncontent-length: 2\r\n\r\n{}",
        0,
        Offence.REPEATED,
    ),
    Row(
        "chunked twice",
        START + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        0,
        Offence.REPEATED,
    ),
    *(
        Row(
            f"length {value!r}",
            START + b"Content-Length: " + value + b"\r\n\r\n{}",
            0,
            Offence.LENGTH,
        )
        for value in (b"+2", b"-0", b"0x2", b"2,2", b"2 2", b"2.0", b"", b"\xb2", 19 * b"0")
    ),
    *(
        Row(
            f"coding {value!r}",
            START + b"Transfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n" + SMUGGLED,
            0,
            Offence.CODING,
        )
        for value in (
            b"xchunked",
            b"identity",
            b"gzip, chunked",
            b"chunked, identity",
            b"chunked,",
            b'"chunked"',
            b"chunked;q=1",
            b"",
        )
    ),
    Row(
        "chunks in http/1.0",
        CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n" + SMUGGLED,
        0,
        Offence.CODING,
    ),
    # --- chunks
    *(
        Row(
            f"chunk size {size!r}",
            CHUNKED + size + b"\r\n{}\r\n0\r\n\r\n" + SMUGGLED,
            0,
            Offence.CHUNK_SIZE,
        )
        for size in (
            b"0x2",
            b"+2",
            b"-2",
            b" 2",
            b"2 ",
            b"2 ;a",
            b"2\t",
            b"g",
            b"",
            b"000000002",
            b"2_",
            70 * b"0",
        )
    ),
    *(
        Row(
            f"chunk line {size!r}",
            CHUNKED + size + b"\r\n{}\r\n0\r\n\r\n" + SMUGGLED,
            0,
            Offence.CHUNK_EXTENSION,
        )
        for size in (b"2;a=b", b"2;", b"2;" + 100 * b"x")
    ),
    Row(
        "an extension of the last chunk",
        CHUNKED + b"0;a\r\n\r\n" + SMUGGLED,
        0,
        Offence.CHUNK_EXTENSION,
    ),
    Row("a chunk line that ends in LF", CHUNKED + b"2\n{}\n0\n\n", 0, Offence.STRAY_LINE_END),
    Row("an extension with LF in it", CHUNKED + b"2;\n{}\r\n0\r\n\r\n", 0, Offence.CHUNK_EXTENSION),
    Row("more than a chunk says", CHUNKED + b"2\r\n{}x\r\n0\r\n\r\n", 0, Offence.CHUNK_SIZE),
    Row("a chunk that ends in LF", CHUNKED + b"2\r\n{}\n0\r\n\r\n", 0, Offence.CHUNK_SIZE),
    Row("a chunk that ends in CR", CHUNKED + b"2\r\n{}\r0\r\n\r\n", 0, Offence.CHUNK_SIZE),
    Row("an empty line before a chunk", CHUNKED + b"\r\n0\r\n\r\n", 0, Offence.CHUNK_SIZE),
    Row("the end of chunks with LF", CHUNKED + b"0\r\n\n" + SMUGGLED, 0, Offence.STRAY_LINE_END),
    Row("a trailer that is folded", CHUNKED + b"0\r\nX: a\r\n b\r\n\r\n", 0, Offence.FOLDED),
    Row("a trailer with LF", CHUNKED + b"0\r\nX: a\n\r\n\r\n", 0, Offence.STRAY_LINE_END),
    Row("a trailer with NUL", CHUNKED + b"0\r\nX: \0\r\n\r\n", 0, Offence.FIELD_VALUE),
    Row(
        "a trailer too large",
        CHUNKED + b"0\r\nX: " + HEAD_BYTES_MAX * b"x" + b"\r\n\r\n",
        0,
        Offence.TOO_LARGE,
    ),
    # --- lines
    Row("all LF", b"POST / HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}", 0, Offence.STRAY_LINE_END),
    Row(
        "a request line that ends in LF", GET.replace(b"\r\n", b"\n", 1), 0, Offence.STRAY_LINE_END
    ),
    Row("a field that ends in LF", _field(b"X: y\nZ: a"), 0, Offence.STRAY_LINE_END),
    Row(
        "a head that ends in LF",
        GET.removesuffix(b"\r\n") + b"\n" + SMUGGLED,
        0,
        Offence.STRAY_LINE_END,
    ),
    Row("CR in a value", _field(b"X: a\rContent-Length: 9"), 0, Offence.STRAY_LINE_END),
    Row("CR CR LF", _field(b"X: a\r"), 0, Offence.STRAY_LINE_END),
    Row("CR in the request line", GET.replace(b" HTTP", b"\r HTTP"), 0, Offence.STRAY_LINE_END),
    Row("LF before a request", b"\n" + GET, 0, Offence.STRAY_LINE_END),
    Row(
        "LF after a body that ends in CR",
        START + b"Content-Length: 1\r\n\r\n\r\n" + GET,
        1,
        Offence.STRAY_LINE_END,
    ),
    # --- fields
    Row("a folded field", _field(b"X: a\r\n b"), 0, Offence.FOLDED),
    Row("a field folded by a tab", _field(b"X: a\r\n\tb"), 0, Offence.FOLDED),
    Row(
        "a folded coding",
        START + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        0,
        Offence.FOLDED,
    ),
    Row("a fold before all fields", GET.replace(b"Host", b" Host"), 0, Offence.FOLDED),
    *(
        Row(f"field {line!r}", _field(line), 0, Offence.FIELD_NAME)
        for line in (
            b"X : a",
            b"X\t: a",
            b"X Y: a",
            b": a",
            b"X",
            b"X(: a",
            b"X\0: a",
            b"X\xe9: a",
            b"Content-Length : 2",
            b"Transfer-Encoding\x0b: chunked",
        )
    ),
    *(
        Row(f"value {value!r}", _field(b"X: a" + value + b"b"), 0, Offence.FIELD_VALUE)
        for value in (b"\0", b"\x01", b"\x08", b"\x0b", b"\x0c", b"\x1f", b"\x7f")
    ),
    Row(
        "chunked after a control character",
        START + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        0,
        Offence.FIELD_VALUE,
    ),
    Row("a head one byte too large", _padded(HEAD_BYTES_MAX + 1), 0, Offence.TOO_LARGE),
    # --- request lines
    *(
        Row(f"request line {line!r}", line + b"\r\nHost: x\r\n\r\n", 0, Offence.REQUEST_LINE)
        for line in (
            b" / HTTP/1.1",
            b"/ HTTP/1.1",
            b"GET  / HTTP/1.1",
            b"GET\t/ HTTP/1.1",
            b"GET / HTTP/1.1 ",
            b" GET / HTTP/1.1",
            b"GET /a b HTTP/1.1",
            b"GET /\0 HTTP/1.1",
            b"GET /\xe9 HTTP/1.1",
            b"GET /",
            b"GET / HTTP/1",
            b"GET / HTTP/11",
            b"GET / http/1.1",
            b"G(T / HTTP/1.1",
            b"GE\0T / HTTP/1.1",
            b"get / HTTP/1.1",
            b"",
        )
    ),
    # --- not the first request
    Row(
        "two good ones first",
        GET + CHUNKED + b"0\r\n\r\n" + _field(b"X : a"),
        2,
        Offence.FIELD_NAME,
    ),
    Row(
        "a good one, and bad chunks",
        GET + CHUNKED + b"2\r\n{}\r\n2;a\r\n{}\r\n0\r\n\r\n" + SMUGGLED,
        1,
        Offence.CHUNK_EXTENSION,
    ),
    Row(
        "more than the length",
        START + b"Content-Length: 2\r\n\r\n{}}\r\n\r\n",
        1,
        Offence.REQUEST_LINE,
    ),
]
