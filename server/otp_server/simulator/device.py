"""One simulated device: a WebSocket, frames, and protobuf messages (``proto/device-frames.md``)."""

from __future__ import annotations

import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    open_websocket_url,
)

from otp_server.errors import OtpServerError
from otp_server.wire import device_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_websocket import WebSocketConnection

_HEADER = struct.Struct("<BH")


class SimulationError(OtpServerError):
    """The server did not do what a device expects; the message says what."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An OTP_RESPONSE: ``error`` empty, or ``otp`` to be ignored."""

    otp: str
    expires_at_ms: int
    error: str


def encode_request() -> bytes:
    """A whole OTP_REQUEST frame."""
    payload = device_pb2.OTPRequest().SerializeToString()
    kind = device_pb2.FrameType.OTP_REQUEST
    return _HEADER.pack(kind, _HEADER.size + len(payload)) + payload


def decode_answer(message: bytes | str) -> Answer:
    """One OTP_RESPONSE frame in one binary message."""
    if isinstance(message, str):
        raise SimulationError("the server sent text")
    if len(message) < _HEADER.size:
        raise SimulationError(f"the server sent a frame of {len(message)} bytes")
    kind, length = _HEADER.unpack_from(message)
    if kind != device_pb2.FrameType.OTP_RESPONSE or length != len(message):
        raise SimulationError(f"expected one OTP_RESPONSE, got type {kind}, length {length}")
    try:
        response = device_pb2.OTPResponse.FromString(message[_HEADER.size :])
    except DecodeError as error:
        raise SimulationError(f"the OTP_RESPONSE cannot be read: {error}") from error
    return Answer(response.otp, response.expires_at_ms, response.error)


class SimulatedDevice:
    """An open connection."""

    def __init__(self, ws: WebSocketConnection) -> None:
        self._ws = ws

    async def ask(self) -> None:
        """Send an OTP_REQUEST. Raises SimulationError when the connection is gone."""
        try:
            await self._ws.send_message(encode_request())
        except ConnectionClosed as closed:
            raise SimulationError(f"the connection is closed: {closed.reason}") from None

    async def answer(self) -> Answer:
        """The next OTP_RESPONSE. Raises SimulationError when the connection ends instead."""
        try:
            return decode_answer(await self._ws.get_message())
        except ConnectionClosed as closed:
            raise SimulationError(f"the connection is closed: {closed.reason}") from None


@asynccontextmanager
async def connect(url: str, token: str) -> AsyncIterator[SimulatedDevice]:
    """Open a connection with a device token. Raises SimulationError when it cannot be."""
    headers = [(b"authorization", f"Bearer {token}".encode())]
    try:
        async with open_websocket_url(url, extra_headers=headers) as ws:
            yield SimulatedDevice(ws)
    except ConnectionRejected as error:
        body = (error.body or b"").decode("utf-8", "replace").strip()
        raise SimulationError(f"{url} refused the upgrade: {error.status_code} {body}") from error
    except HandshakeError as error:
        reason = error.__cause__ or error.__context__ or "no WebSocket answer in time"
        raise SimulationError(f"cannot connect to {url}: {reason}; is the server up?") from error
