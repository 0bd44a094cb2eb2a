"""Whose client a request is: by the header ``Host`` and nothing else (contracts B2, ruling D20).

``X-Forwarded-Host`` is not read: a proxy before us must pass ``Host`` on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from otp_server.api.operation import ApiError
from otp_server.domain.account import MAIN_ORGANISATION
from otp_server.errors import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_AUTHORITY = re.compile(
    r"(?P<host>[a-z0-9_-][a-z0-9._-]{0,252}?|\[[0-9a-f:.]{2,45}\])\.?(:(?P<port>[0-9]{1,5}))?"
)

_PORTS = {"http": 80, "https": 443}


class Hubs:
    """The organisations of host names."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._organisations = dict(pairs)

    def organisation_of(self, host: str) -> str:
        """The organisation of a hub; any other host is of the main one."""
        return self._organisations.get(host, MAIN_ORGANISATION)


def authority_of(headers: Mapping[str, str], scheme: str) -> str:
    """The host a request came to, in lower case, and its port unless that is the scheme's own.

    Header names are lower case. Raises ApiError ``malformed`` when there is none to be read.
    """
    found = _read(headers)
    own = found["port"] is None or int(found["port"]) == _PORTS[scheme]
    return found["host"] if own else f"{found['host']}:{found['port']}"


def host_of(headers: Mapping[str, str]) -> str:
    """As ``authority_of``, without any port. A last dot is not part of it."""
    return _read(headers)["host"]


def _read(headers: Mapping[str, str]) -> re.Match[str]:
    found = _AUTHORITY.fullmatch(headers.get("host", "").lower())
    if found is None:
        raise ApiError(ErrorKind.MALFORMED, "The header Host cannot be read.")
    return found
