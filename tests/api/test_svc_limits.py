"""The limits of the svc face over real HTTP: what a caller hears, and what it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.svc_stage import (
    CHANGE,
    EMAIL,
    OTHER_EMAIL,
    SEND,
    UNKNOWN_EMAIL,
    VERIFY,
    svc_stage,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("each_http")


async def test_limits_of_sends(tmp_path: Path) -> None:
    """429 with what to wait for; an e-mail without an account is charged alike."""
    async with svc_stage("memory:", tmp_path, account_limit=((2, 60_000),)) as svc:
        caller = await svc.bound()
        for email in (EMAIL, UNKNOWN_EMAIL):
            for _ in range(2):
                await caller.send(email)
            given = {"email": email, "socket_id": caller.socket_id}
            response = await caller.ask(SEND, given)
            assert (response.status_code, response.json()["error"]) == (429, "RATE_LIMITED")
            assert 50 < int(response.headers["Retry-After"]) <= 60
            assert response.headers["RateLimit-Policy"].endswith(', "code-account-60";q=2;w=60')
            assert ', "code-account-60";r=0;t=' in response.headers["RateLimit"]
        assert (await caller.send(OTHER_EMAIL))["status"] == "ok"


async def test_a_refused_address_is_told_nothing_of_accounts(tmp_path: Path) -> None:
    """Neither headers nor waits tell an e-mail that was used from a fresh one."""
    limits: dict[str, object] = {
        "account_limit": ((2, 90_000),),
        "sends_limit": ((2, 60_000),),
    }
    async with svc_stage("memory:", tmp_path, **limits) as svc:
        caller = await svc.bound()
        for _ in range(2):
            await caller.send(EMAIL)
        told = []
        for email in (EMAIL, OTHER_EMAIL):
            response = await caller.ask(SEND, {"email": email, "socket_id": caller.socket_id})
            assert response.status_code == 429
            assert int(response.headers["Retry-After"]) <= 60
            told.append([response.headers[name] for name in ("RateLimit-Policy", "RateLimit")])
        assert told[0][0] == told[1][0] == '"code-address-60";q=2;w=60'
        assert all(each[1].startswith('"code-address-60";r=0;t=') for each in told)
        assert all("," not in each[1] for each in told)


async def test_limits_of_calls(tmp_path: Path) -> None:
    """Of any service, by both methods, before anything is read; a service that is none is none."""
    async with svc_stage("memory:", tmp_path, calls_limit=((4, 60_000),)) as svc:
        caller = await svc.bound()
        await caller.ask("otp.nothing", {})
        for given in ({}, {"email": EMAIL}):
            assert (await caller.error(SEND, given))[0] == 412
        assert (await caller.send())["status"] == "ok"
        for service in (SEND, VERIFY, CHANGE, "bootstrap.authn", "session.sign_in"):
            for method in ("POST", "GET") if service == SEND else ("POST",):
                response = await caller.ask(service, {}, method=method)
                assert (response.status_code, response.json()["error"]) == (429, "RATE_LIMITED")
                assert response.json()["__ack__"] == service
                assert 50 < int(response.headers["Retry-After"]) <= 60
                assert response.headers["RateLimit-Policy"] == '"svc-address-60";q=4;w=60'
        svc.world.clock.shift_ms += 61_000
        assert (await caller.send())["status"] == "ok"


async def test_limits_of_wrong_codes(tmp_path: Path) -> None:
    async with svc_stage("memory:", tmp_path, wrong_limit=((4, 60_000),)) as svc:
        caller = await svc.bound()
        secret, code = await caller.code()
        for _ in range(4):
            await caller.verify("a" * 22, code)
        given = caller.change(secret, code)
        assert await caller.error(CHANGE, given) == (429, "RATE_LIMITED")
        assert await caller.error(VERIFY, {**given, "email": EMAIL}) == (429, "RATE_LIMITED")
        svc.world.clock.shift_ms += 61_000
        assert (await caller.data(CHANGE, given))["status"] == "ok"
