"""API clients, and tenants' types, routes and templates, of the SQLite store."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from otp_server.stores.sqlite import client_statements as clients
from otp_server.stores.sqlite import setting_statements as settings
from otp_server.stores.sqlite.workers import SqliteWorkers

if TYPE_CHECKING:
    from collections.abc import Callable

    from otp_server.domain.audit import Actor
    from otp_server.domain.challenge_type import ChallengeType, Plan, Template
    from otp_server.domain.client import ApiClient
    from otp_server.services.ports.settings import S


class SqliteSettings(SqliteWorkers):
    """What the ports ``clients`` and ``settings`` ask, in SQL."""

    # API clients.

    async def add_client(self, client: ApiClient) -> None:
        """See :class:`otp_server.services.ports.ClientStore`; so for the next ones."""
        await self._writer.call(partial(clients.add_client, client=client))

    async def list_clients(self) -> list[ApiClient]:
        """All clients, oldest first."""
        return await self._reader.call(clients.list_clients)

    async def revoke_client(self, client_id: str, at_ms: int) -> bool:
        """Revoke a client once."""
        return await self._writer.call(
            partial(clients.revoke_client, client_id=client_id, at_ms=at_ms)
        )

    async def clients_version(self) -> int:
        """One row."""
        return await self._reader.call(clients.clients_version)

    # Types, routes, templates.

    async def list_settings(
        self, kind: type[S], tenant: str, *, limit: int, offset: int
    ) -> list[S]:
        """See :class:`otp_server.services.ports.SettingsStore`; so for the next ones."""
        return await self._reader.call(
            partial(settings.list_settings, kind=kind, tenant=tenant, limit=limit, offset=offset)
        )

    async def get_setting(self, kind: type[S], tenant: str, setting_id: int) -> S | None:
        """One, by its id."""
        return await self._reader.call(
            partial(settings.get_setting, kind=kind, tenant=tenant, setting_id=setting_id)
        )

    async def add_setting(self, setting: S, actor: Actor) -> S:
        """A new one, with its id."""
        return await self._writer.call(partial(settings.add_setting, setting=setting, actor=actor))

    async def save_setting(self, setting: S, actor: Actor) -> S:
        """In place of the one with its id and version."""
        return await self._writer.call(partial(settings.save_setting, setting=setting, actor=actor))

    async def delete_setting(
        self, kind: type[S], tenant: str, setting_id: int, actor: Actor, at_ms: int
    ) -> bool:
        """Delete one that nothing needs."""
        return await self._writer.call(
            partial(
                settings.delete_setting,
                kind=kind,
                tenant=tenant,
                setting_id=setting_id,
                actor=actor,
                at_ms=at_ms,
            )
        )

    async def add_examples(
        self, tenant: str, make: Callable[[], list[tuple[ChallengeType, list[Template]]]]
    ) -> bool:
        """A tenant's first settings; ``make`` runs in the writer's thread."""
        return await self._writer.call(partial(settings.add_examples, tenant=tenant, make=make))

    async def load_plan(self, tenant: str, type_name: str) -> tuple[int, Plan | None]:
        """Version and plan of one snapshot."""
        return await self._reader.call(
            partial(settings.load_plan, tenant=tenant, type_name=type_name)
        )
