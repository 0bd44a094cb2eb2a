"""Our protobuf against the protobuf runtime: the same bytes are accepted, and mean the same.

One difference is named: groups, which the runtime skips and we refuse. Whatever else the runtime
accepts we accept, and whatever it refuses we refuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.internal import api_implementation
from google.protobuf.message import DecodeError, Message
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otp_server import core
from otp_server.errors import WireError
from otp_server.wire import device_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

DECODERS: list[tuple[type[Message], tuple[str, ...], Callable[[bytes], tuple[Any, ...]]]] = [
    (device_pb2.OTPRequest, ("reserved",), lambda payload: (core.decode_otp_request(payload),)),
    (device_pb2.Auth, ("jwt_token",), lambda payload: (core.decode_auth(payload),)),
    (device_pb2.OTPResponse, ("otp", "expires_at_ms", "error"), core.decode_otp_response),
]

GROUPS = "groups are not accepted"

many = settings(max_examples=700, deadline=None)


def theirs(kind: type[Message], fields: tuple[str, ...], payload: bytes) -> tuple[Any, ...] | None:
    """The fields as the runtime reads them; None when it refuses."""
    try:
        read = kind.FromString(payload)
    except DecodeError:
        return None
    return tuple(getattr(read, field) for field in fields)


def ours(
    decode: Callable[[bytes], tuple[Any, ...]], payload: bytes
) -> tuple[Any, ...] | str | None:
    """The fields as we read them; None when we refuse, but GROUPS for the named reason."""
    try:
        return decode(payload)
    except WireError as refusal:
        return GROUPS if str(refusal) == GROUPS else None


def assert_agreement(payload: bytes) -> None:
    for kind, fields, decode in DECODERS:
        expected, found = theirs(kind, fields, payload), ours(decode, payload)
        if found != GROUPS:
            assert found == expected, (payload.hex(), kind)


def varint(value: int, padding: int = 0) -> bytes:
    """A varint, with so many bytes more than it needs."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    for _ in range(padding):
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


varints = st.builds(
    varint,
    st.one_of(
        st.integers(0, 300),
        st.integers(0, 2**64 - 1),
        st.sampled_from([2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1, 2**69]),
    ),
    st.sampled_from([0, 0, 0, 1, 3, 4, 8, 9, 10]),
)
texts = st.one_of(
    st.text(max_size=8).map(str.encode),
    st.binary(max_size=8),
    st.sampled_from(
        [b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xf4\x8f\xbf\xbf", b"\0"]
    ),
)


@st.composite
def fields(draw: st.DrawFn) -> bytes:
    """One field: any small number, any wire type, and mostly the value that belongs to it."""
    number = draw(st.one_of(st.integers(0, 4), st.sampled_from([15, 16, 2**29 - 1, 2**29])))
    wire_type = draw(st.sampled_from([0, 0, 0, 2, 2, 2, 1, 5, 3, 4, 6, 7]))
    tag = varint(number << 3 | wire_type, draw(st.sampled_from([0, 0, 0, 0, 1, 3, 4])))
    if wire_type == 0:
        return tag + draw(varints)
    if wire_type == 2:
        text = draw(texts)
        lie = draw(st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2**31 - 1]))
        return tag + varint(len(text) + lie, draw(st.sampled_from([0, 0, 0, 1, 4]))) + text
    return tag + bytes({1: 8, 5: 4}.get(wire_type, 0))


responses = st.builds(
    device_pb2.OTPResponse,
    otp=st.text(max_size=8),
    expires_at_ms=st.integers(0, 2**64 - 1),
    error=st.text(max_size=8),
)


def test_the_partner_is_the_runtime_we_name() -> None:
    assert api_implementation.Type() == "upb"


@many
@given(st.binary(max_size=40))
@example(bytes.fromhex("10ffffffffffffffffff7f"))
@example(bytes.fromhex("1080808080808080808002"))
@example(bytes.fromhex("108080808080808080808000"))
@example(bytes.fromhex("888080807001"))
@example(bytes.fromhex("8880808080800001"))
@example(bytes.fromhex("0a81808080800041"))
@example(bytes.fromhex("0affffffff07"))
@example(bytes.fromhex("0affffffff0f"))
@example(bytes.fromhex("2201ff"))
@example(bytes.fromhex("0a01ff0a0141"))
def test_random_bytes(payload: bytes) -> None:
    assert_agreement(payload)


@many
@given(st.lists(fields(), max_size=6).map(b"".join))
def test_soups_of_fields(payload: bytes) -> None:
    assert_agreement(payload)


@many
@given(responses, st.data())
def test_valid_messages_and_their_mutations(
    response: device_pb2.OTPResponse, data: st.DataObject
) -> None:
    payload = bytearray(response.SerializeToString())
    assert_agreement(bytes(payload))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(payload)))
        match data.draw(st.sampled_from(["flip", "cut", "insert"])):
            case "flip" if at < len(payload):
                payload[at] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del payload[at:]
            case _:
                payload[at:at] = data.draw(st.binary(max_size=3))
    assert_agreement(bytes(payload))


@many
@given(st.binary(max_size=12), st.binary(max_size=12))
def test_messages_in_a_row_are_merged(first: bytes, second: bytes) -> None:
    assert_agreement(first + second)


@pytest.mark.parametrize("payload", ["2324", "230801240801", "0b0c", "13141b1c"])
def test_groups_are_the_named_difference(payload: str) -> None:
    for kind, names, decode in DECODERS:
        assert theirs(kind, names, bytes.fromhex(payload)) is not None
        with pytest.raises(WireError, match="groups"):
            decode(bytes.fromhex(payload))


@given(st.from_regex(r"[0-9A-Z]{1,32}", fullmatch=True), st.integers(0, 2**64 - 1))
def test_codes_are_written_as_the_runtime_writes_them(text: str, expires_at_ms: int) -> None:
    response = device_pb2.OTPResponse(otp=text, expires_at_ms=expires_at_ms)
    passcode = core.Passcode.from_text(text, "alphanumeric")
    expected = core.encode_frame(20, response.SerializeToString(deterministic=True))
    assert core.encode_otp_code(passcode, expires_at_ms) == expected


@given(st.text(min_size=1, max_size=200))
def test_errors_are_written_as_the_runtime_writes_them(error: str) -> None:
    response = device_pb2.OTPResponse(error=error)
    expected = core.encode_frame(20, response.SerializeToString(deterministic=True))
    assert core.encode_otp_error(error) == expected
