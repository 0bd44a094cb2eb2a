"""The device registry, and organisations that confirm codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from otp_server.cli.frame import AsJson, ConfigFile, show, with_installation
from otp_server.errors import OtpServerError

if TYPE_CHECKING:
    from otp_server.domain.device import Device

device_app = App(name="device", help="The device registry.")
org_app = App(name="org", help="Organisations that confirm codes (confirm v2).")


@device_app.command(name="add")
def device_add(
    *,
    id: Annotated[str | None, Parameter(help="Its id; without one, a random id.")] = None,  # noqa: A002 - the flag's name
    name: Annotated[str, Parameter(help="A name for people.")] = "",
    config: ConfigFile = None,
    json: AsJson = False,
) -> None:
    """Register a device and print its token, which is shown only this once."""
    device, token = with_installation(config, lambda here: here.devices.add(id, name), new=True)
    answer = {"device_id": device.device_id, "token": token, "device_key": device.device_key}
    show(answer, json, f"device {device.device_id}\ntoken  {token}\n(the token is not shown again)")


@device_app.command(name="list")
def device_list(*, config: ConfigFile = None, json: AsJson = False) -> None:
    """Print every device, revoked ones too."""
    found = with_installation(config, lambda here: here.devices.list_all(), new=False)
    rows = [_row(device) for device in found]
    lines = [f"{'DEVICE':40} {'STATE':8} {'DEVICE KEY':32} NAME"]
    lines += [
        f"{row['device_id']:40} {'revoked' if row['revoked'] else 'active':8} "
        f"{row['device_key']:32} {row['name']}"
        for row in rows
    ]
    show({"devices": rows}, json, "\n".join(lines))


def _row(device: Device) -> dict[str, Any]:
    return {
        "device_id": device.device_id,
        "name": device.name,
        "device_key": device.device_key,
        "created_at_ms": device.created_at_ms,
        "org_id": device.org_id,
        "revoked": device.revoked,
    }


@device_app.command(name="revoke")
def device_revoke(device_id: str, /, *, config: ConfigFile = None, json: AsJson = False) -> None:
    """Revoke a device for ever: its code ends at once, its socket closes within a second."""
    if not with_installation(config, lambda here: here.devices.revoke(device_id), new=False):
        raise OtpServerError(f"there is no device {device_id!r}: see otp-server device list")
    show({"device_id": device_id, "revoked": True}, json, f"device {device_id} is revoked")


@org_app.command(name="add")
def org_add(name: str, /, *, config: ConfigFile = None, json: AsJson = False) -> None:
    """Register an organisation and print its key, which is shown only this once."""
    organisation, org_key = with_installation(
        config, lambda here: here.devices.add_organisation(name), new=True
    )
    answer = {"org_key": org_key, "org_id": organisation.org_id}
    show(answer, json, f"organisation {name}\nkey {org_key}\n(the key is not shown again)")
