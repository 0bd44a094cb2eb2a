"""No code, secret, session, password or e-mail of the svc face where it must not be (6, 66, 86).

One run does all that a web client and a stranger may do, keeps every secret, and then searches
everything written, logged, measured and refused for them. The development outbox, which holds
messages as they go out, is not looked at.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import trio

from otp_server.services.resets import ResetService
from otp_server.services.sessions import SessionService
from tests.support.canaries import leaks
from tests.support.outbox import Outbox
from tests.support.secret_places import key_bytes, written
from tests.support.served import captured_logs, serve
from tests.support.server_process import ServerProcess
from tests.support.web_client import WebClient, add_user, open_web_client, try_upgrade

if TYPE_CHECKING:
    from pathlib import Path

TEST_S = 120.0
SVC = """
[svc]
calls_per_address = [[10000, 60]]
limits = [[1000, 60]]
attempts_per_address = [[1000, 60]]
sign_ins_per_account = [[1000, 60]]
"""
EMAIL, STRANGER = "canary.person@example.com", "canary.nobody@example.com"
OLD, NEW, WEAK = "an old canary password", "a new canary password", "canary.person@example.com"
WRONG_SECRET = "CanarySecretOfNobody22"


class Play:
    """Every secret that comes up, and every answer that is a refusal."""

    def __init__(self, server: ServerProcess, client: WebClient) -> None:
        self.client = client
        self.outbox = Outbox(server.data_dir / "outbox.jsonl")
        self.url = server.http_url
        self.codes: list[str] = []
        self.secrets = [EMAIL, STRANGER, OLD, NEW, WRONG_SECRET]
        self.refusals = b""

    async def call(self, service: str, parameters: dict[str, Any], **more: str) -> Any:  # noqa: ANN401 - JSON
        answer = await self.client.call(service, parameters, **more)
        self.secrets.append(self.client.cookie)
        said = answer.json()
        if answer.is_error or "error" in said["data"]:
            self.refusals += f"{answer.headers}".encode() + answer.content
        return said

    async def run(self) -> None:
        token = (await self.call("bootstrap.authn", {}))["data"]["token"]
        self.secrets.append(token)
        async with self.client.socket(token):
            await self.reset()
            await self.wrong_things()
        await self.strange_upgrades(token)
        await self.call("session.sign_out", {})
        await self.call("session.sign_in", {"email": EMAIL, "password": OLD})
        await self.call("session.sign_in", {"email": EMAIL, "password": NEW})

    async def reset(self) -> None:
        socket_id = self.client.socket_id
        for method in ("POST", "GET"):
            sent = await self.call(
                "otp.send", {"email": EMAIL, "socket_id": socket_id}, method=method
            )
            code, secret = self.outbox.to(EMAIL)[-1].code, sent["data"]["secret"]
            self.codes.append(code)
            self.secrets.append(secret)
        proof = {"code": code, "secret": secret, "socket_id": socket_id}
        wrong = {**proof, "code": f"{(int(code) + 1) % 10**6:06}"}
        self.codes.append(wrong["code"])
        for tried in (wrong, proof):
            for method in ("POST", "GET"):
                await self.call("otp.verify", {"email": EMAIL, **tried}, method=method)
        for password in (WEAK, NEW):
            await self.call("otp.set_password", {"uid": EMAIL, "password": password, **proof})
        await self.call("otp.set_password", {"uid": EMAIL, "password": NEW, **proof})

    async def wrong_things(self) -> None:
        """What is secret, wherever it does not belong."""
        code, secret = self.codes[0], self.secrets[-1]
        for service in ("otp.send", "otp.verify", "otp.set_password", "session.sign_in"):
            for parameters in (
                {"email": f"{code}@", "uid": f"{EMAIL}\x00", "socket_id": secret},
                {"email": STRANGER, "uid": STRANGER, "socket_id": self.client.socket_id},
                {"email": [EMAIL], "uid": {EMAIL: secret}, "password": [NEW], "code": [code]},
                {"email": EMAIL, "code": code * 200, "secret": secret * 200, "password": NEW * 50},
            ):
                common = {"code": code, "secret": WRONG_SECRET, "password": NEW, "uid": EMAIL}
                await self.call(service, {**common, **parameters})
        http = self.client.http
        for path in (f"/-/svc/otp.{secret}", f"/-/svc/{EMAIL}", f"/-/{secret}"):
            for content in (b"{", f'{{"code": "{code}", "code": "{code}"}}'.encode(), b"\xff"):
                headers = {"Content-Type": "application/json", "Cookie": f"regsid={secret}"}
                answer = await http.post(path, content=content, headers=headers)
                assert answer.is_error
                self.refusals += answer.content

    async def strange_upgrades(self, used_token: str) -> None:
        for query in (f"?otak={used_token}", f"?otak={self.secrets[-1]}", f"?otak={NEW}&otak=x"):
            assert await try_upgrade(self.url, query.replace(" ", "%20")) in (400, 401)


def found_codes(codes: list[str], places: dict[str, bytes]) -> list[str]:
    """Where a code stands by itself; six digits within a longer number are chance."""
    return [
        f"{place}: {code}"
        for code in codes
        for place, content in places.items()
        if re.search(rb"(?<![0-9a-fA-F.])" + code.encode() + rb"(?![0-9a-fA-F])", content)
    ]


async def test_nothing_secret_is_written_anywhere(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server", more=SVC)
    with trio.fail_after(TEST_S):
        await trio.to_thread.run_sync(server.start)
        try:
            await trio.to_thread.run_sync(lambda: add_user(server.config, EMAIL, OLD))
            async with open_web_client(server.http_url) as client:
                play = Play(server, client)
                await play.run()
            metrics = httpx2.get(f"{server.ops_url}/metrics", trust_env=False).content
            running = written(server)
        finally:
            await trio.to_thread.run_sync(server.kill)
    killed = written(server)
    for places in (running, killed):
        assert b"otp.db-wal" in [name.encode() for name in places]
        del places["outbox.jsonl"]
    assert len(set(play.codes)) > 2
    assert play.refusals.count(b"wrong-otp") >= 1
    assert len(play.refusals) > 5_000
    secrets = [*dict.fromkeys(secret for secret in play.secrets if secret), *key_bytes(server)]
    for places in (running, killed, {"metrics": metrics}):
        assert leaks(secrets, places) == []
        assert found_codes(play.codes, places) == []
    # A refusal may give an e-mail back to who sent it, and nothing else.
    kept = [secret for secret in secrets if secret not in (EMAIL, STRANGER)]
    assert leaks(kept, {"refusals": play.refusals}) == []


class BugError(Exception):
    """A bug that says more than it should."""


async def test_a_crash_tells_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each service, with a code, a secret and an e-mail in the text."""
    server = ServerProcess(tmp_path / "server", more=SVC)
    text = f"with 481516 {EMAIL} {WRONG_SECRET}"
    with captured_logs() as logs, trio.fail_after(TEST_S):
        async with (
            serve(server.config) as served,
            open_web_client(served.http_url) as client,
            client.socket(),
        ):

            async def broken(*_given: object, **_named: object) -> Any:  # noqa: ANN401 - never
                raise RuntimeError(text) from BugError(text)

            for service, method in (
                (ResetService, "send_many"),
                (ResetService, "check_many"),
                (ResetService, "change_many"),
                (SessionService, "sign_in"),
            ):
                monkeypatch.setattr(service, method, broken)
            proof = {"code": "481516", "secret": WRONG_SECRET, "socket_id": client.socket_id}
            answers = [
                await client.call("otp.send", {"email": EMAIL, **proof}),
                await client.call("otp.verify", {"email": EMAIL, **proof}),
                await client.call("otp.set_password", {"uid": EMAIL, "password": NEW, **proof}),
                await client.call("session.sign_in", {"email": EMAIL, "password": NEW}),
            ]
    assert [each.status_code for each in answers] == [500] * len(answers)
    assert {each.json()["error"] for each in answers} == {"INTERNAL_ERROR"}
    assert logs.getvalue().count("BugError") >= len(answers)
    places = {
        "log": logs.getvalue().encode(),
        "answers": b"".join(each.content for each in answers),
    }
    assert leaks([EMAIL, WRONG_SECRET], places) == []
    assert found_codes(["481516"], places) == []
