"""JSON bodies, read without a framework and without mercy (requirement 67).

Refused are: another media type, duplicate keys at any depth, nesting past ``DEPTH_MAX``, numbers
that JSON does not have or that no float can hold, and what does not fit the shape. The listener
bounds the body before. Messages name what was sent only where it is a field's name, never its
value.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgspec

from otp_server.api.operation import JSON, ApiError
from otp_server.core import is_plain_json
from otp_server.errors import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otp_server.api.operation import Request

DEPTH_MAX = 16
_NAME_MAX = 64
_FIELDS_MAX = 20
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")
_OPENING = b"[{"
_BACKSLASH, _DELETE = 0x5C, 0x7F
"""Without these no text of a body has a control character: JSON wants all others escaped."""
_QUOTES = re.compile(r"(unknown field|Invalid enum value) .*", re.DOTALL)
"""Where msgspec repeats what was sent; all other names in its messages are ours."""
_PATH = re.compile(r" - at `\$(.*)`\Z", re.DOTALL)
_UNKNOWN = re.compile(r"unknown field `(.*)`\Z", re.DOTALL)
_MISSING = re.compile(r"missing required field `(.*)`\Z")
_TYPES = re.compile(r"`([a-z |]+)`")
_WORDS = {"str": "a string", "int": "an integer", "array": "a list", "object": "an object"}
_WORDS |= {"bool": "true or false", "float": "a number"}

T = TypeVar("T")


def json_body(request: Request, shape: type[T]) -> T:
    """The body as ``shape``; whatever is wrong with it, ApiError says ``malformed``."""
    body = _checked(request)
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        told = _QUOTES.sub(r"\1", str(error))
        raise ApiError(ErrorKind.MALFORMED, f"The body does not fit: {told}.") from None
    except msgspec.DecodeError:
        raise _not_json() from None


def json_fields(request: Request, shape: type[T], plain: type[T] | None = None) -> T:
    """The body as the struct ``shape``.

    ``plain`` is the same without patterns that ask for nothing but text without ASCII's control
    characters: they cost more than all the rest, and few bodies can break them.

    ApiError is ``malformed`` for what is no JSON object, and ``invalid_fields`` with every field
    that does not fit, by the names that were sent.
    """
    body = _checked(request)
    fast = shape if plain is None or _BACKSLASH in body or _DELETE in body else plain
    try:
        return msgspec.json.decode(body, type=fast)
    except msgspec.ValidationError:
        return fit(_whole_numbers(_decoded(body)), shape)
    except msgspec.DecodeError:
        raise _not_json() from None


def json_object(request: Request) -> dict[str, object]:
    """The body as an object of anything; ApiError ``malformed`` for what is none."""
    return _as_object(_whole_numbers(_decoded(_checked(request))))


def fit(value: object, shape: type[T]) -> T:
    """What was decoded, as the struct ``shape``; ApiError as :func:`json_fields` says."""
    given = _as_object(value)
    fields: dict[str, list[str]] = {}
    known = {field.encode_name: field for field in msgspec.structs.fields(shape)}  # type: ignore[arg-type] # T is a struct
    for name in given.keys() - known.keys():
        fields[name[:_NAME_MAX]] = ["is not a field of this request"]
    for name, field in known.items():
        if name in given:
            _check(given[name], name, field.type, fields)
        elif field.required:
            fields[name] = ["is required"]
    if fields:
        raise invalid(dict(sorted(fields.items())[:_FIELDS_MAX]))
    return msgspec.convert(given, shape)


def invalid(fields: Mapping[str, Sequence[str]]) -> ApiError:
    """The error that names these fields."""
    return ApiError(ErrorKind.INVALID_FIELDS, fields=fields)


def _decoded(body: bytes) -> object:
    """Without a shape; the check lets half of a surrogate pair pass, which is no text here."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        raise _not_json() from None


def _not_json() -> ApiError:
    return ApiError(ErrorKind.MALFORMED, "The body is not JSON.")


def _checked(request: Request) -> bytes:
    if request.headers.get("content-type") != JSON and request.media_type != JSON:
        raise ApiError(
            ErrorKind.UNSUPPORTED_MEDIA_TYPE, "Send the header Content-Type: application/json."
        )
    body = request.body
    if is_plain_json(body, DEPTH_MAX):
        return body  # nothing that is looked for below can be in it
    if not _is_shallow(body):
        raise ApiError(ErrorKind.MALFORMED, f"The body is nested deeper than {DEPTH_MAX}.")
    try:
        _STRICT.decode(body.decode())
    except _DuplicateKeyError as error:
        named = f"The key {str(error)[:_NAME_MAX]!r} is given twice in one object."
        raise ApiError(ErrorKind.MALFORMED, named) from None
    except _TooLargeError:
        raise ApiError(ErrorKind.MALFORMED, "A number in the body is too large.") from None
    except ValueError:  # no JSON, no UTF-8, or a number with thousands of digits
        raise _not_json() from None
    return body


def _is_shallow(body: bytes) -> bool:
    if body.count(b"{") + body.count(b"[") <= DEPTH_MAX:
        return True
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", body)):
        depth += 1 if bracket in _OPENING else -1
        if depth > DEPTH_MAX:
            return False
    return True


class _DuplicateKeyError(Exception):
    """A key is twice in one object."""


class _TooLargeError(Exception):
    """A number has no 64-bit float near it."""


def _finite(word: str) -> float:
    number = float(word)
    if math.isinf(number):
        raise _TooLargeError
    return number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _DuplicateKeyError(name)
            seen.add(name)
    return found


def _no_number(_word: str) -> NoReturn:
    raise ValueError


_STRICT = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite)


def _whole_numbers(value: object) -> object:
    """With 6.0 as 6: JSON has one kind of number, and its schemas call both integers."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_whole_numbers(item) for item in value]
        case dict():
            return {name: _whole_numbers(item) for name, item in value.items()}
    return value


def _as_object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ApiError(ErrorKind.MALFORMED, "The body must be a JSON object.")
    return value


def _check(value: object, name: str, wanted: Any, fields: dict[str, list[str]]) -> None:  # noqa: ANN401 - a type, as msgspec takes it
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        where, told = _told(str(error))
        fields.setdefault(name + where, []).append(told)


def _told(message: str) -> tuple[str, str]:
    """Where under the field it is wrong, and how, of one of msgspec's messages."""
    path = _PATH.search(message)
    where = "" if path is None else path[1]
    what = message if path is None else message[: path.start()]
    for pattern, told in ((_UNKNOWN, "is not a field of this request"), (_MISSING, "is required")):
        named = pattern.search(what)
        if named is not None:
            return f"{where}.{named[1][:_NAME_MAX]}", told
    if what.startswith("Invalid enum value"):
        return where, "is none of the words allowed here"
    what = _TYPES.sub(_plain, what)
    return where, what[:1].lower() + what[1:]


def _plain(types: re.Match[str]) -> str:
    return " or ".join(_WORDS.get(word, word) for word in types[1].split(" | "))
