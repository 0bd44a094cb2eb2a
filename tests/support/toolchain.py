"""Programs that are not the project's own."""

from __future__ import annotations

import os
import shutil

import pytest


def tool(name: str) -> str:
    """Where a program is. Without it the test is skipped, except on CI, where it fails."""
    found = shutil.which(name)
    if found is None:
        message = f"{name} is not installed, so the client that needs it cannot run"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found
