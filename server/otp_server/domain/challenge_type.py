"""What a tenant configures: challenge types, their routes, templates, and the plan they make.

A process keeps the plan it began with (requirement 69): a change of a type, a route or a template
shows in the next process only. Field names are those of the source's configuration tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CodeType(StrEnum):
    """The alphabet of a type's codes; the stored words."""

    NUMERIC = "numeric"
    ALPHANUMERIC = "alphanumeric"
    ALPHABETIC = "alphabetic"
    UNAMBIGUOUS = "unambiguous"
    """Ours: the 20 consonants of RFC 8628 section 6.1; without vowels there are no words."""


class Channel(StrEnum):
    """How a code travels; the stored words."""

    SMS = "sms"
    EMAIL = "email"


EVERY_CHANNEL = frozenset(Channel)


@dataclass(frozen=True, slots=True)
class ChallengeType:
    """A kind of OTP process of one tenant. ``version`` counts its changes from 1."""

    id: int
    tenant: str
    name: str
    code_type: CodeType
    code_length: int
    ttl: int
    max_attempts: int
    created_at_ms: int
    updated_at_ms: int
    version: int = 1


@dataclass(frozen=True, slots=True)
class ChallengeRoute:
    """One way to deliver the codes of a type. ``order`` None: after all ordered ones, by id."""

    id: int
    tenant: str
    challenge_type_id: int
    order: int | None
    channel: Channel
    template_id: int
    attempts: int
    created_at_ms: int
    updated_at_ms: int
    version: int = 1


@dataclass(frozen=True, slots=True)
class Template:
    """A message's words; ``text`` holds ``${answer}``. ``subject`` is for e-mail, else empty."""

    id: int
    tenant: str
    name: str
    channel: Channel
    subject: str
    text: str
    created_at_ms: int
    updated_at_ms: int
    version: int = 1


Setting = ChallengeType | ChallengeRoute | Template


@dataclass(frozen=True, slots=True)
class PlanRoute:
    """A route as a process sees it: its words are fixed too."""

    channel: Channel
    template_id: int
    attempts: int
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The snapshot of a type that a process keeps, its routes in sending order."""

    type_id: int
    type_name: str
    code_type: CodeType
    code_length: int
    ttl: int
    max_attempts: int
    routes: tuple[PlanRoute, ...]

    def next_route(self, after: int, channels: frozenset[Channel]) -> int | None:
        """The position of the first route past ``after`` (-1: from the start) that can be used.

        ``channels`` are those the process has a contact for.
        """
        for position in range(after + 1, len(self.routes)):
            if self.routes[position].channel in channels:
                return position
        return None
