"""JSON bodies: what is refused, and how it is told (requirement 67)."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Meta

from otp_server.api import json_bodies
from otp_server.api.json_bodies import DEPTH_MAX, json_body, json_fields, json_object
from otp_server.api.operation import ApiError, Request
from otp_server.core import is_plain_json
from otp_server.domain.challenge_type import Channel
from otp_server.errors import ErrorKind


class Item(msgspec.Struct, forbid_unknown_fields=True):
    type: Annotated[str, Meta(max_length=5)]
    id: str | int


class Body(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    name: str
    mobile_phone: str | None = None
    count: Annotated[int, Meta(ge=3)] = 3
    channel: Channel = Channel.SMS
    items: list[Item] | None = None


class Loose(msgspec.Struct):
    value: object


def post(body: bytes | str, content_type: str = "application/json") -> Request:
    data = body.encode() if isinstance(body, str) else body
    return Request("POST", {}, [], {"content-type": content_type}, data, "192.0.2.1")


def refusal(body: bytes | str, shape: type = Body) -> ApiError:
    with pytest.raises(ApiError) as raised:
        json_fields(post(body), shape)
    return raised.value


def test_a_body_that_fits() -> None:
    body = json_fields(
        post('{"name": "a", "mobilePhone": null, "items": [{"type": "x", "id": 5}]}'), Body
    )
    assert body == Body("a", items=[Item("x", 5)])


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=utf-8", "application/json;x=y"]
)
def test_the_media_type_in_any_dress(content_type: str) -> None:
    assert json_fields(post('{"name": "a"}', content_type), Body).name == "a"


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/jsonp", "application/x-www-form-urlencoded"]
)
def test_another_media_type(content_type: str) -> None:
    with pytest.raises(ApiError) as raised:
        json_fields(post('{"name": "a"}', content_type), Body)
    assert raised.value.kind is ErrorKind.UNSUPPORTED_MEDIA_TYPE


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"name": "secret',
        b"name=secret",
        b'{"name": "secret"} x',
        b'{"name": "secret",}',
        b'{"name": NaN}',
        b'{"name": "a", "count": Infinity}',
        b'{"name": -Infinity}',
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"name": 1, "mobilePhone": "\\ud800"}',
        '{"name": "a"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"name": "a"}',
        b'{"count": ' + b"9" * 5000 + b"}",
        b"[]",
        b"null",
        b'"secret"',
        b'{"name": "a", "name": "secret"}',
        b'{"name": "a", "n\\u0061me": "secret"}',
        b'{"name": "a", "items": [{"type": "a", "id": 1, "id": 2}]}',
    ],
)
@pytest.mark.parametrize("read", [json_fields, json_body])
def test_what_is_no_json_object(body: bytes, read: type) -> None:
    with pytest.raises(ApiError) as raised:
        read(post(body), Body)
    assert raised.value.kind is ErrorKind.MALFORMED
    assert "secret" not in raised.value.detail


@pytest.mark.parametrize("number", ["1e999", "-1e400", "1" + "0" * 400 + ".0"])
@pytest.mark.parametrize("place", ['{"name": 5}', '{"name": "a", "x": 5}', '{"items": [5]}'])
def test_a_number_that_no_float_holds(number: str, place: str) -> None:
    body = post(place.replace("5", number))
    for read in (json_fields, json_body):
        with pytest.raises(ApiError) as raised:
            read(body, Body)
        assert raised.value.kind is ErrorKind.MALFORMED
        assert "too large" in raised.value.detail
    with pytest.raises(ApiError, match="malformed"):
        json_object(body)


@pytest.mark.parametrize("number", ["1e308", "12345678901234567890123", "1e-999"])
def test_other_large_and_small_numbers_are_judged_by_the_shape(number: str) -> None:
    body = f'{{"name": {number}}}'
    assert refusal(body).fields.keys() == {"name"}
    assert json_object(post(body)).keys() == {"name"}


def test_a_duplicate_key_is_named() -> None:
    assert "'name'" in refusal('{"name": "a", "name": "b"}').detail
    with pytest.raises(ApiError, match="malformed"):
        json_object(post('{"a": {"b": 1, "b": 1}}'))


def nested(depth: int) -> str:
    return '{"value": ' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


def test_nesting_has_a_bound() -> None:
    json_body(post(nested(DEPTH_MAX)), Loose)
    assert refusal(nested(DEPTH_MAX + 1), Loose).kind is ErrorKind.MALFORMED
    assert refusal(nested(30_000), Loose).kind is ErrorKind.MALFORMED
    wide = '{"value": [' + ",".join(["{}"] * 1000) + "]}"
    json_body(post(wide), Loose)


@pytest.mark.parametrize("text", ["[" * 50, '\\"' + "[" * 50, "\\\\", "{" * 50 + "\\u005b"])
def test_brackets_in_strings_are_no_nesting(text: str) -> None:
    json_body(post('{"value": "' + text + '"}'), Loose)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ("{}", {"name": "is required"}),
        ('{"name": 1}', {"name": "expected a string, got an integer"}),
        ('{"name": null}', {"name": "expected a string, got null"}),
        ('{"name": "a", "phone": "1"}', {"phone": "is not a field of this request"}),
        ('{"name": "a", "mobile_phone": "1"}', {"mobile_phone": "is not a field of this request"}),
        (
            '{"name": "a", "mobilePhone": 7}',
            {"mobilePhone": "expected a string or null, got an integer"},
        ),
        ('{"name": "a", "count": 2}', {"count": "expected an integer >= 3"}),
        ('{"name": "a", "count": true}', {"count": "expected an integer, got true or false"}),
        ('{"name": "a", "channel": "post"}', {"channel": "is none of the words allowed here"}),
        ('{"name": "a", "items": [{"type": "x"}]}', {"items[0].id": "is required"}),
        (
            '{"name": "a", "items": [{"type": "x", "id": 1}, {"type": "x", "id": 1.5}]}',
            {"items[1].id": "expected an integer or a string, got a number"},
        ),
        (
            '{"name": "a", "items": [{"type": "x", "id": 1, "more": 1}]}',
            {"items[0].more": "is not a field of this request"},
        ),
        (
            '{"name": "a", "items": [{"type": "secret", "id": 1}]}',
            {"items[0].type": "expected a string of length <= 5"},
        ),
        (
            '{"count": 1, "channel": "post", "more": 1}',
            {
                "name": "is required",
                "count": "expected an integer >= 3",
                "channel": "is none of the words allowed here",
                "more": "is not a field of this request",
            },
        ),
    ],
)
def test_every_field_is_told_by_its_name(body: str, fields: dict[str, str]) -> None:
    error = refusal(body)
    assert error.kind is ErrorKind.INVALID_FIELDS
    assert error.fields == {name: [why] for name, why in fields.items()}


def test_names_are_cut_and_counted() -> None:
    many = ", ".join(f'"field{n}": 1' for n in range(100))
    error = refusal("{" + many + ', "' + "x" * 1000 + '": 1}')
    assert len(error.fields) == 20
    assert max(map(len, error.fields)) <= 64


def test_the_other_style_says_malformed() -> None:
    with pytest.raises(ApiError) as raised:
        json_body(post('{"name": "a", "secret": 1}'), Body)
    assert raised.value.kind is ErrorKind.MALFORMED
    assert "secret" not in raised.value.detail


_WORDS = st.sampled_from(
    [
        *(
            '"a"',
            '"b"',
            '"type"',
            '"\\u0061"',
            '"\\ud800"',
            '"\\n"',
            '"\\x"',
            '"\x01"',
            '"é"',
            '"open',
        ),
        *("0", "-0", "01", "7", "1.5", "1e400", "9" * 18, "9" * 19, "9" * 5000, "NaN", "-Infinity"),
        *("true", "false", "null", "nul", "", " ", "\t", "\u00a0", "\ufeff", ",", ":", "{}", "[]"),
    ]
)


def _inside(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.lists(st.builds("{}:{}".format, _WORDS, values), max_size=4)
    return st.one_of(
        st.lists(values, max_size=3).map(lambda items: f"[{','.join(items)}]"),
        members.map(lambda pairs: f"{{{','.join(pairs)}}}"),
        values.map(lambda value: f" {value}\n"),
    )


TEXTS = st.one_of(
    st.recursive(_WORDS, _inside, max_leaves=12).map(lambda text: text.encode()),
    st.integers(DEPTH_MAX - 2, DEPTH_MAX + 2).map(lambda n: b"[" * n + b"]" * n),
    st.binary(max_size=12),
)


def _read_strictly(body: bytes) -> object:
    """What the whole check says: nothing, or how it refuses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_bodies, "is_plain_json", lambda *_: False)
        try:
            json_bodies._checked(post(body))
        except ApiError as error:
            return error.detail
    return None


@settings(max_examples=2000)
@given(TEXTS)
@example(b'{"a":1,"a":2}')
@example(b'[{"a":1},{"a":2}]')
@example(b'{"a":{"b":1},"b":{"a":1}}')
def test_what_is_plain_passes_the_whole_check(body: bytes) -> None:
    if is_plain_json(body, DEPTH_MAX):
        assert _read_strictly(body) is None


@pytest.mark.parametrize(
    "body",
    [
        '{"type":"email-login","email":"person@example.com"}',
        '{"type": "t", "mobilePhone": "+49170", "entities": [{"type": "client", "id": 338}]}',
        '{"code":"123456"}',
    ],
)
def test_what_clients_send_is_plain(body: str) -> None:
    assert is_plain_json(body.encode(), DEPTH_MAX)
