"""API clients of the rest face: registering, authenticating, access tokens, revoking.

Every request carries an access token, so checking one must not ask the store: all active clients
are held in memory (``ClientDirectory``) and read anew when the store says that they changed. A
revocation counts when the next refresh has seen it, about a second later; then the client's tokens
are worth nothing, whatever their time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from otp_server.domain.client import (
    DEFAULT_TENANT,
    TENANT,
    ApiClient,
    Scope,
    new_client_id,
    new_client_secret,
)
from otp_server.domain.device import secret_digest
from otp_server.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection

    from otp_server.clock import Clock
    from otp_server.services.ports import ClientStore
    from otp_server.services.settings import SettingsService
    from otp_server.services.signing import TokenSigner

TOKEN_TYPE = "client"  # noqa: S105 - the word in typ, not a token
_CLIENT_ID = re.compile(r"[0-9a-f]{32}")
_SECRET_CHARACTERS_MAX = 128  # before anything is hashed; ours have 43
_NAME_CHARACTERS_MAX = 200
_CHECKED_TOKENS_MAX = 10_000
_MS = 1000
_NOBODY = bytes(32)
"""Compared with where there is no client, so that its absence takes as long."""


class ClientService:
    """The registry of clients, for the operator."""

    def __init__(
        self, store: ClientStore, *, clock: Clock, settings: SettingsService | None = None
    ) -> None:
        """``settings`` gives a client's tenant its examples; None gives none."""
        self._store = store
        self._clock = clock
        self._settings = settings

    async def add(
        self,
        name: str,
        *,
        tenant: str = DEFAULT_TENANT,
        scopes: Collection[Scope] = frozenset(Scope),
    ) -> tuple[ApiClient, str]:
        """Register a client; the secret in the answer is shown nowhere else.

        A tenant without any setting gets the examples. Raises ConfigError for a name or tenant
        that cannot be one, and for no scope.
        """
        if not name or len(name) > _NAME_CHARACTERS_MAX or not name.isprintable():
            raise ConfigError(
                f"the client's name must be 1 to {_NAME_CHARACTERS_MAX} printable characters"
            )
        if TENANT.fullmatch(tenant) is None:
            raise ConfigError(
                f"tenant {tenant!r} cannot be used: give 1 to 63 of a-z 0-9 _ -, and begin with "
                "a letter or digit"
            )
        if not scopes:
            known = ", ".join(scope.value for scope in Scope)
            raise ConfigError(f"a client needs a scope: {known}")
        if self._settings is not None:
            await self._settings.ensure_examples(tenant)
        secret = new_client_secret()
        client = ApiClient(
            client_id=new_client_id(),
            tenant=tenant,
            name=name,
            scopes=frozenset(scopes),
            secret_digest=secret_digest(secret),
            created_at_ms=self._clock.now_ms(),
        )
        await self._store.add_client(client)
        return client, secret

    async def list_all(self) -> list[ApiClient]:
        """All clients, revoked ones too, oldest first."""
        return await self._store.list_clients()

    async def revoke(self, client_id: str) -> bool:
        """Revoke for ever; False when there is no such client."""
        return await self._store.revoke_client(client_id, self._clock.now_ms())


@dataclass(frozen=True, slots=True)
class ClientAccess:
    """What a checked access token allows: this client, for this tenant, within these scopes."""

    client_id: str
    tenant: str
    scopes: frozenset[Scope]


class ClientDirectory:
    """The active clients in memory, and their access tokens.

    Call :meth:`refresh` before the first use and then about every second.
    """

    def __init__(
        self, store: ClientStore, *, signer: TokenSigner, clock: Clock, token_ttl_s: int
    ) -> None:
        self._store = store
        self._signer = signer
        self._clock = clock
        self.token_ttl_s = token_ttl_s
        self._active: dict[str, ApiClient] = {}
        self._version: int | None = None
        self._loading = trio.Lock()
        self._loads_begun = 0
        self._load_done = 0
        self._checked: dict[bytes, tuple[ClientAccess, int]] = {}

    async def refresh(self) -> None:
        """Read the clients anew if any was added or revoked since. Raises StoreUnavailable.

        One runs at a time; who comes while one runs waits for the next, which all of them share.
        """
        begun = self._loads_begun
        async with self._loading:
            if self._load_done > begun:
                return  # one began after this call did, and has ended: it saw all there was
            self._loads_begun += 1
            await self._load()
            self._load_done = self._loads_begun

    async def authenticate(self, client_id: str, secret: str) -> ApiClient | None:
        """The client, when the secret is its own and it is not revoked.

        A client that is not known here may have been added just now, so the store is asked, all
        such callers together. What cannot be an id is refused without. Raises StoreUnavailable.
        """
        if _CLIENT_ID.fullmatch(client_id) is None or len(secret) > _SECRET_CHARACTERS_MAX:
            return None
        if client_id not in self._active:
            await self.refresh()
        client = self._active.get(client_id)
        stored = _NOBODY if client is None else client.secret_digest
        return client if hmac.compare_digest(stored, _digest(secret)) else None

    async def _load(self) -> None:
        version = await self._store.clients_version()
        if version == self._version:
            return
        clients = await self._store.list_clients()  # may know more than version: read again then
        self._active = {c.client_id: c for c in clients if c.revoked_at_ms is None}
        self._version = version
        self._checked.clear()

    def issue(self, client: ApiClient, scopes: Collection[Scope]) -> tuple[str, int]:
        """An access token for these of the client's scopes, and its lifetime in seconds.

        ValueError for a scope that is not the client's, or none.
        """
        if not scopes or not client.scopes.issuperset(scopes):
            raise ValueError("a token has one or more of its client's scopes")
        now_s = self._clock.now_ms() // _MS
        token = self._signer.sign(
            {
                "sub": client.client_id,
                "typ": TOKEN_TYPE,
                "tenant": client.tenant,
                "scope": " ".join(sorted(scope.value for scope in scopes)),
                "iat": now_s,
                "exp": now_s + self.token_ttl_s,
                "jti": secrets.token_hex(16),
            }
        )
        return token, self.token_ttl_s

    def check(self, token: str) -> ClientAccess | None:
        """What a token allows now; None for one that is wrong, over, or of no active client.

        A token that was checked before costs one SHA-256.
        """
        digest = _digest(token)
        held = self._checked.get(digest)
        if held is None:
            held = self._read(token)
            if held is None:
                return None
            if len(self._checked) >= _CHECKED_TOKENS_MAX:
                del self._checked[next(iter(self._checked))]
            self._checked[digest] = held
        access, ends_s = held
        if self._clock.now_ms() // _MS >= ends_s:
            del self._checked[digest]
            return None
        return access

    def _read(self, token: str) -> tuple[ClientAccess, int] | None:
        """What a token says, if we signed it for a client that is active; and when it ends."""
        claims = self._signer.read(token)
        if claims is None or claims.get("typ") != TOKEN_TYPE:
            return None
        client = self._active.get(claims["sub"])
        if client is None or claims["tenant"] != client.tenant:
            return None
        said = claims["scope"].split()
        scopes = frozenset(scope for scope in client.scopes if scope.value in said)
        return ClientAccess(client.client_id, client.tenant, scopes), claims["exp"]


def _digest(text: str) -> bytes:
    """SHA-256, of text that may hold lone surrogates too."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()
