"""The bodies and answers of the device face's HTTP side (contracts A4, A6)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class ConfirmBody(msgspec.Struct):
    """``{"otp": "123456"}``."""

    otp: Annotated[
        str,
        Meta(
            description="What somebody typed; blanks and dashes do not matter.",
            examples=["123456"],
            # the codes of a default installation; the service knows how long its own are
            extra_json_schema={"pattern": "^[0-9]{6,10}$"},
        ),
    ]


class ServiceBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``{"startOtp": true}``, the one service command we carry."""

    start_otp: Literal[True]


class TokenAnswer(msgspec.Struct):
    """Confirm v1."""

    token: str


class KeyAnswer(msgspec.Struct):
    """Confirm v2."""

    device_key: str


class SessionAnswer(msgspec.Struct):
    """Confirm with a quick session."""

    token: str
    expires_in: int
    device_key: str


class CodeAnswer(msgspec.Struct):
    """startOtp."""

    otp: str
    expires_at_ms: int


class TimeAnswer(msgspec.Struct):
    """Server time, Unix milliseconds."""

    server_time: int


class StatusAnswer(msgspec.Struct):
    """A device's status; names as in the vendor's status page (contracts A4)."""

    device_key: str
    connected: bool
    connected_at: int | None = msgspec.field(name="connectedAt", default=None)
