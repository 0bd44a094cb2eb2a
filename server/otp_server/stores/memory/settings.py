"""API clients, and tenants' types, routes and templates, of the memory store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from otp_server.domain.challenge_type import ChallengeRoute, ChallengeType, Template
from otp_server.errors import AlreadyExists, InUse, MissingReference, StaleSetting
from otp_server.stores import setting_rules as rules
from otp_server.stores.memory.audit import MemoryAudit

if TYPE_CHECKING:
    from collections.abc import Callable

    from otp_server.domain.audit import Actor, AuditEntry
    from otp_server.domain.challenge_type import Plan, Setting
    from otp_server.domain.client import ApiClient
    from otp_server.services.ports.settings import S


class MemorySettings(MemoryAudit):
    """What the ports ``clients`` and ``settings`` ask, in dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self._clients: dict[str, ApiClient] = {}  # by client_id, in order of insertion
        self._clients_version = 0
        self._settings: dict[type[object], dict[int, Any]] = {
            ChallengeType: {},
            ChallengeRoute: {},
            Template: {},
        }  # by kind and id
        self._last_ids: dict[type[object], int] = dict.fromkeys(self._settings, 0)
        self._settings_versions: dict[str, int] = {}  # by tenant

    def _has_processes(self, tenant: str, type_id: int) -> bool:
        """Whether a process of this type is there; the store of processes knows."""
        raise NotImplementedError

    # API clients.

    async def add_client(self, client: ApiClient) -> None:
        """See :class:`otp_server.services.ports.ClientStore`; so for the next ones."""
        await self._enter()
        if client.client_id in self._clients:
            raise AlreadyExists("client_id", client.client_id)
        self._clients[client.client_id] = client
        self._clients_version += 1
        self._append_audit([rules.client_added(client)])

    async def list_clients(self) -> list[ApiClient]:
        """All clients, oldest first."""
        await self._enter()
        return sorted(self._clients.values(), key=lambda client: client.created_at_ms)

    async def revoke_client(self, client_id: str, at_ms: int) -> bool:
        """Revoke a client once."""
        await self._enter()
        client = self._clients.get(client_id)
        if client is None:
            return False
        if client.revoked_at_ms is None:
            self._clients[client_id] = replace(client, revoked_at_ms=at_ms)
            self._clients_version += 1
            self._append_audit([rules.client_revoked(client, at_ms)])
        return True

    async def clients_version(self) -> int:
        """How many changes there were."""
        await self._enter()
        return self._clients_version

    # Types, routes, templates.

    async def list_settings(
        self, kind: type[S], tenant: str, *, limit: int, offset: int
    ) -> list[S]:
        """See :class:`otp_server.services.ports.SettingsStore`; so for the next ones."""
        await self._enter()
        return self._of_tenant(kind, tenant)[offset : offset + limit]

    async def get_setting(self, kind: type[S], tenant: str, setting_id: int) -> S | None:
        """One, by its id."""
        await self._enter()
        return self._get(kind, tenant, setting_id)

    async def add_setting(self, setting: S, actor: Actor) -> S:
        """A new one, with its id."""
        await self._enter()
        stored = self._add(setting)
        self._changed([rules.added(stored, actor)])
        return stored

    async def save_setting(self, setting: S, actor: Actor) -> S:
        """In place of the one with its id and version."""
        await self._enter()
        held = self._get(type(setting), setting.tenant, setting.id)
        if held is None or held.version != setting.version:
            raise StaleSetting
        self._check(setting, setting.id)
        if isinstance(setting, Template) and isinstance(held, Template):
            leaves = held.channel is not setting.channel
            if leaves and self._routes_with("template_id", setting.tenant, setting.id):
                raise InUse("routes")
        stored = replace(setting, version=setting.version + 1)
        self._settings[type(setting)][setting.id] = stored
        self._changed([rules.saved(stored, actor)])
        return stored

    async def delete_setting(
        self, kind: type[S], tenant: str, setting_id: int, actor: Actor, at_ms: int
    ) -> bool:
        """Delete one that nothing needs."""
        await self._enter()
        setting = self._get(kind, tenant, setting_id)
        if setting is None:
            return False
        if isinstance(setting, ChallengeType):
            if self._routes_with("challenge_type_id", tenant, setting_id):
                raise InUse("routes")
            if self._has_processes(tenant, setting_id):
                raise InUse("processes")
        if isinstance(setting, Template) and self._routes_with("template_id", tenant, setting_id):
            raise InUse("routes")
        del self._settings[kind][setting_id]
        self._changed([rules.deleted(kind, tenant, setting_id, actor, at_ms)])
        return True

    async def add_examples(
        self, tenant: str, make: Callable[[], list[tuple[ChallengeType, list[Template]]]]
    ) -> bool:
        """A tenant's first settings, all or none."""
        await self._enter()
        if any(self._of_tenant(kind, tenant) for kind in rules.KINDS):
            return False
        before = {kind: dict(held) for kind, held in self._settings.items()}
        entries: list[AuditEntry] = []

        def add(setting: S) -> S:
            stored = self._add(setting)
            entries.append(rules.added(stored))
            return stored

        try:
            for challenge_type, templates in make():
                first = add(challenge_type)
                for place, template in enumerate(templates, start=1):
                    add(rules.first_route(first, add(template), place))
        except BaseException:
            self._settings = before
            raise
        self._changed(entries)
        return True

    async def load_plan(self, tenant: str, type_name: str) -> tuple[int, Plan | None]:
        """Version and plan of one instant."""
        await self._enter()
        version = self._settings_versions.get(tenant, 0)
        for found in self._of_tenant(ChallengeType, tenant):
            if found.name == type_name:
                routes = self._routes_with("challenge_type_id", tenant, found.id)
                templates = self._settings[Template]
                pairs = [(route, templates[route.template_id]) for route in routes]
                return version, rules.plan_of(found, pairs)
        return version, None

    def _of_tenant(self, kind: type[S], tenant: str) -> list[S]:
        held = sorted(self._settings[kind].items())
        return [setting for _, setting in held if setting.tenant == tenant]

    def _get(self, kind: type[S], tenant: str, setting_id: int) -> S | None:
        found: S | None = self._settings[kind].get(setting_id)
        return found if found is not None and found.tenant == tenant else None

    def _routes_with(self, field: str, tenant: str, value: int) -> list[ChallengeRoute]:
        routes = self._of_tenant(ChallengeRoute, tenant)
        return [route for route in routes if getattr(route, field) == value]

    def _check(self, setting: Setting, own_id: int | None = None) -> None:
        """AlreadyExists, MissingReference or TooMany, when it cannot be stored as it is."""
        if not isinstance(setting, ChallengeRoute):
            for other in self._of_tenant(type(setting), setting.tenant):
                if other.name == setting.name and other.id != own_id:
                    raise AlreadyExists("name", setting.name)
            return
        if self._get(ChallengeType, setting.tenant, setting.challenge_type_id) is None:
            raise MissingReference("challenge_type_id")
        template = self._get(Template, setting.tenant, setting.template_id)
        if template is None or template.channel is not setting.channel:
            raise MissingReference("template_id")
        routes = self._routes_with("challenge_type_id", setting.tenant, setting.challenge_type_id)
        rules.require_route_room(sum(route.id != own_id for route in routes))

    def _add(self, setting: S) -> S:
        kind = type(setting)
        rules.require_room(kind, len(self._of_tenant(kind, setting.tenant)))
        self._check(setting)
        self._last_ids[kind] += 1
        stored = replace(setting, id=self._last_ids[kind])
        self._settings[kind][stored.id] = stored
        return stored

    def _changed(self, entries: list[AuditEntry]) -> None:
        for tenant in {entry.tenant for entry in entries}:
            self._settings_versions[tenant] = self._settings_versions.get(tenant, 0) + 1
        self._append_audit(entries)
