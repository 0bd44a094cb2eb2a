"""The wire folder is one truth: schema, generated code, golden bytes, errors and specification."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError, Message

from otp_server.core import _native
from otp_server.errors import ErrorKind
from otp_server.wire import device_pb2

ROOT = Path(__file__).resolve().parents[2]
PROTO = ROOT / "proto"
SPECIFICATION = (PROTO / "device-frames.md").read_text(encoding="utf-8")
KINDS: dict[str, dict[str, Any]] = tomllib.loads((PROTO / "errors.toml").read_text("utf-8"))
GOLDEN = json.loads((PROTO / "vectors" / "frames.json").read_text("utf-8"))
VECTORS: list[dict[str, Any]] = GOLDEN["vectors"]
MESSAGES: dict[int, type[Message]] = {
    device_pb2.FrameType.SUBSCRIPTION: device_pb2.Auth,
    device_pb2.FrameType.PUBLICATION: device_pb2.Auth,
    device_pb2.FrameType.OTP_REQUEST: device_pb2.OTPRequest,
    device_pb2.FrameType.OTP_RESPONSE: device_pb2.OTPResponse,
}
STRICTER = {bytes.fromhex("1314")}
"""Payloads that the protobuf runtime reads and we refuse: groups are deprecated, and they nest."""


def section(title: str) -> str:
    """The text of the specification under a heading."""
    found = re.search(
        rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", SPECIFICATION, re.MULTILINE | re.DOTALL
    )
    assert found, f"device-frames.md has no section {title!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows in ``text``, without headings and rules."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rules = {at for at, line in enumerate(lines) if not line.strip("|-: ")}
    kept = (line for at, line in enumerate(lines) if at not in rules and at + 1 not in rules)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in kept]


def token(cell: str) -> str:
    return cell.strip("`")


# --- generated code -----------------------------------------------------------------------------


def test_generated_python_matches_the_schema() -> None:
    done = subprocess.run(
        [sys.executable, str(PROTO / "generate.py"), "--check"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_generated_go_matches_the_schema() -> None:
    go_code = (ROOT / "tests/interop/go_gorilla/entities/device.pb.go").read_text("utf-8")
    declared = re.search(r"_rawDesc = ((?:\s*\"(?:[^\"\\]|\\.)*\"(?:\s*\+)?)+)", go_code)
    assert declared
    parts = re.findall(r"\"(?:[^\"\\]|\\.)*\"", declared[1])
    compiled = b"".join(ast.literal_eval("b" + part) for part in parts)
    schema = descriptor_pb2.FileDescriptorProto.FromString(compiled)
    for message in schema.message_type:
        for field in message.field:
            field.ClearField("json_name")  # Go keeps it, Python does not
    assert schema.SerializeToString() == device_pb2.DESCRIPTOR.serialized_pb, (
        "tests/interop/go_gorilla/entities is stale: generate it anew, see its README.md"
    )


# --- golden bytes -------------------------------------------------------------------------------


def cut(stream: bytes, frame_bytes_max: int) -> tuple[list[tuple[int, bytes]], str | None, int]:
    """The layout rule once more: frames, fault, bytes left over."""
    frames: list[tuple[int, bytes]] = []
    while len(stream) >= 3:
        length = int.from_bytes(stream[1:3], "little")
        if length < 3:
            return frames, "frame_too_short", 0
        if length > frame_bytes_max:
            return frames, "frame_too_large", 0
        if len(stream) < length:
            break
        frames.append((stream[0], stream[3:length]))
        stream = stream[length:]
    return frames, None, len(stream)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_vector(vector: dict[str, Any]) -> None:
    stream = bytes.fromhex(vector["hex"])
    frames, fault, pending_bytes = cut(stream, GOLDEN["frame_bytes_max"])

    stated = [(frame["type"], bytes.fromhex(frame["payload_hex"])) for frame in vector["frames"]]
    assert frames == stated
    assert fault == vector["fault"]
    assert pending_bytes == vector["pending_bytes"]
    assert vector["deadline_fault"] == ("frame_stalled" if pending_bytes else None)
    assert {vector["fault"], vector["deadline_fault"]} <= {None, *KINDS}
    for frame in vector["frames"]:
        names = {value: name for name, value in device_pb2.FrameType.items()}
        assert frame["type_name"] == names.get(frame["type"])
        check_payload(frame)


def check_payload(frame: dict[str, Any]) -> None:
    message_class = MESSAGES.get(frame["type"])
    payload = bytes.fromhex(frame["payload_hex"])
    if message_class is None:
        assert frame["message"] is None
        assert not frame["malformed"]
    elif frame["malformed"]:
        assert frame["message"] is None
        if payload in STRICTER:
            message_class.FromString(payload)
            return
        with pytest.raises(DecodeError):
            message_class.FromString(payload)
    else:
        message = message_class.FromString(payload)
        fields = message_class.DESCRIPTOR.fields
        assert {field.name: getattr(message, field.name) for field in fields} == frame["message"]


def test_vector_names_are_unique() -> None:
    names = [vector["name"] for vector in VECTORS]
    assert len(names) == len(set(names))


# --- one list of errors -------------------------------------------------------------------------


def test_error_kinds_are_the_list() -> None:
    listed = {name: (kind["http"], kind.get("close"), kind["text"]) for name, kind in KINDS.items()}
    coded = {kind.token: (kind.value.http, kind.value.close, kind.value.text) for kind in ErrorKind}
    assert coded == listed
    assert [kind.name for kind in ErrorKind] == [name.upper() for name in KINDS]


def test_error_kinds_of_the_core_are_in_the_list() -> None:
    assert set(_native.ERROR_KINDS) <= set(KINDS)


def test_device_table_holds_the_frame_errors() -> None:
    told = [token(row[0]) for row in rows(section("Asking for a code"))]
    assert told == [name for name, kind in KINDS.items() if kind.get("frame")]


def test_close_table_holds_the_close_codes() -> None:
    told = {(token(row[1]), int(row[0])) for row in rows(section("How a connection ends"))}
    named = {(name, code) for name, code in told if name}
    assert named == {(name, kind["close"]) for name, kind in KINDS.items() if "close" in kind}


def test_type_table_holds_the_frame_types() -> None:
    told = {row[1]: row[0] for row in rows(section("Types")) if row[1]}
    assert told == {name: str(value) for name, value in device_pb2.FrameType.items()}


# --- promises have tests ------------------------------------------------------------------------


def functions_of(file: Path) -> set[str]:
    if not file.exists():
        return set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions)}


def test_every_promised_test_exists() -> None:
    table = rows(section("Bad input and what happens"))
    promised = [token(row[2]) for row in table]
    assert len(promised) >= 29
    assert len(promised) == len(set(promised))
    missing = []
    for name in promised:
        file, _, function = name.partition("::")
        if not function.startswith("test_") or function not in functions_of(ROOT / file):
            missing.append(name)
    assert not missing, f"device-frames.md names tests that do not exist: {missing}"


def test_close_codes_in_the_bad_input_table_are_explained() -> None:
    used = set(re.findall(r"closed (\d{4})", section("Bad input and what happens")))
    explained = {row[0] for row in rows(section("How a connection ends"))}
    assert used
    assert used <= explained
