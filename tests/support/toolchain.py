"""Programs that are not the project's own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

BUILD_TIMEOUT_S = 300


def tool(name: str) -> str:
    """Where a program is. Without it the test is skipped, except on CI, where it fails."""
    found = shutil.which(name)
    if found is None:
        message = f"{name} is not installed, so the client that needs it cannot run"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


def go_program(folder: Path, into: Path, package: str = ".") -> str:
    """A program of a Go module, built; its path."""
    program = into / (folder.name if package == "." else Path(package).name)
    done = subprocess.run(
        [tool("go"), "build", "-buildvcs=false", "-mod=readonly", "-o", str(program), package],
        cwd=folder,
        env=os.environ | {"GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return str(program)
