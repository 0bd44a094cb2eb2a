"""Where a server could have written a secret: its files, its log, its keys."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.server_process import ServerProcess

KEYS = 4


def key_bytes(server: ServerProcess) -> list[bytes]:
    """The keys of the installation."""
    lines = [file.read_text() for file in (server.data_dir / "keys").iterdir()]
    assert len(lines) == KEYS
    return [base64.b64decode(line.partition(":")[2]) for line in lines]


def written(server: ServerProcess) -> dict[str, bytes]:
    """Everything on disk but the key files."""
    files = [*server.data_dir.iterdir(), server.log]
    return {file.name: file.read_bytes() for file in files if file.is_file()}
