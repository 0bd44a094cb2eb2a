"""What a tenant may configure: every field's kind and bounds (requirements 2, 64, 67, 68, 70).

The rules take what a caller sent, whatever it is, and answer with values that fit or with
``{field: [messages]}``. A field that is not known is refused, and one that is not given has its
default where it has one; so nothing but these fields can ever be set from outside.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from otp_server.domain.challenge_type import (
    ChallengeRoute,
    ChallengeType,
    Channel,
    CodeType,
    Setting,
    Template,
)
from otp_server.domain.template import PASSCODE_LENGTH_MAX, subject_problems, text_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from enum import StrEnum

Problems = dict[str, list[str]]

TYPE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
TYPE_NAMES_RESERVED = frozenset({"handshake", "init", "crud"})
"""They are paths beside ``POST otp/{type}``; refused in any case."""
CODE_LENGTH_MIN: Final[dict[CodeType, int]] = {
    CodeType.NUMERIC: 6,
    CodeType.ALPHANUMERIC: 4,
    CodeType.ALPHABETIC: 5,
    CodeType.UNAMBIGUOUS: 5,
}
"""Six digits, or 20 bits and more."""
TTL_MIN_S = 30
TTL_MAX_S = 86_400
TTL_STRICT_MAX_S = 600
TTL_DEFAULT_S = 3600
ATTEMPTS_MAX = 20
ORDER_MAX = 1_000_000
TEMPLATE_NAME_CHARACTERS_MAX = 100
_ID_MAX = 2**63 - 1
_REQUIRED = "is required"


@dataclass(frozen=True, slots=True)
class SettingsBounds:
    """What depends on the installation.

    Args:
        ttl_max_s: the longest lifetime of a code; ``TTL_STRICT_MAX_S`` under ``rest.strict``.
        channels: those with a provider; a route of another could never send (70).
        domain: ``rest.sms_origin``, empty for none.
    """

    ttl_max_s: int = TTL_MAX_S
    channels: frozenset[Channel] = frozenset(Channel)
    domain: str = ""


Checked = dict[str, Any]
"""Fields that fit, in the kinds of the record."""


def fields_of(setting: Setting) -> Checked:
    """The fields of a record that callers set."""
    return {name: getattr(setting, name) for name in FIELDS[type(setting)]}


def check_type(fields: Mapping[str, object], bounds: SettingsBounds) -> tuple[Checked, Problems]:
    """A challenge type's fields."""
    check = _Check(fields, FIELDS[ChallengeType])
    check.take("name", _type_name)
    code_type = check.take("code_type", lambda value: _word(value, CodeType), CodeType.NUMERIC)
    shortest = CODE_LENGTH_MIN[code_type] if isinstance(code_type, CodeType) else 4
    check.take("code_length", _whole(shortest, PASSCODE_LENGTH_MAX), 6)
    longest = bounds.ttl_max_s
    check.take("ttl", _whole(TTL_MIN_S, longest), min(TTL_DEFAULT_S, longest))
    check.take("max_attempts", _whole(1, ATTEMPTS_MAX), 5)
    return check.checked, check.problems


def check_route(fields: Mapping[str, object], bounds: SettingsBounds) -> tuple[Checked, Problems]:
    """A route's fields; whether what it names exists is the store's to say."""
    check = _Check(fields, FIELDS[ChallengeRoute])
    check.take("challenge_type_id", _whole(1, _ID_MAX))
    check.take("order", _or_none(_whole(0, ORDER_MAX)), None)
    channel = check.take("channel", lambda value: _word(value, Channel))
    if isinstance(channel, Channel) and channel not in bounds.channels:
        check.refuse("channel", f"no provider is configured that sends over {channel.value}")
    check.take("template_id", _whole(1, _ID_MAX))
    check.take("attempts", _whole(1, ATTEMPTS_MAX), 1)
    return check.checked, check.problems


def check_template(
    fields: Mapping[str, object], bounds: SettingsBounds
) -> tuple[Checked, Problems]:
    """A template's fields."""
    check = _Check(fields, FIELDS[Template])
    check.take("name", _template_name)
    channel = check.take("channel", lambda value: _word(value, Channel))
    subject = check.take("subject", _text, "")
    text = check.take("text", _text)
    if isinstance(channel, Channel):
        if isinstance(subject, str):
            check.refuse("subject", *subject_problems(channel, subject))
        if isinstance(text, str):
            check.refuse("text", *text_problems(channel, text, domain=bounds.domain))
    return check.checked, check.problems


class _Unfit(Exception):
    """Why a value is not as it must be."""


class _Missing:
    """No default: the field is required."""


class _Check:
    """The fields of one request, each taken once."""

    def __init__(self, fields: Mapping[str, object], known: tuple[str, ...]) -> None:
        self._fields = fields
        self.checked: Checked = {}
        self.problems: Problems = {
            str(name)[:64]: ["is not a field of this"] for name in fields if name not in known
        }

    def take(
        self,
        name: str,
        read: Callable[[object], object],
        default: object = _Missing,
    ) -> object:
        """The field's value when it fits, its default when it is not given; else None."""
        if name not in self._fields:
            if default is _Missing:
                self.refuse(name, _REQUIRED)
                return None
            self.checked[name] = default
            return default
        try:
            self.checked[name] = read(self._fields[name])
        except _Unfit as unfit:
            self.refuse(name, str(unfit))
            return None
        return self.checked[name]

    def refuse(self, name: str, *messages: str) -> None:
        if messages:
            self.problems.setdefault(name, []).extend(messages)


def _whole(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _Unfit(f"is an integer from {least} to {most}")
        return value

    return read


def _or_none(read: Callable[[object], int]) -> Callable[[object], int | None]:
    return lambda value: None if value is None else read(value)


def _word(value: object, words: type[StrEnum]) -> StrEnum:
    for word in words:
        if value == word.value:
            return word
    raise _Unfit(f"is one of {', '.join(word.value for word in words)}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _Unfit("is a string")
    return value


def _type_name(value: object) -> str:
    if not isinstance(value, str) or TYPE_NAME.fullmatch(value) is None:
        raise _Unfit("is 1 to 63 of A-Z a-z 0-9 _ . - and begins with a letter or digit")
    if value.lower() in TYPE_NAMES_RESERVED:
        raise _Unfit("is taken by a path of this service: choose another")
    return value


def _template_name(value: object) -> str:
    fits = isinstance(value, str) and 1 <= len(value) <= TEMPLATE_NAME_CHARACTERS_MAX
    if not (isinstance(value, str) and fits and value.isprintable() and value.strip()):
        raise _Unfit(f"is 1 to {TEMPLATE_NAME_CHARACTERS_MAX} printable characters")
    return value


FIELDS: Final[dict[type[Setting], tuple[str, ...]]] = {
    ChallengeType: ("name", "code_type", "code_length", "ttl", "max_attempts"),
    ChallengeRoute: ("challenge_type_id", "order", "channel", "template_id", "attempts"),
    Template: ("name", "channel", "subject", "text"),
}
"""What callers set of each kind, by the names of the source."""
