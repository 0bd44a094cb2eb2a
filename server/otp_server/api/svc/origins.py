"""Which web pages may call and open sockets (requirement 59).

A browser says whose page asks in ``Origin``, and whether it is of the same site in
``Sec-Fetch-Site``. The host's own pages may, and those of the origins in the configuration, which
are compared exactly. What is no browser sends neither and is let in: it has no cookie of anybody's.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from otp_server.api.operation import ApiError
from otp_server.api.svc.hubs import authority_of, host_of
from otp_server.errors import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_OTHERS = frozenset({"cross-site", "same-site"})


class Origins:
    """The rule.

    ``tls_only``: pages that came over plain HTTP are none of the host's own, since anybody on the
    way may have written them, unless the host is the machine that asks.
    """

    def __init__(self, allowed: Collection[str], *, tls_only: bool) -> None:
        self._allowed = frozenset(allowed)
        self._tls_only = tls_only

    def admit(self, headers: Mapping[str, str]) -> None:
        """Header names are lower case. Raises ApiError ``forbidden_origin``, or ``malformed``."""
        origin = headers.get("origin")
        if origin is None:
            refused = headers.get("sec-fetch-site", "").strip().lower() in _OTHERS
        else:
            refused = origin not in self._allowed and not self._is_own(origin, headers)
        if refused:
            raise ApiError(ErrorKind.FORBIDDEN_ORIGIN)

    def _is_own(self, origin: str, headers: Mapping[str, str]) -> bool:
        if origin == f"https://{authority_of(headers, 'https')}":
            return True
        plain = not self._tls_only or is_this_machine(host_of(headers))
        return plain and origin == f"http://{authority_of(headers, 'http')}"


def is_this_machine(host: str) -> bool:
    """Whether a host name or address can only mean the machine that asks."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
