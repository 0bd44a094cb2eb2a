"""What every store says of clients and settings alike: audit lines, first routes, plans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.domain.audit import Actor, AuditEntry
from otp_server.domain.challenge_type import (
    ChallengeRoute,
    ChallengeType,
    Plan,
    PlanRoute,
    Template,
)
from otp_server.errors import TooMany
from otp_server.stores.bounds import ROUTES_MAX, SETTINGS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otp_server.domain.challenge_type import Setting
    from otp_server.domain.client import ApiClient

KINDS: tuple[type[Setting], ...] = (ChallengeType, ChallengeRoute, Template)
_NOUNS: dict[type[object], str] = {
    ChallengeType: "challenge_type",
    ChallengeRoute: "challenge_type_route",
    Template: "template",
}
_MANY: dict[type[object], str] = {
    ChallengeType: "challenge types",
    ChallengeRoute: "routes",
    Template: "templates",
}
_SERVER = Actor("server")
_OPERATOR = Actor("operator")


def require_room(kind: type[object], held: int) -> None:
    """Raises TooMany when a tenant that has so many of a kind may have no more."""
    if held >= SETTINGS_MAX:
        raise TooMany(_MANY[kind], SETTINGS_MAX)


def require_route_room(held: int) -> None:
    """Raises TooMany when a type that has so many other routes may have no more."""
    if held >= ROUTES_MAX:
        raise TooMany("routes of a type", ROUTES_MAX)


def client_added(client: ApiClient) -> AuditEntry:
    """The audit line of a new client; only the operator adds and revokes."""
    return _line(client.tenant, "client.add", f"client:{client.client_id}", client.created_at_ms)


def client_revoked(client: ApiClient, at_ms: int) -> AuditEntry:
    """The audit line of a client's end."""
    return _line(client.tenant, "client.revoke", f"client:{client.client_id}", at_ms)


def added(setting: Setting, actor: Actor = _SERVER) -> AuditEntry:
    """The audit line of a setting that has its id; the server itself adds examples."""
    return _entry("add", type(setting), setting.tenant, setting.id, actor, setting.created_at_ms)


def saved(setting: Setting, actor: Actor) -> AuditEntry:
    """The audit line of a setting as it is now."""
    return _entry("save", type(setting), setting.tenant, setting.id, actor, setting.updated_at_ms)


def deleted(
    kind: type[object], tenant: str, setting_id: int, actor: Actor, at_ms: int
) -> AuditEntry:
    """The audit line of a setting that is no more."""
    return _entry("delete", kind, tenant, setting_id, actor, at_ms)


def _entry(
    verb: str, kind: type[object], tenant: str, setting_id: int, actor: Actor, at_ms: int
) -> AuditEntry:
    return _line(tenant, f"settings.{verb}", f"{_NOUNS[kind]}:{setting_id}", at_ms, actor)


def _line(
    tenant: str, action: str, subject: str, at_ms: int, actor: Actor = _OPERATOR
) -> AuditEntry:
    return AuditEntry(
        at_ms=at_ms,
        tenant=tenant,
        actor=actor.name,
        address=actor.address or "",
        action=action,
        subject=subject,
        outcome="done",
    )


def first_route(challenge_type: ChallengeType, template: Template, place: int) -> ChallengeRoute:
    """The route of a new type for one of its templates, the first ``place`` is 1; without id."""
    return ChallengeRoute(
        id=0,
        tenant=challenge_type.tenant,
        challenge_type_id=challenge_type.id,
        order=place,
        channel=template.channel,
        template_id=template.id,
        attempts=1,
        created_at_ms=challenge_type.created_at_ms,
        updated_at_ms=challenge_type.created_at_ms,
    )


def plan_of(
    challenge_type: ChallengeType, routes: Iterable[tuple[ChallengeRoute, Template]]
) -> Plan:
    """The plan of a type: its routes with their templates, put into sending order."""
    in_order = sorted(routes, key=lambda pair: _sending_order(pair[0]))
    return Plan(
        type_id=challenge_type.id,
        type_name=challenge_type.name,
        code_type=challenge_type.code_type,
        code_length=challenge_type.code_length,
        ttl=challenge_type.ttl,
        max_attempts=challenge_type.max_attempts,
        routes=tuple(
            PlanRoute(
                channel=route.channel,
                template_id=template.id,
                attempts=route.attempts,
                subject=template.subject,
                text=template.text,
            )
            for route, template in in_order
        ),
    )


def _sending_order(route: ChallengeRoute) -> tuple[bool, int, int]:
    return route.order is None, route.order or 0, route.id
