"""Other servers that answer the same bytes; each prints ``listening port=N``."""

from __future__ import annotations

import socket
import sys

ANSWER_BYTES = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 40
ANSWER = bytes([20, ANSWER_BYTES, 0, *(n % 251 for n in range(3, ANSWER_BYTES))])
BACKLOG = 4096


def listener() -> socket.socket:
    """A listening socket on a free loopback port, announced."""
    opened = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    opened.setblocking(False)
    print(f"listening port={opened.getsockname()[1]}", flush=True)
    return opened
