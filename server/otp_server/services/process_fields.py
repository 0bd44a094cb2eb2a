"""What is wrong with the fields of a request about processes, by the contract's field names.

The sentences quote no value (requirement 86).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.domain.code_entry import CHARACTERS_PER_SYMBOL_MAX
from otp_server.domain.idempotency import parse_key
from otp_server.domain.outcome import Reason
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.errors import ErrorKind
from otp_server.services.contact_entry import FIELD_OF

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.domain.challenge_type import Channel, Plan
    from otp_server.domain.process import Entity
    from otp_server.services.contact_entry import Problems

ENTITIES_MAX = 64
ENTITY_CHARACTERS_MAX = 255
CODE_CHARACTERS_MAX = CHARACTERS_PER_SYMBOL_MAX * 32
"""Of the longest code, with room for blanks and dashes."""
CLAIM_FIELD = "Idempotency-Key"


def invalid(problems: Problems) -> ProcessRefused:
    """The refusal that says what is wrong with each field."""
    return ProcessRefused(ErrorKind.INVALID_FIELDS, Reason.FIELDS, fields=problems)


def claim_problems(claim_key: str | None) -> Problems:
    """What is wrong with an Idempotency-Key as it was sent."""
    if claim_key is None or parse_key(claim_key) is not None:
        return {}
    return {CLAIM_FIELD: ["it has 1 to 255 visible ASCII characters, quoted or bare"]}


def entity_problems(entities: Sequence[Entity]) -> Problems:
    """What is wrong with the entities of a request."""
    if len(entities) > ENTITIES_MAX:
        return {"entities": [f"at most {ENTITIES_MAX} entities"]}
    for entity in entities:
        for name in (entity.type, entity.id):
            if not (0 < len(name) <= ENTITY_CHARACTERS_MAX and name.isprintable()):
                text = f"type and id have 1 to {ENTITY_CHARACTERS_MAX} printable characters"
                return {"entities": [text]}
    return {}


def contact_problems() -> Problems:
    """What is wrong when no contact is given."""
    wanted = "give a phone number or an e-mail address"
    return {field: [wanted] for field in FIELD_OF.values()}


def route_problems(plan: Plan, channels: frozenset[Channel]) -> Problems:
    """Which contact is missing when none of those given has a route."""
    if plan.next_route(-1, channels) is not None:
        return {}
    if not plan.routes:
        return {"type": ["it has no route to send a code by"]}
    missing = sorted({route.channel for route in plan.routes})
    return {
        FIELD_OF[channel]: ["codes of this type are sent to it: give one"] for channel in missing
    }


def code_problems(text: str) -> Problems:
    """What is wrong with a text that cannot be a code of any type (requirement 24)."""
    if len(text) > CODE_CHARACTERS_MAX:
        return {"code": ["it is longer than any code"]}
    if not text.isalnum() and not any(c.isalnum() for c in text):
        return {"code": ["it has neither a letter nor a digit"]}
    return {}
