"""Reads what the rest face is sent in a target, and searches in either form.

What is not known is refused by its name, and so is what is given twice or in two places
(requirement 67): no part of a request is passed over in silence.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from otp_server.api.json_bodies import fit, invalid, json_fields
from otp_server.api.operation import ApiError
from otp_server.api.rest.shapes import SearchBody
from otp_server.domain.process import Entity
from otp_server.errors import ErrorKind
from otp_server.services.search import OFFSET_MAX, TOO_DEEP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.api.operation import Request
    from otp_server.api.rest.shapes import EntityBody

_ENTITY = re.compile(r"entities\[(0|[1-9][0-9]{0,2})\]\[(type|id)\]")
_PLACE = re.compile(r"\Aentities\[(\d+)\]\.(\w+)")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,15}")
_ID = re.compile(r"[1-9][0-9]{0,18}")
_ID_MAX = 2**63 - 1
_NAME_MAX = 64
_NOT_KNOWN = "is not a parameter of this request"


def no_query(request: Request) -> None:
    """ApiError ``invalid_fields`` when the target has parameters."""
    if request.query:
        raise invalid({name[:_NAME_MAX]: [_NOT_KNOWN] for name, _ in request.query[:20]})


def no_body(request: Request) -> None:
    """ApiError ``malformed`` when there is a body where none is read."""
    if request.body:
        raise ApiError(ErrorKind.MALFORMED, f"{request.method} takes no body here.")


def id_of(request: Request) -> int:
    """The setting a path names; ApiError ``not_found`` when it cannot be one's id."""
    text = request.path["id"]
    if _ID.fullmatch(text) is None or int(text) > _ID_MAX:
        raise ApiError(ErrorKind.NOT_FOUND)
    return int(text)


def entities_of(bodies: Sequence[EntityBody] | None) -> tuple[Entity, ...]:
    """The entities, their ids as strings (ruling D22)."""
    if not bodies:
        return ()
    if len(bodies) == 1:  # nearly always, and a comprehension costs more than all the rest
        [body] = bodies
        return (Entity(body.type, str(body.id)),)
    return tuple([Entity(body.type, str(body.id)) for body in bodies])


def single_parameters(request: Request) -> dict[str, str]:
    """The target's parameters; ApiError ``invalid_fields`` when one is given twice."""
    found: dict[str, str] = {}
    for name, value in request.query:
        if name in found:
            raise invalid({name[:_NAME_MAX]: ["is given twice"]})
        found[name] = value
    return found


def page_of(request: Request) -> tuple[int, int]:
    """``limit`` and ``offset`` of a list that takes nothing else."""
    no_body(request)
    given = single_parameters(request)
    problems = {name[:_NAME_MAX]: [_NOT_KNOWN] for name in given if name not in _PAGE}
    if problems:
        raise invalid(problems)
    page = _near(fit({name: _number(value) for name, value in given.items()}, SearchBody))
    return page.limit, page.offset


_PAGE = ("limit", "offset")


def search_of(request: Request) -> SearchBody:
    """The search of a GET's target or a POST's body; its ``type`` must be the path's (D21)."""
    if request.method == "POST":
        no_query(request)
        search = json_fields(request, SearchBody) if request.body else SearchBody()
    else:
        no_body(request)
        search = _search_of_query(single_parameters(request))
    if search.type is not None and search.type != request.path["type"]:
        raise invalid({"type": ["is not the type in the path"]})
    return _near(search)


def _near(page: SearchBody) -> SearchBody:
    if page.offset > OFFSET_MAX:
        raise invalid({"offset": [TOO_DEEP]})
    return page


def _search_of_query(given: dict[str, str]) -> SearchBody:
    fields: dict[str, Any] = {}
    entities: dict[int, dict[str, str]] = {}
    problems: dict[str, list[str]] = {}
    for name, value in given.items():
        place = _ENTITY.fullmatch(name)
        if place is not None:
            entities.setdefault(int(place[1]), {})[place[2]] = value
        elif name in _PAGE:
            fields[name] = _number(value)
        elif name == "mobilePhone":
            fields[name] = _plus_kept(value)
        elif name in ("type", "email"):
            fields[name] = value
        else:
            problems[name[:_NAME_MAX]] = [_NOT_KNOWN]
    if problems:
        raise invalid(problems)
    numbers = sorted(entities)
    if entities:
        fields["entities"] = [entities[number] for number in numbers]
    try:
        return fit(fields, SearchBody)
    except ApiError as error:
        renamed = {_in_brackets(name, numbers): told for name, told in error.fields.items()}
        raise invalid(renamed) from None


def _number(text: str) -> int | str:
    """A number where it is one; the shape says what is wrong with anything else."""
    return int(text) if _WHOLE.fullmatch(text) else text


def _plus_kept(phone: str) -> str:
    """A ``+`` that was not written ``%2B`` arrives as a blank; no number begins with one."""
    return f"+{phone[1:]}" if phone[:1] == " " and phone[1:2].isdigit() else phone


def _in_brackets(name: str, numbers: Sequence[int]) -> str:
    """``entities[0].id`` as the query spells it, with the number it was given."""
    place = _PLACE.match(name)
    if place is None:
        return name
    return f"entities[{numbers[int(place[1])]}][{place[2]}]"
