"""Any well-framed requests, what spoils them, and any cuts, for Hypothesis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from tests.support.framing_corpus import CHUNKED, GET, START

if TYPE_CHECKING:
    from collections.abc import Sequence

FIELD = st.builds(
    lambda name, value: b"X-" + name + b": " + value + b"\r\n",
    st.text("abcXYZ019-_.~", min_size=1, max_size=8).map(str.encode),
    st.text(" \tabc:;,=\xe9\xff\"'", max_size=12).map(lambda text: text.encode("latin-1")),
)
FIELDS = st.lists(FIELD, max_size=3).map(b"".join)
BODY = st.one_of(st.binary(max_size=40), st.just(GET), st.just(CHUNKED + b"0\r\n\r\n"))


def in_chunks(bodies: Sequence[bytes], trailer: bytes) -> bytes:
    """As one chunked body."""
    chunks = [b"%x\r\n%s\r\n" % (len(body), body) for body in bodies if body]
    return b"".join(chunks) + b"0\r\n" + trailer + b"\r\n"


REQUEST = st.one_of(
    st.builds(lambda fields: GET[:-2] + fields + b"\r\n", FIELDS),
    st.builds(
        lambda fields, body: START + fields + b"Content-Length: %d\r\n\r\n" % len(body) + body,
        FIELDS,
        BODY,
    ),
    st.builds(
        lambda fields, bodies, trailer: (
            START + fields + b"Transfer-Encoding: chunked\r\n\r\n" + in_chunks(bodies, trailer)
        ),
        FIELDS,
        st.lists(BODY, max_size=3),
        FIELDS,
    ),
)
REQUESTS = st.lists(REQUEST, min_size=1, max_size=4)


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """In pieces, all of them together the data."""
    ends = sorted({place % len(data) for place in places} - {0})
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


PLACES = st.lists(st.integers(0, 4000), max_size=8)

SPOILER = st.sampled_from(
    [b"\n", b"\r", b"\r\n", b"\0", b" ", b"\t", b";", b":", b"0", b"f", b"x", b"GET", b"\r\n\r\n"]
)
SPOILERS = st.lists(st.tuples(st.integers(0, 4000), SPOILER), max_size=4)


def spoil(data: bytes, spoilers: Sequence[tuple[int, bytes]]) -> bytes:
    """Each put in somewhere, or in the place of a byte."""
    for place, spoiler in spoilers:
        at = place % len(data)
        data = data[:at] + spoiler + data[at + place % 2 :]
    return data
