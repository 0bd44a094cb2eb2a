"""The errors of otp-server, and the one list of error kinds.

::

    OtpServerError
    ├── ConfigError          key, why, how to mend it
    ├── CoreBug              the Rust core panicked; costs one call
    ├── WireError            a message of the peer that cannot be read; its kind
    ├── LimiterFull          a bounded table has no room for one more key
    ├── Busy                 a bounded queue has no room for one more: ask again in a second
    ├── InvalidFields        a setting's fields are not as they must be: which, and why
    ├── ContactUnreadable    a stored contact does not open with the configured keys
    └── StoreError           the store did not do it
        ├── StoreUnavailable   it cannot be reached or written now; nothing was changed
        ├── StoreTooNew        its schema is from a newer program
        ├── AlreadyExists      a name or key that must be unique is taken
        ├── TooMany            there are as many as there may be
        ├── MissingReference   a setting names another that is not there
        ├── InUse              what should go is still needed
        └── StaleSetting       it was changed meanwhile: read it again

A refusal of a passcode is a value (:mod:`otp_server.domain.outcome`), not an exception: services
answer whole batches, and one refused item must not spoil the others.

``ErrorKind`` mirrors ``proto/errors.toml``; a house test compares the two, the Rust core and the
documents.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class _Kind(NamedTuple):
    token: str
    http: int
    close: int | None
    text: str


class ErrorKind(Enum):
    """What went wrong, as others may know it: token, HTTP status, close code and public text."""

    MALFORMED = _Kind("malformed", 400, None, "The request could not be read.")
    UNAUTHORIZED = _Kind("unauthorized", 401, 4002, "The token is missing, wrong or revoked.")
    FORBIDDEN_ORIGIN = _Kind("forbidden_origin", 403, None, "This origin is not allowed here.")
    INVALID_SOCKET = _Kind(
        "invalid_socket",
        400,
        None,
        "The socket is not bound to this session; open one, and use its socket_id.",
    )
    PARAMETER_MISSING = _Kind("parameter_missing", 412, None, "A mandatory parameter is missing.")
    WEAK_PASSWORD = _Kind("weak_password", 400, None, "The password is not good enough.")
    SIGN_IN_FAILED = _Kind("sign_in_failed", 401, None, "The e-mail or the password is wrong.")
    SERVICE_NOT_FOUND = _Kind("service_not_found", 404, None, "There is no such service.")
    NOT_FOUND = _Kind("not_found", 404, None, "No such thing here.")
    TYPE_NOT_FOUND = _Kind("type_not_found", 404, None, "There is no OTP type of this name.")
    OTP_NOT_FOUND = _Kind("otp_not_found", 404, None, "There is no OTP process of this uuid.")
    OTP_EXPIRED = _Kind("otp_expired", 410, None, "The code has expired; start a new process.")
    OTP_ATTEMPTS_EXHAUSTED = _Kind(
        "otp_attempts_exhausted", 409, None, "All attempts are used up; start a new process."
    )
    OTP_ALREADY_ACCEPTED = _Kind(
        "otp_already_accepted", 409, None, "The code of this process was accepted before."
    )
    OTP_SUPERSEDED = _Kind(
        "otp_superseded", 409, None, "A newer process of this type and contact took its place."
    )
    OTP_UNDELIVERABLE = _Kind(
        "otp_undeliverable", 409, None, "The code could not be delivered over any route."
    )
    OTP_DELIVERY_FAILED = _Kind(
        "otp_delivery_failed", 502, None, "No delivery provider works now; try again later."
    )
    CONTACT_LOCKED = _Kind(
        "contact_locked",
        403,
        None,
        "Too many wrong codes in a row for this contact; the operator must release it.",
    )
    FORBIDDEN = _Kind("forbidden", 403, None, "The token does not allow this.")
    INVALID_FIELDS = _Kind("invalid_fields", 422, None, "Some fields are not as they must be.")
    NAME_TAKEN = _Kind("name_taken", 409, None, "The name is taken: choose another.")
    IN_USE = _Kind("in_use", 409, None, "Something else still needs it.")
    IDEMPOTENCY_IN_FLIGHT = _Kind(
        "idempotency_in_flight", 409, None, "The first request with this key has not ended yet."
    )
    IDEMPOTENCY_MISMATCH = _Kind(
        "idempotency_mismatch", 422, None, "The Idempotency-Key was used for another request."
    )
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


class Busy(OtpServerError):
    """A bounded queue has no room for one more: nothing was done, ask again in a second."""


class InvalidFields(OtpServerError):
    """Fields that a caller sent are not as they must be: ``fields``, by name; safe to tell."""

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        super().__init__("; ".join(f"{name} {', '.join(why)}" for name, why in fields.items()))
        self.fields = {name: list(why) for name, why in fields.items()}


class ContactUnreadable(OtpServerError):
    """A stored contact does not open; the message names the key and quotes no contact."""


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


class TooMany(StoreError):
    """There are ``limit`` of ``what`` (such as ``templates``), and there may be no more."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"there may be at most {limit} {what}")
        self.what = what
        self.limit = limit


class MissingReference(StoreError):
    """A setting names another that its tenant has not, or that does not fit: ``field``."""

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} names nothing that fits")
        self.field = field


class InUse(StoreError):
    """It cannot go, or change so, while ``by`` needs it."""

    def __init__(self, by: str) -> None:
        super().__init__(f"it is used by {by}")
        self.by = by


class StaleSetting(StoreError):
    """It was changed or deleted since it was read."""
