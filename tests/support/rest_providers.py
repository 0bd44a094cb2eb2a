"""A real server whose SMS provider and mail server are scripted ones in the test's own Trio run."""

from __future__ import annotations

import json
import re
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any

import trio

from tests.support.back_end import BackEnd, add_key, open_back_end
from tests.support.scripted_http import ScriptedHttp, answer
from tests.support.scripted_smtp import ScriptedSmtp
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CODE = re.compile(r"\b[A-Z0-9]{10}\b")
SETTLED_S = 30.0
PROVIDERS = """
[delivery.email]
kind = "smtp"
host = "127.0.0.1"
port = {mail_port}
security = "none"
from = "no-reply@bank.example"
timeout_s = {timeout_s}
[delivery.sms]
kind = "webhook"
url = "http://127.0.0.1:{sms_port}/sms"
secret = "of-tests-and-long-enough-for-them"
allow_private = true
timeout_s = {timeout_s}
concurrency = 4
"""


@dataclass
class Stage:
    """The server, a back end of it, and both providers."""

    server: ServerProcess
    back_end: BackEnd
    sms: ScriptedHttp
    mail: ScriptedSmtp
    client_secret: str

    async def start(self, type_name: str, **contacts: str) -> str:
        """Init; its uuid."""
        answered = await self.back_end.init({"type": type_name, **contacts})
        assert answered.status_code == 200, answered.text
        return str(answered.json()["data"]["uuid"])

    async def shown(self, type_name: str, uuid: str) -> dict[str, Any]:
        """What search says of a process."""
        found = await self.back_end.data("GET", f"/otp/{type_name}")
        [one] = [each for each in found if each["uuid"] == uuid]
        assert isinstance(one, dict)
        return one

    async def settled(self, type_name: str, uuid: str) -> dict[str, Any]:
        """The same, once none of its messages is on its way."""
        with trio.fail_after(SETTLED_S):
            while True:
                one = await self.shown(type_name, uuid)
                states = [each["status"] for each in one["deliveries"]]
                if not {"queued", "leased"} & set(states):
                    return one
                await trio.sleep(0.05)

    async def tried(self, uuid: str, code: str) -> str:
        """An attempt: accepted, wrong, or the word of its refusal."""
        said = (await self.back_end.attempt(uuid, code)).json()
        if said["status"] == "ok":
            return "accepted" if said["data"]["accepted"] else "wrong"
        return str(said["error"]["code"])

    def sms_of(self, uuid: str) -> list[str]:
        """The codes that the SMS provider was handed for a process, in order."""
        asked = [json.loads(request.body) for request in self.sms.requests]
        return [_code(each["text"]) for each in asked if each["process"] == uuid]

    def mails_of(self, uuid: str, *, seen: bool = False) -> list[str]:
        """The codes of its mails that the mail server took; ``seen``: or only read."""
        codes = []
        for raw in self.mail.seen if seen else self.mail.taken:
            mail = message_from_bytes(raw, policy=policy.default)
            if uuid.replace("-", "") in str(mail["Message-ID"]).replace("-", ""):
                codes.append(code_of_mail(raw))
        return codes


def code_of_mail(raw: bytes) -> str:
    """The code in a mail's words."""
    body = message_from_bytes(raw, policy=policy.default).get_body(("plain",))
    assert body is not None
    return _code(body.get_content())


def _code(text: str) -> str:
    found = CODE.search(text)
    assert found is not None, text
    return found[0]


@dataclass
class Script:
    """What the providers do at first, and how long the server waits for them."""

    timeout_s: float
    rest: str = ""
    sms: ScriptedHttp = field(default_factory=lambda: ScriptedHttp(deque([answer(200)])))
    mail: ScriptedSmtp = field(default_factory=ScriptedSmtp)


@asynccontextmanager
async def open_stage(folder: Path, script: Script) -> AsyncIterator[Stage]:
    """Serve; at the end the server must stop by itself."""
    async with trio.open_nursery() as nursery:
        sms, mail = script.sms, script.mail
        await sms.start(nursery)
        await mail.start(nursery)
        more = PROVIDERS.format(mail_port=mail.port, sms_port=sms.port, timeout_s=script.timeout_s)
        server = ServerProcess(folder, rest=script.rest, more=more)
        credentials = await trio.to_thread.run_sync(lambda: add_key(server.config))
        await trio.to_thread.run_sync(server.start)
        try:
            async with open_back_end(server.http_url, credentials) as back_end:
                yield Stage(server, back_end, sms, mail, credentials.client_secret)
            assert await trio.to_thread.run_sync(server.stop) == 0
        finally:
            server.kill()
        nursery.cancel_scope.cancel()
