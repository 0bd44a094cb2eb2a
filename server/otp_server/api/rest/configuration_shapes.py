"""What configuration operations are sent and answer, for the document (contracts C4).

Names are the source's. Bodies are checked by ``domain/settings_rules.py``, which these shapes only
describe: a test sends both the same. ``templates`` are ours; the source names their ids only.

msgspec reads the annotations, so they are no strings here.
"""

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from otp_server.api.rest.shapes import ONE_LINE
from otp_server.domain.challenge_type import Channel, CodeType
from otp_server.domain.settings_rules import (
    ATTEMPTS_MAX,
    CODE_LENGTH_MIN,
    ORDER_MAX,
    TEMPLATE_NAME_CHARACTERS_MAX,
    TTL_DEFAULT_S,
    TTL_MAX_S,
    TTL_MIN_S,
    TYPE_NAME,
)
from otp_server.domain.template import (
    NAMES,
    PASSCODE_LENGTH_MAX,
    SUBJECT_CHARACTERS_MAX,
    TEXT_CHARACTERS_MAX,
)

_ID_MAX = 2**63 - 1

_Name = Annotated[
    str, Meta(pattern=f"^{TYPE_NAME.pattern}$", description="The name that processes are asked by.")
]
_Length = Annotated[int, Meta(ge=min(CODE_LENGTH_MIN.values()), le=PASSCODE_LENGTH_MAX)]
_Ttl = Annotated[int, Meta(ge=TTL_MIN_S, le=TTL_MAX_S, description="The code's lifetime, seconds.")]
_Attempts = Annotated[int, Meta(ge=1, le=ATTEMPTS_MAX)]
_Order = Annotated[
    int, Meta(ge=0, le=ORDER_MAX, description="Sending order; routes without come last.")
]
_Id = Annotated[int, Meta(ge=1, le=_ID_MAX)]
_END = r"(?![\s\S])"
"""The end of the text, spelled so that Python and ECMA-262 mean the same."""
_NAMED = rf"\$(?!\{{)|\$\{{(?:{'|'.join(NAMES)})\}}"
"""A dollar, or one of the names in a template."""
_FILLED_LINE = rf"(?:[^$\x00-\x1f\x7f-\x9f\u2028\u2029]|{_NAMED})*"
_FILLED_TEXT = rf"(?:[^$\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]|{_NAMED})*"
_TemplateName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=TEMPLATE_NAME_CHARACTERS_MAX,
        extra_json_schema={"pattern": ONE_LINE},
    ),
]
_Subject = Annotated[
    str,
    Meta(
        max_length=SUBJECT_CHARACTERS_MAX,
        description="For e-mail; empty for SMS.",
        extra_json_schema={"pattern": f"^{_FILLED_LINE}{_END}"},
    ),
]
_Text = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=TEXT_CHARACTERS_MAX,
        description="The words, with ${answer} in it.",
        extra_json_schema={"pattern": rf"^{_FILLED_TEXT}\$\{{answer\}}{_FILLED_TEXT}{_END}"},
    ),
]


class ChallengeTypeBody(msgspec.Struct, forbid_unknown_fields=True):
    """A challenge type, as set."""

    DOCUMENT: ClassVar[dict[str, Any]] = {
        "allOf": [
            {
                "if": {"properties": {"code_type": {"const": code_type.value}}, **needed},
                "then": {"properties": {"code_length": {"minimum": shortest}}},
            }
            for code_type, shortest in CODE_LENGTH_MIN.items()
            for needed in ({} if code_type is CodeType.NUMERIC else {"required": ["code_type"]},)
        ]
    }
    name: _Name
    code_type: CodeType = CodeType.NUMERIC
    code_length: _Length = 6
    ttl: _Ttl = TTL_DEFAULT_S
    max_attempts: _Attempts = 5


class ChallengeRouteBody(msgspec.Struct, forbid_unknown_fields=True):
    """A route of a type, as set."""

    challenge_type_id: _Id
    channel: Channel
    template_id: _Id
    order: _Order | None = None
    attempts: _Attempts = 1


class TemplateBody(msgspec.Struct, forbid_unknown_fields=True):
    """A template, as set."""

    DOCUMENT: ClassVar[dict[str, Any]] = {
        "if": {"properties": {"channel": {"const": Channel.EMAIL.value}}},
        "then": {"required": ["subject"], "properties": {"subject": {"pattern": r"\S"}}},
        "else": {"properties": {"subject": {"maxLength": 0}}},
    }
    name: _TemplateName
    channel: Channel
    text: _Text
    subject: _Subject = ""


class ChallengeTypeChange(msgspec.Struct, forbid_unknown_fields=True):
    """What to change of a challenge type."""

    name: _Name | msgspec.UnsetType = msgspec.UNSET
    code_type: CodeType | msgspec.UnsetType = msgspec.UNSET
    code_length: _Length | msgspec.UnsetType = msgspec.UNSET
    ttl: _Ttl | msgspec.UnsetType = msgspec.UNSET
    max_attempts: _Attempts | msgspec.UnsetType = msgspec.UNSET


class ChallengeRouteChange(msgspec.Struct, forbid_unknown_fields=True):
    """What to change of a route."""

    challenge_type_id: _Id | msgspec.UnsetType = msgspec.UNSET
    channel: Channel | msgspec.UnsetType = msgspec.UNSET
    template_id: _Id | msgspec.UnsetType = msgspec.UNSET
    order: _Order | msgspec.UnsetType | None = msgspec.UNSET
    attempts: _Attempts | msgspec.UnsetType = msgspec.UNSET


class TemplateChange(msgspec.Struct, forbid_unknown_fields=True):
    """What to change of a template."""

    name: _TemplateName | msgspec.UnsetType = msgspec.UNSET
    channel: Channel | msgspec.UnsetType = msgspec.UNSET
    text: _Text | msgspec.UnsetType = msgspec.UNSET
    subject: _Subject | msgspec.UnsetType = msgspec.UNSET


class ChallengeTypeData(msgspec.Struct, frozen=True):
    """A challenge type."""

    id: int
    name: str
    code_type: CodeType
    code_length: int
    ttl: int
    max_attempts: int
    created_at: str
    updated_at: str


class ChallengeRouteData(msgspec.Struct, frozen=True):
    """A route of a type."""

    id: int
    challenge_type_id: int
    order: int | None
    channel: Channel
    template_id: int
    attempts: int
    created_at: str
    updated_at: str


class TemplateData(msgspec.Struct, frozen=True):
    """A template."""

    id: int
    name: str
    channel: Channel
    subject: str
    text: str
    created_at: str
    updated_at: str
