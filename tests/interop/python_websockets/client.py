"""A device in Python on the ``websockets`` library: asks for two codes, prints each answer as JSON.

    python client.py URL TOKEN

Shares nothing with the server but the schema: framing is written here once more, on purpose.
"""

from __future__ import annotations

import json
import sys
import time

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from otp_server.wire import device_pb2

HEADER_BYTES = 3
FRAME_BYTES_MAX = 1024
DEADLINE_S = 25
REQUESTS = (bytes.fromhex("130300"), bytes.fromhex("1305000801"))


class Frames:
    """Reads one frame after another from a connection's binary messages."""

    def __init__(self, connection: ClientConnection, end: float) -> None:
        self._connection = connection
        self._end = end
        self._pending = b""

    def next(self) -> tuple[int, bytes]:
        """The type and payload of the next frame."""
        header = self._peek(HEADER_BYTES)
        length = int.from_bytes(header[1:], "little")
        if not HEADER_BYTES <= length <= FRAME_BYTES_MAX:
            raise ValueError(f"invalid frame length {length}")
        frame = self._peek(length)
        self._pending = self._pending[length:]
        return frame[0], frame[HEADER_BYTES:]

    def _peek(self, count: int) -> bytes:
        while len(self._pending) < count:
            message = self._connection.recv(timeout=self._end - time.monotonic())
            if isinstance(message, str):
                raise TypeError("the server sent text")
            self._pending += message
        return self._pending[:count]


def run(url: str, token: str) -> None:
    """Asks twice; raises where an answer is missing, faulty or an error."""
    end = time.monotonic() + DEADLINE_S
    headers = {"Authorization": f"Bearer {token}"}
    with connect(
        url, additional_headers=headers, open_timeout=DEADLINE_S, close_timeout=5, proxy=None
    ) as connection:
        frames = Frames(connection, end)
        for request in REQUESTS:
            connection.send(request)
            frame_type, payload = frames.next()
            if frame_type != device_pb2.FrameType.OTP_RESPONSE:
                raise ValueError(f"unexpected frame type {frame_type}")
            answer = device_pb2.OTPResponse.FromString(payload)
            fields = {field.name: getattr(answer, field.name) for field in answer.DESCRIPTOR.fields}
            sys.stdout.write(json.dumps(fields) + "\n")
            if answer.error:
                raise ValueError(f"no code: {answer.error}")


def main() -> int:
    """The exit status: 0, 1 for a failure, 2 for a wrong call."""
    if len(sys.argv) != 3:
        sys.stderr.write("usage: python client.py URL TOKEN\n")
        return 2
    try:
        run(sys.argv[1], sys.argv[2])
    except (OSError, TypeError, ValueError, WebSocketException) as error:
        sys.stderr.write(f"client.py: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
