"""What is said on a client's web socket: JSON texts, ``service`` and ``data`` (contracts B4)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import msgspec

from otp_server.api.svc.shapes import user_data

if TYPE_CHECKING:
    from otp_server.domain.account_outcome import UserView

NOT_READ = 'This is no message: send JSON such as {"service": "sys.ping"}.'
NOT_KNOWN = "Send sys.hello, sys.bind or sys.ping; nothing else is understood here."
NOT_NOW = "The session cannot be looked up now; ask again later."


class Asked(Enum):
    """What a client may say: the method part of its ``service``."""

    HELLO = "hello"
    BIND = "bind"
    PING = "ping"


class _Message(msgspec.Struct):
    service: str


_decoder = msgspec.json.Decoder(_Message)


def read_message(text: str) -> Asked | str:
    """What a client asks, or what to tell it when it cannot be understood. Never raises."""
    try:
        service = _decoder.decode(text.encode(errors="surrogatepass")).service
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return NOT_READ
    try:
        return Asked(service.rpartition(".")[2])
    except ValueError:
        return NOT_KNOWN


def hello(socket_id: str, main_domain: str, user: UserView | None) -> str:
    """Tells the ``socket_id`` that calls are made with, and who is signed in."""
    shown = None if user is None else user_data(user)
    data = {"socket_id": socket_id, "main_domain": main_domain, "user": shown}
    return _encode("sys.hello", data)


def bound(socket_id: str) -> str:
    """Says that the socket is bound to its session."""
    return _encode("sys.socket_bound", {"socket_id": socket_id})


def ping(at_ms: int) -> str:
    """The answer to a ping."""
    return _encode("sys.ping", {"timestamp": at_ms})


def keep_alive(at_ms: int) -> str:
    """Said when nothing else was for a while."""
    return _encode("sys.keepalive", {"timestamp": at_ms})


def handshake(error: str) -> str:
    """Says what is wrong with a message."""
    return _encode("sys.handshake", {"error": error})


def _encode(service: str, data: dict[str, Any]) -> str:
    return msgspec.json.encode({"service": service, "data": data}).decode()
