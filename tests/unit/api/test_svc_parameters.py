"""Parameters of a service call: where they come from, which wins, what is refused (B1)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from otp_server.api.operation import ApiError, Request
from otp_server.api.svc.parameters import (
    FORM,
    VALUE_CHARACTERS_MAX,
    WHOLE_NUMBER_MAX,
    Parameters,
    read_parameters,
)
from otp_server.errors import ErrorKind

JSON = "application/json"


def request(
    query: list[tuple[str, str]] | None = None,
    body: bytes = b"",
    content_type: str | None = None,
    **headers: str,
) -> Request:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        sent["content-type"] = content_type
    return Request("POST", {}, query or [], sent, body, "192.0.2.7")


def given(*asked: Any, **more: Any) -> dict[str, object]:  # noqa: ANN401 - a request's
    return dict(read_parameters(request(*asked, **more)).given)


def refused(*asked: Any, **more: Any) -> tuple[ErrorKind, str]:  # noqa: ANN401 - a request's
    with pytest.raises(ApiError) as caught:
        read_parameters(request(*asked, **more))
    return caught.value.kind, caught.value.detail


def test_from_nowhere() -> None:
    assert given() == {}
    assert given(None, b"", JSON) == {}
    assert given(None, b"", "text/plain") == {}


def test_from_headers() -> None:
    sent = {"x_param_email": "a@b", "x_param_echoid": "7", "x_paramemail": "no", "email": "no"}
    assert given(**sent) == {"email": "a@b", "echoId": "7"}


def test_from_the_query() -> None:
    assert given([("email", "a@b"), ("method", "")]) == {"email": "a@b", "method": ""}


def test_from_a_json_object_in_the_query() -> None:
    text = json.dumps({"email": "a@b", "code": 12, "deep": {"a": [1]}})
    assert given([(text, ""), ("x", "1")]) == {
        "email": "a@b",
        "code": 12,
        "deep": {"a": [1]},
        "x": "1",
    }


@pytest.mark.parametrize("content_type", [JSON, "application/json; charset=utf-8"])
def test_from_json(content_type: str) -> None:
    assert given(None, b'{"email": "a@b", "n": null}', content_type) == {"email": "a@b", "n": None}


@pytest.mark.parametrize("content_type", [FORM, f"{FORM};charset=UTF-8"])
def test_from_a_form(content_type: str) -> None:
    body = urlencode({"email": "ä+b@c", "method": ""}).encode()
    assert given(None, body, content_type) == {"email": "ä+b@c", "method": ""}


def test_the_body_wins_over_the_query_and_the_query_over_headers() -> None:
    headers = {"x_param_a": "header", "x_param_b": "header", "x_param_c": "header"}
    query = [("b", "query"), ("c", "query")]
    wanted = {"a": "header", "b": "query", "c": "body"}
    assert given(query, b'{"c": "body"}', JSON, **headers) == wanted
    assert given(query, b"c=body", FORM, **headers) == wanted


def test_null_in_the_body_takes_a_value_away() -> None:
    read = read_parameters(request([("email", "a@b")], b'{"email": null}', JSON))
    with pytest.raises(ApiError) as caught:
        read.required("email")
    assert caught.value.kind is ErrorKind.PARAMETER_MISSING


@pytest.mark.parametrize(
    ("asked", "detail"),
    [
        (([("a", "1"), ("b", "2"), ("a", "1")],), "'a' is given twice."),
        (([('{"a": 1}', ""), ("a", "1")],), "'a' is given twice."),
        ((None, b"a=1&b=2&a=3", FORM), "'a' is given twice."),
        (
            (None, b'{"a": 1, "a": 1}', JSON),
            "The key 'a' is given twice in one object.",
        ),
        (
            (None, b'{"x": {"a": 1, "a": 1}}', JSON),
            "The key 'a' is given twice in one object.",
        ),
        (([('{"a": 1, "a": 2}', "")],), "The key 'a' is given twice in one object."),
        ((None, b"{", JSON), "The body is not JSON."),
        ((None, b"[]", JSON), "The body must be a JSON object."),
        ((None, b'"a"', JSON), "The body must be a JSON object."),
        ((None, b'{"a": NaN}', JSON), "The body is not JSON."),
        ((None, b'{"a":' * 17 + b"1" + b"}" * 17, JSON), "The body is nested deeper than 16."),
        (([("{", "")],), "The JSON in the query is not JSON."),
        ((None, b"a=\xff", FORM), "The form cannot be read."),
        ((None, b"a=%ff", FORM), "The form cannot be read."),
        ((None, b"a=" + b"&a=".join([b"1"] * 65), FORM), "The form cannot be read."),
    ],
)
def test_what_cannot_be_read(asked: tuple[Any, ...], detail: str) -> None:
    assert refused(*asked) == (ErrorKind.MALFORMED, detail)


@pytest.mark.parametrize("content_type", [None, "text/plain", "multipart/form-data; boundary=x"])
def test_other_bodies(content_type: str | None) -> None:
    kind, _ = refused(None, b'{"email": "a@b"}', content_type)
    assert kind is ErrorKind.UNSUPPORTED_MEDIA_TYPE


def test_what_is_quoted_of_a_name_is_bounded() -> None:
    name = "n" * 5000
    _, detail = refused([(name, "1"), (name, "2")])
    assert len(detail) < 100


MISSING: list[dict[str, object]] = [{}, {"v": None}, {"v": ""}]


@pytest.mark.parametrize("given", MISSING)
@pytest.mark.parametrize("read", [Parameters.required, Parameters.password])
def test_missing(read: Any, given: dict[str, object]) -> None:  # noqa: ANN401 - either
    with pytest.raises(ApiError) as caught:
        read(Parameters(given), "v")
    assert caught.value.kind is ErrorKind.PARAMETER_MISSING
    assert caught.value.detail == "v is mandatory"


def test_a_missing_code_is_not_an_empty_one() -> None:
    assert Parameters({"code": ""}).code() == ""
    for nothing in ({}, {"code": None}):
        with pytest.raises(ApiError) as caught:
            Parameters(nothing).code()
        assert caught.value.kind is ErrorKind.PARAMETER_MISSING


def test_what_need_not_be_there() -> None:
    for nothing in MISSING:
        assert Parameters(nothing).optional("v") == ""
    assert Parameters({}).echo_id() is None
    assert Parameters({"echoId": None}).echo_id() is None


@pytest.mark.parametrize("code", ["012345", " 012-345 ", 12345, 0, WHOLE_NUMBER_MAX])
def test_codes(code: str | int) -> None:
    assert Parameters({"code": code}).code() == code


@pytest.mark.parametrize("echo", ["", "a", 7, -7, WHOLE_NUMBER_MAX])
def test_echoes(echo: str | int) -> None:
    assert Parameters({"echoId": echo}).echo_id() == echo


@pytest.mark.parametrize("value", [True, 1.5, [], {}, ["a"], {"a": "b"}, WHOLE_NUMBER_MAX + 1])
def test_values_that_are_no_strings(value: object) -> None:
    everything = Parameters({"v": value, "echoId": value})
    for read in (everything.required, everything.optional, everything.password, everything.code):
        with pytest.raises(ApiError) as caught:
            read("v")
        assert (caught.value.kind, caught.value.detail) == (
            ErrorKind.MALFORMED,
            "v must be a string.",
        )
    with pytest.raises(ApiError):
        everything.echo_id()


def test_a_number_is_a_code_and_nothing_else() -> None:
    everything = Parameters({"v": 123456})
    assert everything.code("v") == 123456
    with pytest.raises(ApiError):
        Parameters({"code": -1}).code()
    for read in (everything.required, everything.optional, everything.password):
        with pytest.raises(ApiError):
            read("v")


@pytest.mark.parametrize("bad", ["\0", "\n", "\x7f", "\x85", "\u2028"])
def test_characters_that_cannot_be_seen(bad: str) -> None:
    everything = Parameters({"v": f"a{bad}", "echoId": f"a{bad}"})
    for read in (everything.required, everything.optional, everything.code):
        with pytest.raises(ApiError) as caught:
            read("v")
        assert caught.value.detail == "v has characters that cannot be seen."
    with pytest.raises(ApiError):
        everything.echo_id()
    assert everything.password("v") == f"a{bad}"  # any characters: requirement 27


def test_bounds() -> None:
    longest = "ä" * VALUE_CHARACTERS_MAX
    for text, fits in ((longest, True), (longest + "a", False)):
        everything = Parameters({"v": text})
        for read in (
            everything.required,
            everything.optional,
            everything.password,
            everything.code,
        ):
            if fits:
                assert read("v") == text
            else:
                with pytest.raises(ApiError) as caught:
                    read("v")
                assert caught.value.detail == "v is longer than 1024 characters."


def test_half_a_character() -> None:
    """A lone surrogate is no text; it is refused wherever it comes from."""
    for read in (Parameters.required, Parameters.password, Parameters.optional, Parameters.code):
        with pytest.raises(ApiError):
            read(Parameters({"v": "a\ud800"}), "v")
    assert refused(None, rb'{"v": "a\ud800"}', JSON)[0] is ErrorKind.MALFORMED
