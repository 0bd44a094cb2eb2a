"""What the keys of the svc face must hold between them."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from otp_server.config.finding import Finding
from otp_server.domain.client import TENANT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otp_server.config.schema import Config

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
_IPV6 = re.compile(r"\[[0-9a-f:.]{2,45}\]")
_DAY_S = 86400
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#*\sA-Z]+")


def check_svc(config: Config) -> Iterator[Finding]:
    """Hubs, origins, times, the cookie, the file of breached passwords."""
    yield from _hubs(config)
    yield from _times(config)
    for place, origin in enumerate(config.svc.allowed_origins):
        if _ORIGIN.fullmatch(origin) is None:
            yield Finding(
                ("svc.allowed_origins",),
                f"{origin!r} is no origin as browsers send them",
                "write scheme, host and a port that is not the scheme's own, no path, such as "
                "https://app.example",
                f"[{place}]",
            )
    if config.server.profile == "production" and not config.svc.cookie_secure:
        yield Finding(
            ("svc.cookie_secure", "server.profile"),
            "a session cookie without Secure can be read on the way; production refuses it",
            "leave it true, and serve over TLS",
        )
    file = config.svc.breached_passwords
    if file and not (os.path.isfile(file) and os.access(file, os.R_OK)):  # noqa: PTH113 - with access
        yield Finding(
            ("svc.breached_passwords",),
            f"{file} cannot be read",
            "name a file this user can read, or leave it empty",
        )


def svc_warnings(config: Config) -> Iterator[tuple[str, str]]:
    """What is allowed in production and yet must be known: the key, and why (requirement 32)."""
    if config.server.profile != "production":
        return
    if config.svc.reveal_accounts:
        yield (
            "svc.reveal_accounts",
            "callers learn which e-mails have accounts, as the contract has it; false hides it",
        )
    if config.svc.get_calls:
        yield (
            "svc.get_calls",
            "GET sends codes and changes passwords, as the contract has it; false refuses it",
        )


def _times(config: Config) -> Iterator[Finding]:
    """Sent codes are counted again at a start from the processes that are kept."""
    svc, keep_days = config.svc, config.rest.keep_days
    longest = max(seconds for _, seconds in svc.limits)
    if keep_days * _DAY_S < longest:
        yield Finding(
            ("rest.keep_days", "svc.limits"),
            f"{keep_days} days are shorter than a window of svc.limits ({longest} s)",
            f"give {-(-longest // _DAY_S)} or more, or a shorter window",
        )
    if svc.delivery_wait_s >= svc.answer_s:
        yield Finding(
            ("svc.delivery_wait_s", "svc.answer_s"),
            f"{svc.delivery_wait_s} s are no less than svc.answer_s ({svc.answer_s})",
            "wait shorter than a call may take",
        )


def _hubs(config: Config) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for place, (host, organisation) in enumerate(config.svc.hubs):
        if _NAME.fullmatch(host) is None and _IPV6.fullmatch(host) is None:
            yield Finding(
                ("svc.hubs",),
                f"{host!r} is no host name",
                "write it in lower case without a port, such as a.example",
                f"[{place}][0]",
            )
        elif host in seen:
            yield Finding(
                ("svc.hubs",),
                f"{host} is the hub of [{seen[host]}] already",
                "name each host once",
                f"[{place}][0]",
            )
        seen[host] = place
        if TENANT.fullmatch(organisation) is None:
            yield Finding(
                ("svc.hubs",),
                f"{organisation!r} is no organisation",
                "give 1 to 63 of a-z 0-9 _ -, and begin with a letter or digit",
                f"[{place}][1]",
            )
