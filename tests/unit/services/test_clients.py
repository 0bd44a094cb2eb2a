"""API clients: registering, authenticating, tokens, and how soon a revocation counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from otp_server.domain.challenge_type import ChallengeType
from otp_server.domain.client import ApiClient, Scope, new_client_id
from otp_server.domain.device import Device
from otp_server.errors import ConfigError, StoreUnavailable
from otp_server.services import clients as module
from otp_server.services.clients import ClientAccess, ClientDirectory, ClientService
from otp_server.services.settings import SettingsService
from otp_server.services.signing import TokenSigner
from otp_server.services.tokens import TokenService, TokenType
from otp_server.stores.memory import MemoryStore

KEY = bytes(range(32))
TTL_S = 600


class SetClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.ms


class WatchedStore(MemoryStore):
    """Counts the reads of clients, and can fail or hold them."""

    def __init__(self) -> None:
        super().__init__()
        self.versions = self.lists = 0
        self.broken = False
        self.gate = trio.Event()
        self.gate.set()

    async def clients_version(self) -> int:
        self.versions += 1
        await self.gate.wait()
        if self.broken:
            raise StoreUnavailable("down")
        return await super().clients_version()

    async def list_clients(self) -> list[ApiClient]:
        self.lists += 1
        return await super().list_clients()


class Stage:
    """A registry and a directory over one store."""

    def __init__(self) -> None:
        self.store = WatchedStore()
        self.clock = SetClock()
        self.service = ClientService(self.store, clock=self.clock)
        self.directory = self.another_directory()

    def another_directory(self) -> ClientDirectory:
        return ClientDirectory(
            self.store,
            signer=TokenSigner([("k1", KEY)]),
            clock=self.clock,
            token_ttl_s=TTL_S,
        )


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_a_new_client_authenticates_at_once_and_only_with_its_secret(stage: Stage) -> None:
    await stage.directory.refresh()
    client, secret = await stage.service.add("billing")
    other, other_secret = await stage.service.add("other")
    assert await stage.directory.authenticate(client.client_id, secret) == client
    assert await stage.directory.authenticate(other.client_id, other_secret) == other
    for wrong in (other_secret, "", secret[:-1], f"{secret}x", secret.swapcase(), "\ud800"):
        assert await stage.directory.authenticate(client.client_id, wrong) is None
    assert client.scopes == set(Scope)
    assert secret not in repr(client)


@pytest.mark.parametrize(
    ("name", "tenant", "scopes"),
    [
        ("", "default", {Scope.RUN}),
        ("x" * 201, "default", {Scope.RUN}),
        ("a\nb", "default", {Scope.RUN}),
        ("a", "", {Scope.RUN}),
        ("a", "Default", {Scope.RUN}),
        ("a", "-a", {Scope.RUN}),
        ("a", "default", set[Scope]()),
    ],
)
async def test_unfit_clients_are_refused(
    stage: Stage, name: str, tenant: str, scopes: set[Scope]
) -> None:
    with pytest.raises(ConfigError):
        await stage.service.add(name, tenant=tenant, scopes=scopes)
    assert await stage.service.list_all() == []


async def test_a_tenants_first_client_comes_with_examples(stage: Stage) -> None:
    settings = SettingsService(stage.store, clock=stage.clock)
    service = ClientService(stage.store, clock=stage.clock, settings=settings)
    for _ in range(2):
        await service.add("a", tenant="bank")
    types = await settings.list_all(ChallengeType, "bank", limit=100, offset=0)
    assert [found.name for found in types] == ["email-verification", "phone-verification"]


async def test_a_revoked_client_and_its_tokens_end_at_the_next_refresh(stage: Stage) -> None:
    client, secret = await stage.service.add("a")
    await stage.directory.refresh()
    token, _ = stage.directory.issue(client, client.scopes)
    assert stage.directory.check(token) is not None
    assert await stage.service.revoke(client.client_id)
    await stage.directory.refresh()
    assert stage.directory.check(token) is None
    assert await stage.directory.authenticate(client.client_id, secret) is None
    assert not await stage.service.revoke(new_client_id())


async def test_a_refresh_reads_clients_only_when_they_changed(stage: Stage) -> None:
    await stage.service.add("a")
    for _ in range(5):
        await stage.directory.refresh()
    assert (stage.store.versions, stage.store.lists) == (5, 1)


async def test_known_clients_cost_no_read_and_unfit_ones_neither(stage: Stage) -> None:
    client, secret = await stage.service.add("a")
    await stage.directory.refresh()
    stage.store.versions = 0
    assert await stage.directory.authenticate(client.client_id, secret)
    assert await stage.directory.authenticate(client.client_id, "wrong") is None
    assert await stage.directory.authenticate(client.client_id, "x" * 129) is None
    for unfit in ("", "a", client.client_id.upper(), f"{client.client_id}\n", "é" * 32):
        assert await stage.directory.authenticate(unfit, secret) is None
    assert stage.store.versions == 0


async def test_any_number_of_unknown_clients_share_their_reads(
    stage: Stage, autojump_clock: trio.testing.MockClock
) -> None:
    stage.store.gate = trio.Event()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(stage.directory.authenticate, new_client_id(), "x")
            await trio.testing.wait_all_tasks_blocked()
            client, secret = await stage.service.add("added while they wait")
            found: list[ApiClient | None] = []

            async def late() -> None:
                found.append(await stage.directory.authenticate(client.client_id, secret))

            nursery.start_soon(late)
            await trio.testing.wait_all_tasks_blocked()
            stage.store.gate.set()
    assert found == [client]
    assert stage.store.versions <= 3


async def test_a_failed_read_is_no_answer_for_those_who_waited(
    stage: Stage, autojump_clock: trio.testing.MockClock
) -> None:
    stage.store.broken = True
    outcomes: list[object] = []

    async def ask() -> None:
        try:
            outcomes.append(await stage.directory.authenticate(new_client_id(), "x"))
        except StoreUnavailable as error:
            outcomes.append(type(error))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask)
    assert outcomes == [StoreUnavailable] * 10


async def test_a_token_says_what_its_client_may(stage: Stage) -> None:
    client, _ = await stage.service.add("a", tenant="bank")
    await stage.directory.refresh()
    for scopes in ({Scope.RUN}, {Scope.ADMIN}, set(Scope)):
        token, expires_in = stage.directory.issue(client, scopes)
        assert expires_in == TTL_S
        expected = ClientAccess(client.client_id, "bank", frozenset(scopes))
        assert stage.directory.check(token) == expected
        assert stage.directory.check(token) == expected


async def test_only_the_clients_own_scopes_are_given(stage: Stage) -> None:
    client, _ = await stage.service.add("a", scopes={Scope.RUN})
    for scopes in ({Scope.ADMIN}, set(Scope), set[Scope]()):
        with pytest.raises(ValueError, match="scopes"):
            stage.directory.issue(client, scopes)


async def test_a_token_of_before_says_no_more_than_its_client_has_now(stage: Stage) -> None:
    client, _ = await stage.service.add("a", scopes={Scope.RUN})
    await stage.directory.refresh()
    token, _ = stage.directory.issue(replace(client, scopes=frozenset(Scope)), set(Scope))
    access = stage.directory.check(token)
    assert access is not None
    assert access.scopes == {Scope.RUN}
    elsewhere, _ = stage.directory.issue(replace(client, tenant="other"), {Scope.RUN})
    assert stage.directory.check(elsewhere) is None


@pytest.mark.parametrize("seen_before", [True, False])
async def test_a_token_ends_when_its_time_is_over(stage: Stage, *, seen_before: bool) -> None:
    client, _ = await stage.service.add("a")
    await stage.directory.refresh()
    token, _ = stage.directory.issue(client, client.scopes)
    if seen_before:
        assert stage.directory.check(token) is not None
    stage.clock.ms += TTL_S * 1000 - 1
    assert stage.directory.check(token) is not None
    stage.clock.ms += 1
    for _ in range(2):
        assert stage.directory.check(token) is None


async def test_tokens_that_are_none_of_a_known_client(stage: Stage) -> None:
    client, _ = await stage.service.add("a")
    token, _ = stage.directory.issue(client, client.scopes)
    assert stage.directory.check(token) is None, "not known yet: no refresh has seen the client"
    await stage.directory.refresh()
    assert stage.directory.check(token) is not None
    device = Device("d", "", "a-b-c-d", bytes(32), 0)
    device_tokens = TokenService([("k1", KEY)], clock=stage.clock, quick_session_s=60)
    assert device_tokens.check(token) is None
    claims = {"sub": client.client_id, "tenant": client.tenant, "scope": "otp.run"}
    of_another_type = TokenSigner([("k1", KEY)]).sign({**claims, "typ": "api", "exp": 2**40})
    for bad in (
        of_another_type,
        "",
        "x",
        f"{token[:-1]}",
        f"{token}x",
        "\ud800",
        device_tokens.issue(device, TokenType.API),
        device_tokens.issue(device, TokenType.QUICK),
    ):
        assert stage.directory.check(bad) is None


async def test_a_hot_token_is_not_read_twice_and_the_cache_is_bounded(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHECKED_TOKENS_MAX", 3)
    client, _ = await stage.service.add("a")
    await stage.directory.refresh()
    tokens = [stage.directory.issue(client, client.scopes)[0] for _ in range(5)]
    for token in tokens:
        assert stage.directory.check(token) is not None
    assert len(stage.directory._checked) == 3
    monkeypatch.setattr(TokenSigner, "read", lambda *_: pytest.fail("read again"))
    assert stage.directory.check(tokens[-1]) is not None


async def test_wrong_tokens_are_not_kept(stage: Stage) -> None:
    for at in range(100):
        assert stage.directory.check(f"wrong{at}") is None
    assert not stage.directory._checked
