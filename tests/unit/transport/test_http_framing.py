"""The framing guard: what it refuses and what it lets pass, however the bytes are cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp_server.api.operation import ApiError
from otp_server.api.problem import render_problem
from otp_server.errors import ErrorKind
from otp_server.transport import http
from otp_server.transport.http_framing import UNREADABLE, FramingGuard, Offence
from tests.support.framing_corpus import BAD, CHUNKED, GET, GOOD, HEAD_BYTES_MAX, START, Row

EVERY_SPLIT_BYTES_MAX = 400


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """Whole, every split in two (of a few for what is long), byte by byte."""
    yield [data]
    step = 1 if len(data) <= EVERY_SPLIT_BYTES_MAX else 997
    for at in range(1, len(data), step):
        yield [data[:at], data[at:]]
    yield [data[at : at + 1] for at in range(len(data))]


def heard(pieces: Iterable[bytes]) -> tuple[bytes, Offence | None]:
    """What is passed on until the first offence."""
    guard = FramingGuard(HEAD_BYTES_MAX)
    passed = b""
    for piece in pieces:
        if not guard.offence:
            passed += guard.pass_on(piece)
    return passed, guard.offence


@pytest.mark.parametrize("row", GOOD, ids=lambda row: row.name)
def test_what_is_well_framed_passes_unchanged(row: Row) -> None:
    for pieces in cuts(row.data):
        assert heard(pieces) == (row.data, None)


@pytest.mark.parametrize("row", BAD, ids=lambda row: row.name)
def test_what_is_not_is_refused_alike_however_it_is_cut(row: Row) -> None:
    for pieces in cuts(row.data):
        passed, offence = heard(pieces)
        assert offence is row.offence
        assert passed.endswith(UNREADABLE)
        assert row.data.startswith(passed.removesuffix(UNREADABLE))


@pytest.mark.parametrize("row", GOOD + BAD, ids=lambda row: row.name)
def test_h11_reads_the_requests_before_an_offence_and_no_other(row: Row) -> None:
    for pieces in cuts(row.data):
        passed, _ = heard(pieces)
        assert read_by_h11(passed) == (row.answered, row.offence is not None)


def read_by_h11(data: bytes) -> tuple[int, bool]:
    """How many requests h11 reads to their end, and whether it then refuses the rest."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
    connection.receive_data(data)
    read = 0
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return read, True
        if isinstance(event, h11.EndOfMessage):
            read += 1
            connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is h11.MUST_CLOSE:  # HTTP/1.0
                return read, False
            connection.start_next_cycle()
        elif event is h11.NEED_DATA:
            return read, False


def test_nothing_is_heard_after_an_offence() -> None:
    guard = FramingGuard(HEAD_BYTES_MAX)
    guard.pass_on(b"GET /\r\n\r\n")
    assert guard.offence is Offence.REQUEST_LINE
    assert guard.pass_on(GET) == UNREADABLE
    assert guard.offence is Offence.REQUEST_LINE


def test_what_has_not_ended_is_no_offence_yet() -> None:
    for data in (b"GET / HT", GET[:-1], CHUNKED + b"2", CHUNKED + b"2\r\n{}\r", CHUNKED + b"0\r\n"):
        assert heard([data]) == (data, None)


def test_a_head_without_end_is_refused_before_it_ends() -> None:
    endless = b"GET /nothing HTTP/1.1\r\nX: " + HEAD_BYTES_MAX * b"x"
    for pieces in cuts(endless):
        assert heard(pieces)[1] is Offence.TOO_LARGE


def test_the_problem_is_the_one_the_application_says() -> None:
    for message in ("", Offence.FOLDED.text):
        said = render_problem(ApiError(ErrorKind.MALFORMED, message))
        assert http.problem(message) == said.body
        assert said.status == 400


# --- any requests, any cuts -----------------------------------------------------------------------

FIELD = st.builds(
    lambda name, value: b"X-" + name + b": " + value + b"\r\n",
    st.text("abcXYZ019-_.~", min_size=1, max_size=8).map(str.encode),
    st.text(" \tabc:;,=\xe9\xff\"'", max_size=12).map(lambda text: text.encode("latin-1")),
)
FIELDS = st.lists(FIELD, max_size=3).map(b"".join)
BODY = st.one_of(st.binary(max_size=40), st.just(GET), st.just(CHUNKED + b"0\r\n\r\n"))


def in_chunks(bodies: list[bytes], trailer: bytes) -> bytes:
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


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % len(data) for place in places} - {0})
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


PLACES = st.lists(st.integers(0, 4000), max_size=8)


@settings(max_examples=300, deadline=None)
@given(REQUESTS, PLACES)
def test_any_cut_of_any_good_requests_passes_unchanged(
    requests: list[bytes], places: list[int]
) -> None:
    data = b"".join(requests)
    assert heard(cut(data, places)) == (data, None)
    assert read_by_h11(data) == (len(requests), False)


SPOILER = st.sampled_from(
    [b"\n", b"\r", b"\r\n", b"\0", b" ", b"\t", b";", b":", b"0", b"f", b"x", b"GET", b"\r\n\r\n"]
)


@settings(max_examples=500, deadline=None)
@given(REQUESTS, st.lists(st.tuples(st.integers(0, 4000), SPOILER), max_size=4), PLACES)
def test_a_cut_does_not_change_the_verdict(
    requests: list[bytes], spoilers: list[tuple[int, bytes]], places: list[int]
) -> None:
    data = b"".join(requests)
    for place, spoiler in spoilers:
        at = place % len(data)
        data = data[:at] + spoiler + data[at + place % 2 :]  # put in, or in the place of a byte
    whole, offence = heard([data])
    passed, same_offence = heard(cut(data, places))
    assert same_offence is offence
    assert read_by_h11(passed) == read_by_h11(whole)
