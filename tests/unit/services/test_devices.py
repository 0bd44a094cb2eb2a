"""Registering, authenticating, revoking; device keys; presence; tokens."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import trio

from otp_server.errors import AlreadyExists, ConfigError
from otp_server.services.devices import device_key
from otp_server.services.tokens import TokenService, TokenType
from tests.support.world import KEY, World

if TYPE_CHECKING:
    from trio.testing import MockClock

PATTERN = re.compile(r"[a-z]+-[a-z]+-[a-z]+-[a-z]+")


async def test_a_token_is_its_devices_until_it_is_revoked() -> None:
    world = World()
    _, token = await world.devices.add("lamp-1", "the lamp")
    other, _ = await world.devices.add(None, "")
    forged = token.replace("lamp-1", other.device_id)
    wrong = [token[:-1] + "x", forged, "", "nobody-1-" + "0" * 64]
    answers = await world.devices.authenticate_many([token, *wrong])
    assert [answer and answer.device_id for answer in answers] == ["lamp-1"] + [None] * 4
    assert await world.devices.revoke("lamp-1")
    assert await world.devices.authenticate_many([token]) == [None]
    assert await world.devices.get("lamp-1") is None
    assert not await world.devices.revoke("nobody")


async def test_the_stored_form_is_no_token() -> None:
    world = World()
    device, token = await world.devices.add("lamp", "")
    assert token.encode() not in device.token_digest
    assert len(device.token_digest) == 32


@pytest.mark.parametrize("bad", ["", "a b", "x" * 65, "a/b", "\u00e4"])
async def test_an_id_that_cannot_be_one(bad: str) -> None:
    with pytest.raises(ConfigError, match="A-Z"):
        await World().devices.add(bad, "")


async def test_a_taken_id() -> None:
    world = World()
    await world.devices.add("lamp", "")
    with pytest.raises(AlreadyExists, match="lamp"):
        await world.devices.add("lamp", "")


def test_device_keys_are_four_words_and_stable() -> None:
    keys = {device_key(KEY, f"device-{n}") for n in range(1000)}
    assert len(keys) == 1000
    assert all(PATTERN.fullmatch(key) for key in keys)
    assert device_key(KEY, "lamp") == device_key(KEY, "lamp")
    assert device_key(KEY, "lamp") != device_key(KEY, "lamp", 1)
    assert device_key(b"x" * 32, "lamp") != device_key(KEY, "lamp")


async def test_a_clash_of_device_keys_is_hashed_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def clashing(_key: bytes, _device_id: str, counter: int = 0) -> str:
        return "one-two-three-four" if counter == 0 else f"one-two-three-{'x' * counter}"

    monkeypatch.setattr("otp_server.services.devices.device_key", clashing)
    world = World()
    first, _ = await world.devices.add("a", "")
    second, _ = await world.devices.add("b", "")
    assert [first.device_key, second.device_key] == ["one-two-three-four", "one-two-three-x"]


async def test_presence() -> None:
    world = World()
    assert world.presence.connected_since_ms("a") is None
    assert world.presence.arrived("a", 1) == [1]
    assert world.presence.arrived("a", 2) == [1, 2]
    world.presence.left(1)
    world.presence.left(1)
    assert world.presence.connections_of("a") == [2]
    world.presence.left(2)
    assert world.presence.connections_of("a") == []
    assert world.presence.connected_since_ms("a") is None


async def test_the_watch_tells_of_every_revocation_once(
    autojump_clock: MockClock,
) -> None:
    world = World()
    for name in ("a", "b", "c"):
        await world.devices.add(name, "")
    await world.devices.revoke("a")  # before the watch began
    told: list[list[str]] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(world.presence.watch_revocations, told.append)
        await world.devices.revoke("b")
        await trio.sleep(1)
        await world.devices.revoke("c")
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert told == [["b"], ["c"]]
    assert [world.presence.is_revoked(name) for name in ("a", "b", "c")] == [False, True, True]


async def test_tokens(mock_clock: MockClock) -> None:
    world = World()
    device, _ = await world.devices.add("lamp", "")
    api = world.tokens.issue(device, TokenType.API)
    quick = world.tokens.issue(device, TokenType.QUICK)
    for token, kind in ((api, TokenType.API), (quick, TokenType.QUICK)):
        claims = world.tokens.check(token)
        assert claims is not None
        assert (claims.type, claims.device_id) == (kind, "lamp")
        assert claims.device_key == device.device_key
    mock_clock.jump(172_800)
    assert world.tokens.check(quick) is None
    assert world.tokens.check(api) is not None


async def test_token_keys_rotate() -> None:
    world = World()
    device, _ = await world.devices.add("lamp", "")

    def service(*keys: tuple[str, bytes]) -> TokenService:
        return TokenService(keys, clock=world.clock, quick_session_s=60)

    old, new = ("old", b"o" * 32), ("new", b"n" * 32)
    token = service(old).issue(device, TokenType.API)
    assert service(new, old).check(token) is not None
    assert service(new).check(token) is None
    assert service(new, old).issue(device, TokenType.API) != token


@pytest.mark.parametrize(
    "forged",
    [
        "",
        "x",
        "a.b.c",
        "x" * 3000,
        # {"alg":"none"} with claims that would do
        "eyJhbGciOiJub25lIn0.eyJpc3MiOiJvdHAtc2VydmVyIiwic3ViIjoibGFtcCIsInR5cCI6ImFwaSIsImRldmljZV9rZXkiOiJhIn0.",
    ],
)
async def test_forged_tokens(forged: str) -> None:
    assert World().tokens.check(forged) is None
