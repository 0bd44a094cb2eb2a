"""A served rest face, and a back end that holds each answer against the document."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from otp_server.api.rest.envelope import QUOTA_EXCEEDED
from otp_server.domain.client import Scope
from otp_server.stores import open_store
from tests.support.back_end import BackEnd
from tests.support.rest_world import RestWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx2

EMAIL = {"type": "email-verification", "email": "email@example.com"}
BOTH = {**EMAIL, "type": "phone-verification", "mobilePhone": "+447400123456"}
TYPES, ROUTES, TEMPLATES = (
    f"/api/otp/crud/{folder}"
    for folder in ("challenge-types", "challenge-types-routes", "templates")
)
UNKNOWN = "00000000-0000-4000-8000-000000000000"
_PLACE = re.compile(r"\{[a-z]+\}")


@dataclass
class Stage:
    """A served face; every answer is held against the document."""

    world: RestWorld
    http: httpx2.AsyncClient
    back_end: BackEnd
    document: dict[str, Any]

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: dict[str, str] | None = None,
    ) -> httpx2.Response:
        response = await self.back_end.call(method, path, body, headers=headers)
        self.check(response)
        return response

    def check(self, response: httpx2.Response) -> None:
        """The document names this answer's status, type and error code."""
        assert response.headers["Cache-Control"] == "no-store"
        path, method = response.request.url.path, response.request.method.lower()
        for pattern, methods in self.document["paths"].items():
            literal = _PLACE.sub(r"[^/]+", pattern.removeprefix("/api"))
            if method in methods and re.fullmatch(literal, path.removeprefix("/api")):
                said = methods[method]["responses"][str(response.status_code)]
                [(media_type, content)] = said["content"].items()
                assert response.headers["Content-Type"] == media_type
                answer = response.json()
                if answer["status"] == "error":
                    assert answer["error"]["code"].lower() in content["examples"]
                return
        assert response.status_code in (404, 405)

    async def refused(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        response = await self.ask(method, path, body)
        return response.status_code, error_of(response)["code"]

    async def init(self, body: object) -> str:
        response = await self.ask("POST", "/otp/init", body)
        assert response.is_success, response.text
        uuid: str = response.json()["data"]["uuid"]
        return uuid

    async def wrong(self, uuid: str) -> str:
        code = await self.world.code_of(uuid)
        return str((int(code) + 1) % 10**6).zfill(6)

    async def attempt(self, uuid: str, code: str) -> httpx2.Response:
        return await self.ask("PUT", f"/otp/{uuid}/attempt", {"code": code})


def error_of(response: httpx2.Response) -> dict[str, Any]:
    """The error of an envelope; everything around it as it must be."""
    answer = response.json()
    assert list(answer) == ["status", "timestamp", "data", "error"]
    assert (answer["status"], answer["data"]) == ("error", None)
    error: dict[str, Any] = answer["error"]
    named = f"urn:otp-server:error:{error['code'].lower()}"
    assert error["type"] == (QUOTA_EXCEEDED if error.get("violatedPolicies") else named)
    assert error["message"]
    return error


@asynccontextmanager
async def stage_over(url: str, tmp_path: Path, **more: Any) -> AsyncIterator[Stage]:  # noqa: ANN401 - a world's
    store = await open_store(url, tmp_path)
    world = RestWorld(store, **more)
    token = await world.token()
    async with world.serve() as http:
        document = (await http.get("/openapi.json")).json()
        yield Stage(world, http, BackEnd(http, token), document)
    await store.aclose()


OPERATIONS = [
    ("POST", "/otp/handshake", EMAIL, Scope.RUN),
    ("POST", "/otp/init", EMAIL, Scope.RUN),
    ("PUT", f"/otp/{UNKNOWN}/attempt", {"code": "123456"}, Scope.RUN),
    ("GET", "/otp/email-verification", None, Scope.ADMIN),
    ("POST", "/otp/email-verification", {}, Scope.ADMIN),
    ("GET", TYPES, None, Scope.ADMIN),
    ("POST", ROUTES, {}, Scope.ADMIN),
    ("DELETE", f"{TEMPLATES}/1", None, Scope.ADMIN),
]
"""One call of each sort, and the scope that it needs."""
