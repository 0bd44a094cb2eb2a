"""A back end verifies an e-mail address: init, the message, a wrong attempt, the right one."""

from __future__ import annotations

import http.client
import re
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
import trio

from otp_server.simulator.demo_steps import request, send, step
from otp_server.simulator.device import SimulationError

if TYPE_CHECKING:
    from pathlib import Path

    from otp_server.services.clients import ClientService

_TYPE = "email-verification"  # one of an installation's examples
_DELIVERED_S = 5.0
_LOOK_AGAIN_S = 0.05
_CODE = re.compile(r"\b\d{6}\b")


async def show_process(clients: ClientService, outbox: Path, http_url: str) -> None:
    """Run the steps; SimulationError names the first that went wrong."""
    client, secret = await clients.add("demonstration")
    step(f"1. the operator registers API client {client.client_id}")
    try:
        await _show(outbox, http_url, client.client_id, secret)
    finally:
        with trio.CancelScope(shield=True):
            await clients.revoke(client.client_id)
    step("8. the operator revokes the client")


async def _show(outbox: Path, http_url: str, client_id: str, secret: str) -> None:
    token = await _token(http_url, client_id, secret)
    headers = {"bsauth": token}
    contact = f"reader-{secrets.token_hex(4)}@example.com"
    body = {"type": _TYPE, "email": contact}
    step(f"3. POST {http_url}/otp/init {msgspec.json.encode(body).decode()}")
    started = _data(await send("POST", f"{http_url}/otp/init", body, headers))
    uuid = started["uuid"]
    step(f"4. process {uuid} is stored; its code goes out by {started['channel']}")
    message = await _message(outbox, uuid)
    step(f"5. {outbox} holds the message to {message['to']}: {message['subject']!r}")
    found = _CODE.search(message["text"])
    if found is None:
        raise SimulationError("the message holds no code of six digits")
    code = found[0]
    url = f"{http_url}/otp/{uuid}/attempt"
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    answer = _data(await send("PUT", url, {"code": wrong}, headers))
    step(f"6. PUT .../attempt with a wrong code {wrong}: accepted is {answer['accepted']}")
    answer = _data(await send("PUT", url, {"code": code}, headers))
    step(f"7. PUT .../attempt with the right one  {code}: accepted is {answer['accepted']}")
    if answer["accepted"] is not True:
        raise SimulationError("the right code was not accepted")


async def _token(http_url: str, client_id: str, secret: str) -> str:
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": secret,
    }
    url = f"{http_url}/oauth/token"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    body = urlencode(form).encode()
    status, answer = await trio.to_thread.run_sync(request, "POST", url, body, headers)
    if status != http.client.OK:
        raise SimulationError(f"{url} was answered {status} {answer}")
    step(f"2. POST {url}: a token for {answer['expires_in']} s")
    return str(answer["access_token"])


def _data(answered: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    status, answer = answered
    if status != http.client.OK:
        raise SimulationError(f"a request was answered {status} {answer}")
    data: dict[str, Any] = answer["data"]
    return data


async def _message(outbox: Path, uuid: str) -> dict[str, Any]:
    """The process's message, once the worker has delivered it."""
    with trio.move_on_after(_DELIVERED_S):
        while True:
            message = await trio.to_thread.run_sync(_find, outbox, uuid)
            if message is not None:
                return message
            await trio.sleep(_LOOK_AGAIN_S)
    raise SimulationError(
        f"no message of the process in {outbox}: the demonstration needs delivery.email.kind = "
        '"outbox", as in the development profile'
    )


def _find(outbox: Path, uuid: str) -> dict[str, Any] | None:
    lines = outbox.read_bytes().splitlines() if outbox.exists() else []
    messages = (msgspec.json.decode(line) for line in lines)
    return next((message for message in messages if message["process"] == uuid), None)
