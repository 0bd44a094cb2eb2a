"""One value into its key's type, and the words for what was wanted.

A value comes from TOML, where its type must be right, or from the environment, where all is text:
numbers and booleans are then read leniently, lists as JSON or, lists of strings, between commas.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args, get_origin

import msgspec
from msgspec import inspect

from otp_server.config.endpoint import Endpoint
from otp_server.config.problem import Problem
from otp_server.config.secret import Secret, SecretKeys

if TYPE_CHECKING:
    from collections.abc import Callable

    from otp_server.config.settings import Setting

_SHOWN_CHARACTERS_MAX = 60
_PLACE = re.compile(r" - at `\$(?P<place>[^`]*)`$")
_WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}


class BadValue(ValueError):
    """A value that cannot be used, and the problem that says so."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def _parse_folder(value: object) -> Path:
    if not isinstance(value, str):
        raise ValueError(f"expected a string, got {type(value).__name__}")  # noqa: TRY004 - reported
    if not value or "\0" in value:
        raise ValueError(f"{value!r} is no folder name")
    return Path(value)


_PARSERS: dict[object, Callable[[object], object]] = {
    Endpoint: Endpoint.parse,
    Path: _parse_folder,
    Secret: Secret.parse,
    SecretKeys: SecretKeys.parse,
}
_WANTED = {
    Endpoint: "HOST:PORT or [IPV6]:PORT, such as 127.0.0.1:8700",
    Path: "the name of a folder",
    SecretKeys: 'a list of "id:base64" with 32 bytes or more each (openssl rand -base64 32)',
    Secret: "one line of text in quotes, or nothing",
    bool: "true or false",
    str: "text in quotes",
}


def value_of(setting: Setting, value: object, origin: str) -> object:
    """A TOML value as the key's type.

    Raises:
        BadValue: it cannot be used.
    """
    return _convert(setting, value, origin, strict=True)


def value_of_text(setting: Setting, text: str, origin: str) -> object:
    """The text of an environment variable as the key's type.

    Raises:
        BadValue: it cannot be used.
    """
    if setting.type in (str, Path, Endpoint, Secret):
        return _convert(setting, text, origin, strict=True)
    text = text.strip()
    if setting.type is bool:
        text = _WORDS.get(text.lower(), text)
    elif setting.type is SecretKeys or get_origin(setting.type) is tuple:
        return _convert(setting, _list_of(setting, text, origin), origin, strict=True)
    return _convert(setting, text, origin, strict=False)


def _holds_pairs(setting: Setting) -> bool:
    return get_origin(get_args(setting.type)[0]) is tuple


def _list_of(setting: Setting, text: str, origin: str) -> object:
    of_strings = setting.type is SecretKeys or not _holds_pairs(setting)
    if of_strings and not text.startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        return msgspec.json.decode(text, type=list)
    except msgspec.DecodeError:
        pass  # raised below, so that no traceback leads to the text
    mend = f"give {wanted(setting)}"
    raise BadValue(Problem(setting.path, origin, "it cannot be read as a JSON list", mend))


def _convert(setting: Setting, value: object, origin: str, *, strict: bool) -> object:
    try:
        if (parse := _PARSERS.get(setting.type)) is not None:
            return parse(value)
        return msgspec.convert(value, setting.annotation, strict=strict)
    except msgspec.ValidationError as error:
        problem = _explained(setting, value, origin, str(error))
    except ValueError as error:
        problem = Problem(setting.path, origin, str(error), f"give {wanted(setting)}")
    raise BadValue(problem)


def _explained(setting: Setting, value: object, origin: str, message: str) -> Problem:
    """What the decoder said, in the words of a TOML file; it never quotes values by itself."""
    place = _PLACE.search(message)
    path = setting.path + (place["place"] if place else "")
    reason = _PLACE.sub("", message).replace("`", "").replace("array", "list")
    reason = "not one of the known words" if reason.startswith("Invalid enum") else reason
    if "matching regex" in reason:
        reason = "not of the right form"
    reason = reason[:1].lower() + reason[1:]
    if setting.hint("quoted") is not False:
        shown = repr(value)
        if len(shown) > _SHOWN_CHARACTERS_MAX:
            shown = shown[:_SHOWN_CHARACTERS_MAX] + "..."
        reason = f"{shown} cannot be used ({reason})"
    return Problem(path, origin, reason, f"give {wanted(setting)}")


def wanted(setting: Setting) -> str:
    """What a right value is: ``a whole number from 6 to 10``."""
    words = setting.hint("wanted")
    if isinstance(words, str):
        return words
    if get_origin(setting.type) is Literal:
        return f"one of {', '.join(get_args(setting.type))}"
    if setting.type in _WANTED:
        return _WANTED[setting.type]
    info = inspect.type_info(setting.annotation)
    bounds = info.type if isinstance(info, inspect.Metadata) else info
    if not isinstance(bounds, inspect.IntType | inspect.FloatType):
        raise TypeError(f"{setting.path} needs Meta(extra={{'wanted': ...}})")
    noun = "a whole number" if isinstance(bounds, inspect.IntType) else "a number"
    if bounds.gt is not None and bounds.lt is not None:
        return f"{noun} above {bounds.gt} and below {bounds.lt}"
    return f"{noun} from {bounds.ge} to {bounds.le}"
