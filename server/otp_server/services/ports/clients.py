"""What a store must do for API clients. Each change writes its audit entry, as the operator's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from otp_server.domain.client import ApiClient


class ClientStore(Protocol):
    """API clients and their revocation."""

    async def add_client(self, client: ApiClient) -> None:
        """Store a new client; AlreadyExists for a taken ``client_id``."""

    async def list_clients(self) -> list[ApiClient]:
        """All clients, revoked ones too, oldest first."""

    async def revoke_client(self, client_id: str, at_ms: int) -> bool:
        """Revoke it. False when there is none; a second call changes nothing and answers True."""

    async def clients_version(self) -> int:
        """A number that grows whenever a client is added or revoked, by any process."""
