"""Every HTTP operation on one application, and the document of them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otp_server.api.docs import docs_operations
from otp_server.api.mount import mount
from otp_server.core import __version__

if TYPE_CHECKING:
    from otp_server.api.device.http import DeviceHttp
    from otp_server.api.operation import Operation
    from otp_server.api.web import HttpApp
    from otp_server.app.rest import RestFace
    from otp_server.app.svc import SvcFace


def mount_operations(
    app: HttpApp, device: DeviceHttp, rest: RestFace, svc: SvcFace
) -> list[Operation[Any, Any]]:
    """Mount the faces, ``/openapi.json`` and ``/docs``; everything that was mounted."""
    operations = [*device.operations(), *rest.operations(), *svc.operations()]
    shown = docs_operations(operations, version=__version__)
    mount(app, operations, rest.directory)
    mount(app, shown)
    return [*operations, *shown]
