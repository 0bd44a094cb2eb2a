"""What keys must hold between them, what this version has not, and what production refuses."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from otp_server.config.finding import Finding
from otp_server.config.limits import code_policy
from otp_server.config.provider_checks import check_delivery
from otp_server.config.rest_checks import check_rest
from otp_server.config.svc_checks import check_svc
from otp_server.domain.address import parse_networks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otp_server.config.schema import Config, DeviceSection, HttpSection


def check_config(config: Config) -> list[Finding]:
    """Everything that is wrong between keys; each finding says which keys it read."""
    return [
        *_transport("device", config.device, "trio-websocket"),
        *_transport("http", config.http, "hypercorn"),
        *_device(config),
        *_proxies(config),
        *_listeners(config),
        *_tls("device", config.device),
        *_tls("http", config.http),
        *check_rest(config),
        *check_svc(config),
        *check_delivery(config),
        *(_production(config) if config.server.profile == "production" else ()),
    ]


def _transport(section: str, values: DeviceSection | HttpSection, other: str) -> Iterator[Finding]:
    """What the native transport cannot do; ``other`` can."""
    path = f"{section}.transport"
    if values.transport != "native":
        return
    if sys.platform != "linux":
        yield Finding((path,), "the native transport needs Linux", f"use {other}")
    if values.tls:
        yield Finding(
            (path, f"{section}.tls_certificate", f"{section}.tls_key"),
            "the native transport does not speak TLS",
            f"use {other}, or put a TLS proxy before it and take the certificate away",
        )


def _device(config: Config) -> Iterator[Finding]:
    device = config.device
    if device.code_length_max < device.code_length:
        yield Finding(
            ("device.code_length_max", "device.code_length"),
            f"{device.code_length_max} is less than device.code_length ({device.code_length})",
            f"give a whole number from {device.code_length} to 12",
        )
        return
    if code_policy(config).length_for({}, 1) is None:
        yield Finding(
            (
                "device.guess_risk",
                "device.code_length",
                "device.code_length_max",
                "device.code_ttl_s",
                "confirm.in_all",
            ),
            f"{device.guess_risk} leaves no room for a single code of "
            f"{device.code_length_max} digits",
            "raise it or device.code_length_max, or lower device.code_ttl_s or confirm.in_all",
        )


def _proxies(config: Config) -> Iterator[Finding]:
    for place, text in enumerate(config.http.trusted_proxies):
        try:
            parse_networks([text])
        except ValueError:
            yield Finding(
                ("http.trusted_proxies",),
                f"{text!r} is no address or network",
                'give addresses or networks, such as ["10.0.0.0/8", "::1"]',
                f"[{place}]",
            )


def _listeners(config: Config) -> Iterator[Finding]:
    taken: dict[object, str] = {}
    for path, endpoint in (
        ("http.listen", config.http.listen),
        ("device.listen", config.device.listen),
        ("ops.listen", config.ops.listen),
    ):
        if endpoint.port and endpoint in taken:
            reason = f"{endpoint} is taken by {taken[endpoint]}"
            yield Finding((path, taken[endpoint]), reason, "give each listener its own port")
        taken.setdefault(endpoint, path)


def _tls(section: str, values: DeviceSection | HttpSection) -> Iterator[Finding]:
    both = (f"{section}.tls_certificate", f"{section}.tls_key")
    files = (values.tls_certificate, values.tls_key)
    for path, other, file, other_file in zip(both, both[::-1], files, files[::-1], strict=True):
        if other_file and not file:
            yield Finding((path, other), f"missing beside {other}", "give both or neither")
        if file and not (os.path.isfile(file) and os.access(file, os.R_OK)):  # noqa: PTH113 - with access
            yield Finding((path,), f"{file} cannot be read", "name a file this user can read")


def _production(config: Config) -> Iterator[Finding]:
    if config.store.url == "memory:":
        yield Finding(
            ("store.url", "server.profile"),
            "the memory store forgets everything at exit; production refuses it",
            "give sqlite:FILE",
        )
    for place, text in enumerate(config.http.trusted_proxies):
        if text.strip().endswith("/0"):
            yield Finding(
                ("http.trusted_proxies", "server.profile"),
                f"{text!r} is everybody: each peer could name the address it is limited by",
                "name the proxies' own addresses",
                f"[{place}]",
            )
    for section, values in (("device", config.device), ("http", config.http)):
        # One file without the other is a problem of its own already.
        if values.listen.is_loopback or values.tls_certificate or values.tls_key:
            continue
        paths = (f"{section}.listen", f"{section}.tls_certificate", f"{section}.tls_key")
        yield Finding(
            (*paths, "server.profile"),
            f"{values.listen} is reached by other machines without TLS; production refuses it",
            "give tls_certificate and tls_key, or listen on a loopback address behind a TLS proxy",
        )
