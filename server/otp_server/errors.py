"""The errors of otp-server, and the one list of error kinds.

::

    OtpServerError
    ├── ConfigError          key, why, how to mend it
    ├── CoreBug              the Rust core panicked; costs one call
    ├── WireError            a message of the peer that cannot be read; its kind
    ├── LimiterFull          a bounded table has no room for one more key
    └── StoreError           the store did not do it
        ├── StoreUnavailable   it cannot be reached or written now; nothing was changed
        ├── StoreTooNew        its schema is from a newer program
        └── AlreadyExists      a name or key that must be unique is taken

A refusal of a passcode is a value (:mod:`otp_server.domain.outcome`), not an exception: services
answer whole batches, and one refused item must not spoil the others.

``ErrorKind`` mirrors ``proto/errors.toml``; a house test compares the two, the Rust core and the
documents.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class _Kind(NamedTuple):
    token: str
    http: int
    close: int | None
    text: str


class ErrorKind(Enum):
    """What went wrong, as others may know it: token, HTTP status, close code and public text."""

    MALFORMED = _Kind("malformed", 400, None, "The request could not be read.")
    UNAUTHORIZED = _Kind("unauthorized", 401, 4002, "The token is missing, wrong or revoked.")
    FORBIDDEN_ORIGIN = _Kind(
        "forbidden_origin", 403, None, "This origin may not open a device connection."
    )
    NOT_FOUND = _Kind("not_found", 404, None, "No such thing here.")
    INVALID_CODE = _Kind("invalid_code", 404, None, "The code is unknown, expired or already used.")
    METHOD_NOT_ALLOWED = _Kind("method_not_allowed", 405, None, "This method is not allowed here.")
    LINKED_ELSEWHERE = _Kind(
        "linked_elsewhere", 409, None, "The device is linked to another organisation."
    )
    TOO_LARGE = _Kind("too_large", 413, None, "The request body is too large.")
    UNSUPPORTED_MEDIA_TYPE = _Kind(
        "unsupported_media_type", 415, None, "The body must be application/json."
    )
    RATE_LIMITED = _Kind("rate_limited", 429, None, "Too many requests; try again later.")
    INTERNAL = _Kind("internal", 500, 1011, "Something went wrong on our side.")
    UNAVAILABLE = _Kind(
        "unavailable", 503, 1013, "The store cannot be reached or written; try again later."
    )
    CROWDED = _Kind("crowded", 503, None, "Too many live codes; try again later.")
    OVERLOADED = _Kind("overloaded", 503, 1013, "The server is full; try again later.")
    TIMEOUT = _Kind("timeout", 504, None, "The code could not be made in time; ask again.")
    DRAINING = _Kind("draining", 503, 1001, "The server is stopping.")
    TEXT_MESSAGE = _Kind("text_message", 400, 1003, "Only binary messages are spoken here.")
    PROTOCOL_ERROR = _Kind(
        "protocol_error", 400, 1002, "The rules of the WebSocket protocol were broken."
    )
    FRAME_TOO_SHORT = _Kind(
        "frame_too_short", 400, 1002, "A frame's length is shorter than its header."
    )
    FRAME_TOO_LARGE = _Kind(
        "frame_too_large", 400, 1009, "A frame or message is larger than allowed."
    )
    FRAME_STALLED = _Kind("frame_stalled", 400, 1002, "A frame was begun and not finished in time.")
    FLOODED = _Kind("flooded", 400, 1008, "Too much data or too many fragments.")
    REPLACED = _Kind("replaced", 400, 1008, "The same device opened a newer connection.")
    PING_TIMEOUT = _Kind("ping_timeout", 400, 1011, "Pings were not answered.")
    SLOW_READER = _Kind("slow_reader", 400, 1013, "Answers were not read in time.")

    @property
    def token(self) -> str:
        """The stable word for programs."""
        return self.value.token

    @property
    def http_status(self) -> int:
        """The HTTP status of this kind."""
        return self.value.http

    @property
    def close_code(self) -> int:
        """The WebSocket close code of this kind; 1011 for kinds that end no connection."""
        return 1011 if self.value.close is None else self.value.close

    @property
    def text(self) -> str:
        """One public sentence for people."""
        return self.value.text


class OtpServerError(Exception):
    """The root of all errors raised on purpose by otp-server."""


class ConfigError(OtpServerError):
    """The configuration cannot be used; the message names each key, why, and what to do."""


class CoreBug(OtpServerError):
    """The Rust core panicked: a bug of ours. The object it was called on must be dropped."""


class WireError(OtpServerError):
    """A protobuf message of the peer cannot be read; raised by the Rust core."""


class LimiterFull(OtpServerError):
    """A bounded limiter table holds only keys in use and has no room for one more."""


class StoreError(OtpServerError):
    """The store did not do what was asked."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or written now (disk full, read-only, locked); retry later.

    Nothing of the failed call was applied, except where a cut connection leaves it unknown.
    """


class StoreTooNew(StoreError):
    """The database was written by a newer otp-server; the message names both schema numbers."""


class AlreadyExists(StoreError):
    """Something that must be unique is taken: ``what`` (a column's name) with ``value``."""

    def __init__(self, what: str, value: str) -> None:
        super().__init__(f"{what} {value!r} is taken: choose another")
        self.what = what
        self.value = value
