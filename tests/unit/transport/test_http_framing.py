"""The framing guard: what it refuses and what it lets pass, however the bytes are cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import h11
import pytest
from hypothesis import given, settings

from otp_server.api.operation import ApiError
from otp_server.api.problem import render_problem
from otp_server.errors import ErrorKind
from otp_server.transport import http
from otp_server.transport.http_framing import UNREADABLE, FramingGuard, Offence
from tests.support.framing_corpus import BAD, CHUNKED, GET, GOOD, HEAD_BYTES_MAX, Row
from tests.support.framing_requests import PLACES, REQUESTS, SPOILERS, cut, spoil

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


@pytest.mark.parametrize("first", [b" ", b"\t", b"\0", b"\r"])
def test_a_first_byte_that_begins_no_request_is_named_when_h11_refuses_it(first: bytes) -> None:
    """However little has come: what the client is told must not hang on how its bytes were cut."""
    assert heard([first])[1] is Offence.REQUEST_LINE
    assert heard([GET, first])[1] is Offence.REQUEST_LINE
    assert read_by_h11(first) == (0, True)


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


@settings(max_examples=300, deadline=None)
@given(REQUESTS, PLACES)
def test_any_cut_of_any_good_requests_passes_unchanged(
    requests: list[bytes], places: list[int]
) -> None:
    data = b"".join(requests)
    assert heard(cut(data, places)) == (data, None)
    assert read_by_h11(data) == (len(requests), False)


@settings(max_examples=500, deadline=None)
@given(REQUESTS, SPOILERS, PLACES)
def test_a_cut_does_not_change_the_verdict(
    requests: list[bytes], spoilers: list[tuple[int, bytes]], places: list[int]
) -> None:
    data = spoil(b"".join(requests), spoilers)
    whole, offence = heard([data])
    passed, same_offence = heard(cut(data, places))
    assert same_offence is offence
    assert read_by_h11(passed) == read_by_h11(whole)
