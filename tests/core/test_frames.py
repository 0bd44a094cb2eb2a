"""Frames: the golden bytes of ``proto/vectors``, fed three ways, and what Python adds to them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_server import core
from otp_server.core import Frame, FrameDecoder, FrameFault
from otp_server.errors import ErrorKind, WireError

VECTORS = Path(__file__).resolve().parents[2] / "proto" / "vectors" / "frames.json"
GOLDEN = json.loads(VECTORS.read_text("utf-8"))


def feed(
    pieces: list[bytes], frame_bytes_max: int = 1024
) -> tuple[list[tuple[int, str]], Any, int]:
    """What a decoder says to these pieces: frames, fault, pending bytes."""
    decoder = FrameDecoder(frame_bytes_max)
    frames = [frame for piece in pieces for frame in decoder.receive_data(piece)]
    fault = decoder.fault and decoder.fault.kind
    return [(frame.type, frame.payload.hex()) for frame in frames], fault, decoder.pending_bytes


def feedings(stream: bytes) -> list[list[bytes]]:
    """Whole, byte by byte, and cut in two at every place."""
    cuts = range(0, len(stream) + 1, 1 + len(stream) // 200)
    return [
        [stream],
        [stream[at : at + 1] for at in range(len(stream))],
        *([stream[:cut], stream[cut:]] for cut in cuts),
    ]


def message(frame: Frame) -> dict[str, Any] | None:
    """The fields of a frame's message, for the types that have one."""
    match frame:
        case Frame(1 | 2, payload):
            return {"jwt_token": core.decode_auth(payload)}
        case Frame(19, payload):
            return {"reserved": core.decode_otp_request(payload)}
        case Frame(20, payload):
            fields = ("otp", "expires_at_ms", "error")
            return dict(zip(fields, core.decode_otp_response(payload), strict=True))
    return None


@pytest.mark.parametrize("vector", GOLDEN["vectors"], ids=lambda vector: vector["name"])
def test_golden_streams_mean_the_same_however_they_are_cut(vector: dict[str, Any]) -> None:
    stream = bytes.fromhex(vector["hex"])
    frames = [(frame["type"], frame["payload_hex"]) for frame in vector["frames"]]
    for pieces in feedings(stream):
        expected = (frames, vector["fault"], vector["pending_bytes"])
        assert feed(pieces, GOLDEN["frame_bytes_max"]) == expected


@pytest.mark.parametrize("vector", GOLDEN["vectors"], ids=lambda vector: vector["name"])
def test_golden_messages_are_read(vector: dict[str, Any]) -> None:
    frames = FrameDecoder(GOLDEN["frame_bytes_max"]).receive_data(bytes.fromhex(vector["hex"]))
    for frame, expected in zip(frames, vector["frames"], strict=True):
        if expected["malformed"]:
            with pytest.raises(WireError):
                message(frame)
        else:
            assert message(frame) == expected["message"]


@pytest.mark.parametrize("vector", GOLDEN["vectors"], ids=lambda vector: vector["name"])
def test_golden_frames_are_written(vector: dict[str, Any]) -> None:
    stream = bytes.fromhex(vector["hex"])
    frames = vector["frames"]
    written = b"".join(
        core.encode_frame(frame["type"], bytes.fromhex(frame["payload_hex"])) for frame in frames
    )
    assert stream.startswith(written)


def test_responses_are_written_as_the_contract_shows() -> None:
    passcode = core.Passcode.from_text("123456", "numeric")
    assert core.encode_otp_code(passcode, 1700000000000) == bytes.fromhex(
        "14 12 00 0A 06 31 32 33 34 35 36 10 80 D0 95 FF BC 31"
    )
    assert core.encode_otp_error("rate_limited") == bytes.fromhex(
        "14 11 00 1A 0C 72 61 74 65 5F 6C 69 6D 69 74 65 64"
    )
    assert core.encode_frame(19, b"") == bytes.fromhex("13 03 00")


@given(
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=60)), max_size=6),
    st.lists(st.integers(0, 400), max_size=6),
)
def test_frames_survive_the_wire(sent: list[tuple[int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(core.encode_frame(kind, payload) for kind, payload in sent)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]
    assert feed(pieces) == ([(kind, payload.hex()) for kind, payload in sent], None, 0)


def test_a_fault_is_a_value_with_a_known_kind() -> None:
    decoder = FrameDecoder(8)
    decoder.receive_data(bytes.fromhex("130900"))
    match decoder.fault:
        case FrameFault(kind, close_code):
            known = next(known for known in ErrorKind if known.token == kind)
            assert close_code == known.close_code == 1009
        case other:
            pytest.fail(f"no fault but {other}")
    assert decoder.receive_data(bytes.fromhex("130300")) == []
    assert repr(decoder.fault) == "<FrameFault frame_too_large 1009>"


def test_there_is_no_fault_before_one() -> None:
    assert FrameDecoder().fault is None


def test_a_bytearray_is_copied_before_it_can_change() -> None:
    decoder = FrameDecoder()
    data = bytearray.fromhex("13050008")
    decoder.receive_data(data)
    data[3] = 0xFF
    (frame,) = decoder.receive_data(b"\x01")
    assert frame.payload == b"\x08\x01"


def test_a_payload_is_not_shown() -> None:
    (frame,) = FrameDecoder().receive_data(core.encode_frame(1, b"secret token"))
    assert repr(frame) == str(frame) == "<Frame type=1 payload_bytes=12>"


def test_values_do_not_change() -> None:
    (frame,) = FrameDecoder().receive_data(core.encode_frame(1, b""))
    with pytest.raises(AttributeError):
        frame.type = 2  # type: ignore[misc]


@pytest.mark.parametrize("frame_bytes_max", [-1, 0, 2, 65536, 2**70, -(2**70)])
def test_limits_outside_the_wire_are_refused(frame_bytes_max: int) -> None:
    with pytest.raises(ValueError, match="frame_bytes_max"):
        FrameDecoder(frame_bytes_max)


@pytest.mark.parametrize(
    ("frame_type", "payload"), [(256, b""), (-1, b""), (2**70, b""), (1, bytes(65533))]
)
def test_frames_outside_the_wire_are_refused(frame_type: int, payload: bytes) -> None:
    with pytest.raises(ValueError, match="frame"):
        core.encode_frame(frame_type, payload)


def test_an_empty_error_would_be_a_success() -> None:
    with pytest.raises(ValueError, match="empty"):
        core.encode_otp_error("")
