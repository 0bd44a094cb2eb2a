"""Callers of a served svc face; every answer is held against the document and its shape."""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any

import msgspec

from otp_server.stores import open_store
from tests.support.svc_world import SvcWorld, code_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    import httpx2

SEND, VERIFY, CHANGE = "otp.send", "otp.verify", "otp.set_password"
AUTHN, SIGN_IN, SIGN_OUT = "bootstrap.authn", "session.sign_in", "session.sign_out"
EMAIL = "jane.doe@example.com"
OTHER_EMAIL = "john@example.com"
UNKNOWN_EMAIL = "nobody@example.com"
OLD_PASSWORD = "plum tractor 7 violet"
NEW_PASSWORD = "violet 7 tractor plum"
MEDIA_TYPE = "application/json; charset=utf-8"
_SERVICE = re.compile(r"/-/(?:svc|api)/([a-z_.]+)")


@dataclass
class SvcStage:
    """A served face."""

    world: SvcWorld
    http: httpx2.AsyncClient
    document: dict[str, Any]
    answers: list[httpx2.Response] = field(default_factory=list)

    def caller(self, host: str = "") -> Caller:
        """Somebody without a session."""
        return Caller(self, host)

    async def bound(self, host: str = "") -> Caller:
        """Somebody with a session and an open socket."""
        caller = self.caller(host)
        await caller.authn()
        caller.open_socket()
        return caller

    def check(self, response: httpx2.Response) -> httpx2.Response:
        """The document names this answer's status, type and error, and its shape fits."""
        self.answers.append(response)
        assert response.headers["Cache-Control"] == "no-store"
        request = response.request
        named = _SERVICE.fullmatch(request.url.path)
        entries = self.document["paths"].get(f"/-/svc/{named[1]}" if named else "", {})
        entry = entries.get(request.method.lower())
        if request.method == "HEAD":
            return response
        assert response.headers["Content-Type"] == MEDIA_TYPE
        answer = response.json()
        assert answer["__status__"] in ("online", "offline")
        assert abs(answer["__timestamp__"] - self.world.clock.now_ms()) < 60_000
        if entry is None:
            assert response.status_code in (404, 405)
            return response
        assert named is not None
        assert answer["__ack__"] == named[1]
        said = entry["responses"][str(response.status_code)]["content"][MEDIA_TYPE]
        if response.status_code == 200:
            [operation] = [
                each for each in self.world.operations if each.name == entry["operationId"]
            ]
            fitted = msgspec.convert(answer, operation.answer)
            assert json.loads(msgspec.json.encode(fitted)) == answer  # nothing beside the shape
            assert "error" not in answer
        else:
            words = {each["value"]["error"] for each in said["examples"].values()}
            assert answer["error"].split(":")[0] in words
            assert answer["error_code"] == answer["status"] == response.status_code
        return response


@dataclass
class Caller:
    """A client: its cookie and its socket."""

    stage: SvcStage
    host: str = ""
    session_id: str = ""
    socket_id: str = ""

    async def ask(
        self,
        service: str,
        parameters: Mapping[str, object] | None = None,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        **more: Any,  # noqa: ANN401 - a request's
    ) -> httpx2.Response:
        """One request; parameters are JSON in a POST and the query of anything else."""
        sent = dict(headers or {})
        if self.host:
            sent["Host"] = self.host
        if self.session_id and "Cookie" not in sent:
            sent["Cookie"] = f"theme=dark; regsid={self.session_id}"
        if parameters is not None and method == "POST":
            more["json"] = dict(parameters)
        elif parameters is not None:
            more["params"] = dict(parameters)
        path = service if service.startswith("/") else f"/-/svc/{service}"
        response = await self.stage.http.request(method, path, headers=sent, **more)
        for line in response.headers.get_list("set-cookie"):
            self.session_id = SimpleCookie(line)["regsid"].value
        return self.stage.check(response)

    async def data(
        self,
        service: str,
        parameters: Mapping[str, object] | None = None,
        **more: Any,  # noqa: ANN401 - as above
    ) -> Any:  # noqa: ANN401 - JSON
        """The data of a good answer."""
        response = await self.ask(service, parameters, **more)
        assert response.status_code == 200, response.text
        return response.json()["data"]

    async def error(
        self,
        service: str,
        parameters: Mapping[str, object] | None = None,
        **more: Any,  # noqa: ANN401 - as above
    ) -> tuple[int, str]:
        """Status and word of a bad one."""
        response = await self.ask(service, parameters, **more)
        return response.status_code, response.json()["error"]

    async def authn(self) -> Any:  # noqa: ANN401 - JSON
        return await self.data("bootstrap.authn", {})

    def open_socket(self) -> str:
        self.socket_id = self.stage.world.bind(self.session_id)
        return self.socket_id

    def close_socket(self) -> None:
        self.stage.world.sockets.unbind(self.socket_id)

    async def send(self, email: str = EMAIL, **more: object) -> Any:  # noqa: ANN401 - JSON
        return await self.data("otp.send", {"email": email, "socket_id": self.socket_id, **more})

    async def code(self, email: str = EMAIL) -> tuple[str, str]:
        """Ask for a code and read the mail: secret and code."""
        before = len(self.stage.world.postbox.messages)
        secret = (await self.send(email))["secret"]
        messages = await self.stage.world.postbox.wait(before + 1)
        return secret, code_in(messages[before])

    async def verify(self, secret: str, code: object, email: str = EMAIL) -> Any:  # noqa: ANN401 - JSON
        asked = {"email": email, "code": code, "secret": secret, "socket_id": self.socket_id}
        return await self.data("otp.verify", asked)

    def change(self, secret: str, code: object, uid: str = EMAIL, **more: object) -> dict[str, Any]:
        """The parameters of otp.set_password."""
        return {
            "uid": uid,
            "code": code,
            "secret": secret,
            "password": NEW_PASSWORD,
            "socket_id": self.socket_id,
            **more,
        }

    async def sign_in(self, password: str, email: str = EMAIL) -> httpx2.Response:
        given = {"email": email, "password": password}
        if self.socket_id:
            given["socket_id"] = self.socket_id
        return await self.ask("session.sign_in", given)


def other_than(code: str) -> str:
    """A wrong code."""
    return f"{(int(code) + 1) % 10**6:06d}"


@asynccontextmanager
async def svc_stage(url: str, tmp_path: Path, **more: Any) -> AsyncIterator[SvcStage]:  # noqa: ANN401 - a world's
    """A served face with the accounts EMAIL and OTHER_EMAIL, whose passwords are OLD_PASSWORD."""
    store = await open_store(url, tmp_path)
    world = SvcWorld(store, **more)
    for email in (EMAIL, OTHER_EMAIL):
        await world.base.add(email, password=OLD_PASSWORD)
    async with world.serve() as http:
        document = (await http.get("/openapi.json")).json()
        yield SvcStage(world, http, document)
    await store.aclose()
