"""What the demonstrations share: printed steps, and HTTP with the standard library alone."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import trio

from otp_server.simulator.device import SimulationError

if TYPE_CHECKING:
    from collections.abc import Mapping

_HTTP_S = 10


def step(text: str) -> None:
    """Print a step."""
    print(text, flush=True)


def request(
    method: str, url: str, body: bytes, headers: Mapping[str, str]
) -> tuple[int, dict[str, Any]]:
    """One request and its JSON answer; blocks. SimulationError when nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=_HTTP_S)
    try:
        connection.request(method, parts.path, body, dict(headers))
        response = connection.getresponse()
        answer: dict[str, Any] = msgspec.json.decode(response.read())
    except OSError as error:
        raise SimulationError(
            f"cannot reach {url}: {error}. Is `make serve` running in another terminal?"
        ) from error
    finally:
        connection.close()
    return response.status, answer


async def send(
    method: str, url: str, body: object, headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """The same with a JSON body, beside other tasks."""
    sent = {"Content-Type": "application/json", **(headers or {})}
    return await trio.to_thread.run_sync(request, method, url, msgspec.json.encode(body), sent)
