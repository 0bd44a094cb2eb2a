"""Small settings for the tests of stores. Numbers stand for themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.domain.audit import Actor
from otp_server.domain.challenge_type import (
    ChallengeRoute,
    ChallengeType,
    Channel,
    CodeType,
    Template,
)
from otp_server.domain.client import ApiClient, Scope

if TYPE_CHECKING:
    from otp_server.services.ports import Store

TENANT = "acme"
ADMIN = Actor("client:admin", "192.0.2.7")


def challenge_type(name: str = "login", *, tenant: str = TENANT, at: int = 1) -> ChallengeType:
    """A type not yet stored."""
    return ChallengeType(
        id=0,
        tenant=tenant,
        name=name,
        code_type=CodeType.NUMERIC,
        code_length=6,
        ttl=3600,
        max_attempts=5,
        created_at_ms=at,
        updated_at_ms=at,
    )


def template(
    name: str = "words",
    channel: Channel = Channel.SMS,
    *,
    tenant: str = TENANT,
    at: int = 1,
) -> Template:
    """A template not yet stored."""
    return Template(
        id=0,
        tenant=tenant,
        name=name,
        channel=channel,
        subject="" if channel is Channel.SMS else "Ihr Code",
        text=f"{name}: ${{answer}}",
        created_at_ms=at,
        updated_at_ms=at,
    )


def route(
    of: ChallengeType, by: Template, *, order: int | None = None, attempts: int = 1
) -> ChallengeRoute:
    """A route not yet stored."""
    return ChallengeRoute(
        id=0,
        tenant=of.tenant,
        challenge_type_id=of.id,
        order=order,
        channel=by.channel,
        template_id=by.id,
        attempts=attempts,
        created_at_ms=of.created_at_ms,
        updated_at_ms=of.created_at_ms,
    )


async def add_type_with_route(
    store: Store, tenant: str = TENANT
) -> tuple[ChallengeType, Template, ChallengeRoute]:
    """A stored type with one SMS route."""
    of = await store.add_setting(challenge_type(tenant=tenant), ADMIN)
    by = await store.add_setting(template(tenant=tenant), ADMIN)
    return of, by, await store.add_setting(route(of, by), ADMIN)


def client(n: int, *, tenant: str = TENANT, at: int = 0) -> ApiClient:
    """An API client."""
    return ApiClient(
        client_id=f"client-{n}",
        tenant=tenant,
        name=f"Schalter {n}",
        scopes=frozenset({Scope.RUN}),
        secret_digest=bytes([n % 256]) * 32,
        created_at_ms=at,
    )
