"""What a store must do for a tenant's settings: types, routes, templates.

Each setting is of one tenant, and no method shows or changes another tenant's. Changes are
optimistic: ``save_setting`` takes the record with the ``version`` it was read with. References are
checked in the same transaction. Every change writes its audit entry with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from otp_server.domain.challenge_type import ChallengeRoute, ChallengeType, Setting, Template

if TYPE_CHECKING:
    from collections.abc import Callable

    from otp_server.domain.audit import Actor
    from otp_server.domain.challenge_type import Plan

S = TypeVar("S", bound=ChallengeType | ChallengeRoute | Template)


class SettingsStore(Protocol):
    """Types, routes and templates; the kind is the record's class."""

    async def list_settings(
        self, kind: type[S], tenant: str, *, limit: int, offset: int
    ) -> list[S]:
        """A page of all of a kind, by id."""

    async def get_setting(self, kind: type[S], tenant: str, setting_id: int) -> S | None:
        """One; None when this tenant has none of that id."""

    async def add_setting(self, setting: S, actor: Actor) -> S:
        """Store a new one and give it with its id; the given ``id`` is ignored.

        AlreadyExists (``name``) for a type's or template's name taken in the tenant;
        MissingReference for a route's type or template that the tenant has not, or a template of
        another channel. TooMany when the tenant has ``SETTINGS_MAX`` of the kind, or a route's
        type has ``ROUTES_MAX`` (``stores/bounds.py``).
        """

    async def save_setting(self, setting: S, actor: Actor) -> S:
        """Replace the one with its id and ``version``, and give it with the next version.

        StaleSetting when it is gone or was changed meanwhile; otherwise as ``add_setting``, and
        InUse when a template would leave the channel of a route that uses it.
        """

    async def delete_setting(
        self, kind: type[S], tenant: str, setting_id: int, actor: Actor, at_ms: int
    ) -> bool:
        """Delete it; False when there is none.

        InUse while something needs it: a type has routes or processes, a template routes.
        """

    async def add_examples(
        self, tenant: str, make: Callable[[], list[tuple[ChallengeType, list[Template]]]]
    ) -> bool:
        """Give a tenant that has no setting of any kind its first ones; whether it had none.

        Each type gets one route for each of its templates, in that order, one attempt each.
        """

    async def load_plan(self, tenant: str, type_name: str) -> tuple[int, Plan | None]:
        """The tenant's settings version, and the type's plan as of it; None: no such type.

        The version grows with each change of one of the tenant's settings.
        Routes are in sending order: by ``order``, those without last, ties by id.
        """


__all__ = ["Setting", "SettingsStore"]
