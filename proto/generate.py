"""Writes the Python classes of ``device.proto``, or checks that they are up to date.

    python proto/generate.py            writes server/otp_server/wire/device_pb2.py and .pyi
    python proto/generate.py --check    writes nothing; exit 1 where a file differs

The version of the generator is written into the files but does not count as a difference: a newer
compatible generator must not make an untouched tree look stale.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.resources
import re
import sys
import tempfile
from pathlib import Path

PROTO_DIR = Path(__file__).resolve().parent
ROOT = PROTO_DIR.parent
WIRE_DIR = ROOT / "server" / "otp_server" / "wire"
SOURCE = PROTO_DIR / "device.proto"
GENERATED = ("device_pb2.py", "device_pb2.pyi")
MEND = "python proto/generate.py"

_VERSION_LINES = re.compile(
    r"^# Protobuf Python Version: .*$"
    r"|(?<=ValidateProtobufRuntimeVersion\()[^)]*(?=\))",
    re.MULTILINE,
)


def generate(into: Path) -> None:
    """Runs the protobuf compiler; exits with its status where it fails."""
    try:
        from grpc_tools import protoc  # noqa: PLC0415 - a development tool, named when missing
    except ImportError:
        sys.exit("proto/generate.py: grpcio-tools is missing; install the `dev` extra")
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    arguments = [
        "protoc",
        f"-I{PROTO_DIR}",
        f"-I{well_known}",
        f"--python_out={into}",
        f"--pyi_out={into}",
        str(SOURCE),
    ]
    status = protoc.main(arguments)
    if status:
        sys.exit(f"proto/generate.py: the protobuf compiler failed with status {status}")


def differences(fresh_dir: Path, wire_dir: Path = WIRE_DIR) -> list[str]:
    """One message for each generated file that is missing or differs, with the lines."""
    found = []
    for name in GENERATED:
        shown = (wire_dir / name).as_posix()
        if wire_dir.is_relative_to(ROOT):
            shown = (wire_dir / name).relative_to(ROOT).as_posix()
        if not (wire_dir / name).exists():
            found.append(f"{shown} is missing; run: {MEND}")
            continue
        present, fresh = (_comparable(folder / name) for folder in (wire_dir, fresh_dir))
        if present != fresh:
            lines = difflib.unified_diff(present, fresh, shown, "fresh", n=1, lineterm="")
            found.append("\n".join([f"{shown} does not match device.proto; run: {MEND}", *lines]))
    return found


def _comparable(file: Path) -> list[str]:
    return _VERSION_LINES.sub("", file.read_text(encoding="utf-8")).splitlines()


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0, or 1 where ``--check`` found a difference."""
    parser = argparse.ArgumentParser(description="Writes the Python classes of device.proto.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    if not parser.parse_args(arguments).check:
        generate(WIRE_DIR)
        return 0
    with tempfile.TemporaryDirectory() as fresh:
        generate(Path(fresh))
        found = differences(Path(fresh))
    for message in found:
        sys.stderr.write(f"proto/generate.py: {message}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
