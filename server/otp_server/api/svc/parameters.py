"""Parameters of a service call: from headers, target and body; the later one wins (contracts B1).

    x-param-NAME            a header for each
    query                   names and values; a name that is a JSON object stands for its members
    body                    a JSON object or a form, as Content-Type says; none is fine

A name that is twice in one source is refused, and a body that is neither. Parameters that nobody
reads are passed over: clients add some to every call. What is read must be a string, bounded and
without control characters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeGuard
from urllib.parse import parse_qsl

from msgspec.structs import replace

from otp_server.api.json_bodies import json_object
from otp_server.api.operation import JSON, ApiError
from otp_server.errors import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from otp_server.api.operation import Request

FORM = "application/x-www-form-urlencoded"
HEADER_PREFIX = "x-param-"
VALUE_CHARACTERS_MAX = 1024
WHOLE_NUMBER_MAX = 2**53
"""The largest whole number that JSON carries safely."""
_FIELDS_MAX = 64
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_NAME_MAX = 64


@dataclass(frozen=True, slots=True)
class Parameters:
    """What was given, by name; the values as they came."""

    given: Mapping[str, object] = field(repr=False)

    def required(self, name: str) -> str:
        """A value that must not be empty; ApiError ``parameter_missing``."""
        value = self.optional(name)
        if not value:
            raise _missing(name)
        return value

    def optional(self, name: str) -> str:
        """A value; empty when there is none."""
        return _line(name, self.given.get(name))

    def code(self, name: str = "code") -> str | int:
        """A code, which may be empty, or a whole number in JSON."""
        value = self.given.get(name)
        if value is None:
            raise _missing(name)
        return value if _is_whole(value) and value >= 0 else _line(name, value)

    def password(self, name: str = "password") -> str:
        """A password: any characters (requirement 27)."""
        value = _text(name, self.given.get(name))
        if not value:
            raise _missing(name)
        return value

    def echo_id(self) -> str | int | None:
        """What the answer's data repeats under the same name; None: nothing was given."""
        value = self.given.get("echoId")
        if value is None or _is_whole(value):
            return value
        return _line("echoId", value)


def read_parameters(request: Request) -> Parameters:
    """All parameters of a request.

    ApiError is ``malformed`` for a source that cannot be read, and ``unsupported_media_type``.
    """
    prefixed = {
        name.removeprefix(HEADER_PREFIX): value
        for name, value in request.headers.items()
        if name.startswith(HEADER_PREFIX)
    }
    return Parameters({**_by_header(prefixed), **_of_query(request), **_of_body(request)})


def _by_header(prefixed: Mapping[str, str]) -> Mapping[str, object]:
    """Names of headers have no case: ``echoid`` is ``echoId``."""
    found: dict[str, object] = dict(prefixed)
    if "echoid" in found:
        found["echoId"] = found.pop("echoid")
    return found


def _of_query(request: Request) -> Mapping[str, object]:
    pairs: list[tuple[str, object]] = []
    for name, value in request.query:
        if name.startswith("{") and not value:
            pairs += _members(request, name)
        else:
            pairs.append((name, value))
    return _once(pairs)


def _members(request: Request, text: str) -> Iterable[tuple[str, object]]:
    body = replace(request, body=text.encode(), headers={"content-type": JSON})
    try:
        return json_object(body).items()
    except ApiError as error:
        told = error.detail.replace("The body", "The JSON in the query")
        raise ApiError(ErrorKind.MALFORMED, told) from None


def _of_body(request: Request) -> Mapping[str, object]:
    if not request.body:
        return {}
    if request.media_type == JSON:
        return json_object(request)
    if request.media_type != FORM:
        told = f"Send the body as {JSON} or {FORM}."
        raise ApiError(ErrorKind.UNSUPPORTED_MEDIA_TYPE, told)
    try:
        return _once(
            parse_qsl(
                request.body.decode(),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=_FIELDS_MAX,
            )
        )
    except ValueError:
        raise ApiError(ErrorKind.MALFORMED, "The form cannot be read.") from None


def _once(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise ApiError(ErrorKind.MALFORMED, f"{name[:_NAME_MAX]!r} is given twice.")
        found[name] = value
    return found


def _is_whole(value: object) -> TypeGuard[int]:
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    return abs(value) <= WHOLE_NUMBER_MAX


def _line(name: str, value: object) -> str:
    text = _text(name, value)
    if _CONTROL.search(text):
        raise ApiError(ErrorKind.MALFORMED, f"{name} has characters that cannot be seen.")
    return text


def _text(name: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ApiError(ErrorKind.MALFORMED, f"{name} must be a string.")
    if len(value) > VALUE_CHARACTERS_MAX:
        told = f"{name} is longer than {VALUE_CHARACTERS_MAX} characters."
        raise ApiError(ErrorKind.MALFORMED, told)
    if _SURROGATE.search(value):
        raise ApiError(ErrorKind.MALFORMED, f"{name} is no Unicode text.")
    return value


def _missing(name: str) -> ApiError:
    return ApiError(ErrorKind.PARAMETER_MISSING, f"{name} is mandatory")
