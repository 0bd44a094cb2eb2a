"""The device face and its HTTP side, from the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.api.device.face import FaceOptions
from otp_server.api.device.http import DeviceHttp, DeviceHttpOptions
from otp_server.domain.address import parse_networks

if TYPE_CHECKING:
    from otp_server.api.web import WebOptions
    from otp_server.app.services import Services
    from otp_server.config import Config
    from otp_server.telemetry import Metrics

_ANSWER_MARGIN_S = 0.5
"""How long before the promised deadline an answer is given up, so that it still arrives in time."""


def answer_s(config: Config) -> float:
    """When an answer is given up, in seconds after its request."""
    deadline_s = config.device.deadline_s
    return deadline_s - min(_ANSWER_MARGIN_S, deadline_s / 4)


def face_options(config: Config) -> FaceOptions:
    """What the device face is told."""
    device = config.device
    return FaceOptions(
        answer_s=answer_s(config),
        connections_per_address=device.max_connections_per_address,
        connections_per_device=device.max_connections_per_device,
        void_on_disconnect=device.void_on_disconnect,
        allowed_origins=frozenset(device.allowed_origins),
        trusted_proxies=parse_networks(config.http.trusted_proxies),
    )


def device_http(
    config: Config, services: Services, web: WebOptions, metrics: Metrics
) -> DeviceHttp:
    """The HTTP side of the device face."""
    return DeviceHttp(
        options=DeviceHttpOptions(
            web=web,
            code_length_min=config.device.code_length,
            code_length_max=config.device.code_length_max,
            answer_s=answer_s(config),
        ),
        issue=services.issue,
        confirm=services.confirm,
        devices=services.devices,
        presence=services.presence,
        tokens=services.tokens,
        clock=services.clock,
        metrics=metrics,
    )
