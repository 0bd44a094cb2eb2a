"""Whose wrong codes are counted: forwarded headers count only where a proxy is trusted (42)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from tests.support.rest_server import Door, rest_server, through_door, word_of, wrong

if TYPE_CHECKING:
    from pathlib import Path

    import httpx2

LIMIT = 30
"""Wrong codes of one address in a minute, as the contract has it."""
ROTATIONS = 1000
HEADERS = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP")
PLENTY = "requests_per_client = [[1000000, 60]]"


async def guess(door: Door, uuid: str, code: str, **headers: str) -> httpx2.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await door.back_end.call("PUT", f"/otp/{uuid}/attempt", {"code": code}, headers=sent)


async def targets(door: Door, count: int) -> list[tuple[str, str]]:
    """Processes that allow 20 wrong codes each, and their codes."""
    await door.back_end.add_type("long", [("email", 20)], max_attempts=20)
    return [await door.started("long", email=f"{n}@example.com") for n in range(count)]


def test_forged_addresses_share_the_limit_of_the_peer(tmp_path: Path) -> None:
    async def run(door: Door) -> None:
        left = [target for target in await targets(door, 3) for _ in range(20)]
        words = []
        for n in range(LIMIT + 5):
            uuid, code = left[n]
            forged = f"198.51.{n // 250}.{n % 250}"
            headers = dict.fromkeys(HEADERS, forged) | {"Forwarded": f"for={forged}"}
            words.append(word_of(await guess(door, uuid, wrong(code), **headers)))
        assert words == ["wrong"] * LIMIT + ["RATE_LIMITED"] * 5
        limiter = trio.CapacityLimiter(20)
        statuses = set()

        async def rotate(n: int) -> None:
            async with limiter:
                said = await guess(door, *left[-1], X_Forwarded_For=f"203.0.{n // 250}.{n % 250}")
                assert int(said.headers["Retry-After"]) >= 1
                statuses.add(said.status_code)

        async with trio.open_nursery() as nursery:
            for n in range(ROTATIONS):
                nursery.start_soon(rotate, n)
        assert statuses == {429}
        shown = await door.shown(left[-1][0], "long")
        assert (shown["ip"], shown["status"], shown["attempts"]) == ("127.0.0.1", "sent", 0)

    with rest_server(tmp_path / "server", rest=PLENTY) as (server, credentials):
        through_door(server, credentials, run)


def test_behind_a_trusted_proxy_nobody_is_throttled_for_another(tmp_path: Path) -> None:
    """The proxy appends whom it sees; what the caller wrote in front of that says nothing."""

    async def run(door: Door) -> None:
        left = [target for target in await targets(door, 4) for _ in range(20)]
        victim, attacker = "192.0.2.7", "198.51.100.9"
        for n in range(LIMIT):
            uuid, code = left[n]
            pinned = f"{victim}, 10.9.9.{n}, {attacker}"
            assert word_of(await guess(door, uuid, wrong(code), X_Forwarded_For=pinned)) == "wrong"
        uuid, code = left[LIMIT]
        for forged in (attacker, f"{victim}, {attacker}", f"::ffff:{attacker}"):
            said = await guess(door, uuid, wrong(code), X_Forwarded_For=forged)
            assert said.status_code == 429
        assert word_of(await guess(door, uuid, wrong(code), X_Forwarded_For=victim)) == "wrong"
        prefix = "2001:db8:1:2"
        for n in range(LIMIT):
            uuid, code = left[40 + n]
            said = await guess(door, uuid, wrong(code), X_Forwarded_For=f"{prefix}:{n:x}::1")
            assert word_of(said) == "wrong"
        said = await guess(door, *left[75], X_Forwarded_For=f"{prefix}:ffff::1")
        assert said.status_code == 429  # one /64 is one
        said = await guess(door, *left[75], X_Forwarded_For="2001:db8:1:3::1")
        assert word_of(said) == "accepted"

    http = 'trusted_proxies = ["127.0.0.0/8"]'
    with rest_server(tmp_path / "server", rest=PLENTY, http=http) as (server, credentials):
        through_door(server, credentials, run)
