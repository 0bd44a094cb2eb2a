"""One device gets a code, one app confirms it, a second time is refused."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

import trio

from otp_server.simulator.demo_steps import send, step
from otp_server.simulator.device import SimulationError, connect

if TYPE_CHECKING:
    from otp_server.services.devices import DeviceService


async def show_device(devices: DeviceService, device_url: str, http_url: str) -> None:
    """Run the steps; SimulationError names the first that went wrong."""
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
        status, body = await send("POST", url, {"otp": answer.otp})
        if status != http.client.OK:
            raise SimulationError(f"the confirmation was answered {status} {body}")
        step(f"6. confirmed: 200, an API token of {len(body['token'])} characters")
        status, body = await send("POST", url, {"otp": answer.otp})
        if status != http.client.NOT_FOUND:
            raise SimulationError(f"the second confirmation was answered {status} {body}")
        step(f"7. the same code again is refused: {status} {body['message']}")
