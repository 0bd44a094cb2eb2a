"""A back end of the rest face: it has a client's id and secret and speaks HTTP, nothing else."""

from __future__ import annotations

import json
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2

from tests.support.server_process import COMMAND

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

WAIT_S = 30.0


@dataclass(frozen=True)
class Credentials:
    """What ``key add`` printed."""

    client_id: str
    client_secret: str


def add_key(
    config: Path, *, tenant: str = "default", scope: str = "otp.run,otp.admin"
) -> Credentials:
    """Register a client as an operator does."""
    said = subprocess.run(
        [
            *COMMAND,
            "key",
            "add",
            "--tenant",
            tenant,
            "--scope",
            scope,
            "--json",
            "--config",
            config,
        ],
        capture_output=True,
        check=True,
        timeout=60,
    )
    answer = json.loads(said.stdout)
    return Credentials(answer["client_id"], answer["client_secret"])


@dataclass
class BackEnd:
    """Calls with a token. Raises httpx2.HTTPError for a broken connection."""

    http: httpx2.AsyncClient
    token: str

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """One request; ``body`` is sent as JSON when it is not None."""
        sent = {"bsauth": self.token, **(headers or {})}
        if body is None:
            return await self.http.request(method, path, headers=sent, params=params)
        return await self.http.request(method, path, headers=sent, params=params, json=body)

    async def data(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """The ``data`` of an answer that must be good."""
        response = await self.call(method, path, body)
        assert response.is_success, response.text
        return response.json()["data"]

    async def init(self, body: Mapping[str, Any], key: str | None = None) -> httpx2.Response:
        """POST /otp/init."""
        return await self.call(
            "POST", "/otp/init", body, headers={"Idempotency-Key": key} if key else None
        )

    async def attempt(self, uuid: str, code: str, key: str | None = None) -> httpx2.Response:
        """PUT /otp/{uuid}/attempt."""
        return await self.call(
            "PUT",
            f"/otp/{uuid}/attempt",
            {"code": code},
            headers={"Idempotency-Key": key} if key else None,
        )

    async def add_type(
        self, name: str, routes: Sequence[tuple[str, int]], **settings: object
    ) -> dict[str, Any]:
        """Configure a type with these routes, ``(channel, attempts)`` each, in order."""
        made: dict[str, Any] = await self.data(
            "POST", "/api/otp/crud/challenge-types", {"name": name, **settings}
        )
        for order, (channel, attempts) in enumerate(routes):
            words = {"subject": "Your code"} if channel == "email" else {}
            template = await self.data(
                "POST",
                "/api/otp/crud/templates",
                {
                    "name": f"{name}-{order}",
                    "channel": channel,
                    "text": "${answer} it is.",
                    **words,
                },
            )
            await self.data(
                "POST",
                "/api/otp/crud/challenge-types-routes",
                {
                    "challenge_type_id": made["id"],
                    "order": order,
                    "channel": channel,
                    "template_id": template["id"],
                    "attempts": attempts,
                },
            )
        return made


@asynccontextmanager
async def open_back_end(
    http_url: str, credentials: Credentials, *, connections: int = 64
) -> AsyncIterator[BackEnd]:
    """A back end with a fresh token."""
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    async with httpx2.AsyncClient(
        base_url=http_url, limits=limits, timeout=WAIT_S, trust_env=False
    ) as http:
        answer = await http.post(
            "/oauth/token",
            data={
                "grant_type": "client_credentials",
                "client_id": credentials.client_id,
                "client_secret": credentials.client_secret,
            },
        )
        assert answer.is_success, answer.text
        yield BackEnd(http, answer.json()["access_token"])
