"""Bodies that are read without the patterns of their texts: alike, and refused alike."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_server.api.json_bodies import json_fields
from otp_server.api.operation import ApiError, Request
from otp_server.api.rest.shapes import ContactBody, PlainContactBody

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTROLS = "".join(map(chr, [*range(32), 127]))

TEXTS = st.text(st.sampled_from('ab\n\x7f\\"\x85\u2028\U0001f600'), min_size=1, max_size=3)
ODD = st.sampled_from(["", "a" * 255, "a" * 256, None, -1, 0, 2**63 - 1, 2**63, 1.0, 1.5])
WORDS = st.one_of(TEXTS, TEXTS, TEXTS, ODD)
ENTITIES = st.lists(st.fixed_dictionaries({"type": WORDS, "id": WORDS}), min_size=1, max_size=2)
BODIES = st.fixed_dictionaries(
    {"type": st.just("t"), "entities": ENTITIES}, optional={"email": WORDS}
)


def read(body: bytes, *shapes: type[ContactBody]) -> object:
    request = Request("POST", {}, (), {"content-type": "application/json"}, body, "192.0.2.1")
    try:
        return msgspec.to_builtins(json_fields(request, *shapes))
    except ApiError as error:
        return error.kind, error.detail, error.fields


def check(body: bytes) -> object:
    said = read(body, ContactBody)
    assert read(body, ContactBody, PlainContactBody) == said
    return said


@given(BODIES, st.booleans())
def test_both_shapes_read_alike(body: object, escaped: bool) -> None:
    check(json.dumps(body, ensure_ascii=escaped).encode())


@pytest.mark.parametrize("place", ["type", "id"])
@pytest.mark.parametrize("control", CONTROLS)
def test_each_control_character_is_found(place: str, control: str) -> None:
    body = {"type": "t", "entities": [{"type": "a", "id": "b"} | {place: f"a{control}"}]}
    forms: Sequence[bytes] = (json.dumps(body).encode(), json.dumps(body, indent=1).encode())
    for text in (*forms, *(form.replace(b"\\u007f", b"\x7f") for form in forms)):
        said = check(text)
        assert isinstance(said, tuple)
        assert list(said[2]) == [f"entities[0].{place}"]


def test_a_raw_control_character_is_no_json() -> None:
    for control in CONTROLS[:32]:
        said = check(b'{"type":"t","entities":[{"type":"a%s","id":"b"}]}' % control.encode())
        assert isinstance(said, tuple)
        assert not said[2]


def test_the_plain_shape_has_the_same_fields() -> None:
    assert PlainContactBody.__struct_encode_fields__ == ContactBody.__struct_encode_fields__
