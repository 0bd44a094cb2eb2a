"""The demonstration: one device gets a code, one app confirms it, a second time is refused.

``python -m otp_server.simulator.demo`` beside a running server of the same installation. Speaks to
the server as any client would: WebSocket and HTTP; only the device is registered locally.
"""

from __future__ import annotations

import http.client
import os
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import trio

from otp_server.config import load_config
from otp_server.errors import OtpServerError
from otp_server.registry import open_registry
from otp_server.simulator.device import SimulationError, connect

if TYPE_CHECKING:
    from otp_server.config import Config

_HTTP_S = 10


def step(text: str) -> None:
    """Print a step."""
    print(text, flush=True)


def post(url: str, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """POST JSON with the standard library alone; blocks."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=_HTTP_S)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", parts.path, msgspec.json.encode(body), headers)
        response = connection.getresponse()
        answer: dict[str, Any] = msgspec.json.decode(response.read())
    except OSError as error:
        raise SimulationError(
            f"cannot reach {url}: {error}. Is `make serve` running in another terminal?"
        ) from error
    finally:
        connection.close()
    return response.status, answer


async def demonstrate(config: Config, device_url: str, http_url: str) -> None:
    """Run the steps; SimulationError names the first that went wrong."""
    async with open_registry(config) as devices:
        device, token = await devices.add(None, "demonstration")
        step(f"1. the operator registers device {device.device_id}")
        try:
            await _show(device_url, http_url, token)
        finally:
            with trio.CancelScope(shield=True):
                await devices.revoke(device.device_id)
        step("8. the operator revokes the device")


async def _show(device_url: str, http_url: str, token: str) -> None:
    async with connect(device_url, token) as connection:
        step(f"2. the device opens {device_url} with its token")
        await connection.ask()
        step("3. the device sends OTP_REQUEST        13 03 00")
        answer = await connection.answer()
        if answer.error:
            raise SimulationError(f"the server answered the error {answer.error!r}")
        step(f"4. OTP_RESPONSE arrives; the device shows  {answer.otp}")
        url = http_url + "/device/otp/confirm"
        step(f'5. the app sends POST {url} {{"otp": "{answer.otp}"}}')
        status, body = await trio.to_thread.run_sync(post, url, {"otp": answer.otp})
        if status != http.client.OK:
            raise SimulationError(f"the confirmation was answered {status} {body}")
        step(f"6. confirmed: 200, an API token of {len(body['token'])} characters")
        status, body = await trio.to_thread.run_sync(post, url, {"otp": answer.otp})
        if status != http.client.NOT_FOUND:
            raise SimulationError(f"the second confirmation was answered {status} {body}")
        step(f"7. the same code again is refused: {status} {body['message']}")


def main() -> int:
    """0 when every step went as it should."""
    failed = 0
    try:
        config = load_config(None, os.environ)
        device_url = f"ws://{config.device.listen}{config.device.path}"
        trio.run(demonstrate, config, device_url, f"http://{config.http.listen}")
    except* OtpServerError as group:
        failed = 1
        for error in group.exceptions:
            print(f"demo: {error}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
