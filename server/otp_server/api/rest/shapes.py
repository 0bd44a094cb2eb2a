"""What is sent to the runtime operations and what they answer (contracts C2; ruling D22).

Names, casing and types are the source's. Requests say ``mobilePhone``, answers ``phone``; an
entity's id and ``templateId`` are strings in answers, and an entity's id may be sent as a number.

msgspec reads the annotations, so they are no strings here.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from otp_server.api.unshown import unshown
from otp_server.domain.challenge_type import Channel
from otp_server.domain.contact import EMAIL_CHARACTERS_MAX, PHONE_CHARACTERS_MAX
from otp_server.domain.process import FailureReason, ProcessStatus, RouteStatus
from otp_server.services.ports.delivery import SendProblem
from otp_server.services.ports.outbox import MessageState
from otp_server.services.process_fields import (
    CODE_CHARACTERS_MAX,
    ENTITIES_MAX,
    ENTITY_CHARACTERS_MAX,
)
from otp_server.services.search import LIMIT_DEFAULT, LIMIT_MAX, OFFSET_MAX

TYPE_NAME_CHARACTERS_MAX = 63
PRINTABLE = r"^[^\x00-\x1f\x7f]+(?![\s\S])"
"""One line of visible text; the end is spelled so that Python and ECMA-262 mean the same."""

ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*(?![\s\S])"

TypeName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=TYPE_NAME_CHARACTERS_MAX,
        description="The OTP type, by the name of its challenge type.",
    ),
]
_EntityWord = Annotated[
    str, Meta(min_length=1, max_length=ENTITY_CHARACTERS_MAX, pattern=PRINTABLE)
]
_EntityNumber = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_PlainWord = Annotated[str, Meta(min_length=1, max_length=ENTITY_CHARACTERS_MAX)]
_Phone = Annotated[
    str,
    Meta(
        max_length=PHONE_CHARACTERS_MAX,
        description="A phone number, with + or 00 and the country code in front.",
        examples=["+447400123456"],
        extra_json_schema={"pattern": ONE_LINE},
    ),
]
_Email = Annotated[
    str,
    Meta(
        max_length=EMAIL_CHARACTERS_MAX,
        description="An e-mail address.",
        examples=["email@example.com"],
        extra_json_schema={"format": "email"},
    ),
]


class EntityBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """Something of the caller's that a process belongs to, such as client 338."""

    type: _EntityWord
    id: _EntityWord | _EntityNumber


_Entities = Annotated[
    Sequence[EntityBody],
    Meta(max_length=ENTITIES_MAX, description="What the process belongs to."),
]


class ContactBody(
    msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True, gc=False
):
    """Handshake and init. One contact is needed, both may be given."""

    __repr__ = unshown
    DOCUMENT: ClassVar[dict[str, Any]] = {
        "anyOf": [
            {"required": [contact], "properties": {contact: {"type": "string"}}}
            for contact in ("mobilePhone", "email")
        ]
    }
    type: TypeName
    mobile_phone: _Phone | None = None
    email: _Email | None = None
    entities: _Entities | None = None


class PlainEntityBody(EntityBody, forbid_unknown_fields=True, frozen=True, gc=False):
    """The same without ``PRINTABLE``: where there are no control characters at all."""

    type: _PlainWord
    id: _PlainWord | _EntityNumber


class PlainContactBody(
    ContactBody, rename="camel", forbid_unknown_fields=True, frozen=True, gc=False
):
    """The same for such a body."""

    entities: Annotated[Sequence[PlainEntityBody], Meta(max_length=ENTITIES_MAX)] | None = None


class AttemptBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """The code that somebody typed."""

    __repr__ = unshown
    code: Annotated[
        str,
        Meta(
            max_length=CODE_CHARACTERS_MAX,
            description="The code; blanks, dashes and the case of letters do not matter.",
            examples=["123456"],
            extra_json_schema={"pattern": r"[^\W_]"},  # a letter or digit, somewhere
        ),
    ]


class SearchBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """A search; what is given must all hold. ``type``, when given, is the path's."""

    __repr__ = unshown
    type: TypeName | None = None
    mobile_phone: _Phone | None = None
    email: _Email | None = None
    entities: _Entities | None = None
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="How many at most.")] = LIMIT_DEFAULT
    offset: Annotated[
        int,
        Meta(
            ge=0,
            description="How many to leave out. Pages further on are refused.",
            extra_json_schema={"maximum": OFFSET_MAX},  # refused with a reason: ``reading.py``
        ),
    ] = 0


class HandshakeData(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """What a process would be. ``availableIn`` is its lifetime in seconds (ruling D16)."""

    type: str
    channel: Channel
    available_in: int


class InitData(msgspec.Struct, frozen=True, gc=False):
    """The process that was started, and over which channel its code goes out."""

    uuid: str
    channel: Channel


class AttemptData(msgspec.Struct, frozen=True, gc=False):
    """Whether it was the code."""

    accepted: bool


class EntityData(msgspec.Struct, frozen=True):
    """Something of the caller's that a process belongs to."""

    type: str
    id: str


class RouteData(msgspec.Struct, rename="camel", frozen=True):
    """The way the code last went, and the wrong codes on it."""

    status: RouteStatus
    channel: Channel
    template_id: str
    attempts: int


class DeliveryData(msgspec.Struct, rename="camel", frozen=True):
    """One message of a process (ours). ``problem``: why the provider has it not."""

    channel: Channel
    status: MessageState
    problem: SendProblem | None
    updated_at: str


class ProcessData(msgspec.Struct, rename="camel", frozen=True):
    """A process. ``failure`` and ``deliveries`` are ours, all else is the source's.

    ``attempts`` counts wrong codes; ``ip`` is the address that init was called from.
    """

    __repr__ = unshown
    id: int
    uuid: str
    type: str
    status: ProcessStatus
    phone: str | None
    email: str | None
    ip: str | None
    entities: list[EntityData]
    attempts: int
    created_at: str
    updated_at: str
    current_route: RouteData
    failure: FailureReason | None
    deliveries: list[DeliveryData]
