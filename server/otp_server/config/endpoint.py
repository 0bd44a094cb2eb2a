"""Where a listener listens: ``HOST:PORT`` or ``[IPV6]:PORT``; port 0 lets the system choose."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_DIGITS = re.compile(r"[0-9]{1,5}")
_PORT_MAX = 65535


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host (an address or a name, without brackets) and a TCP port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: object) -> Endpoint:
        """Read the written form.

        Raises:
            ValueError: it is not one; the message says what is wrong.
        """
        if not isinstance(text, str):
            raise ValueError(f"expected a string, got {type(text).__name__}")  # noqa: TRY004 - documented
        host, colon, port = text.rpartition(":")
        if not colon or not port:
            raise ValueError(f"{text!r} has no port")
        if _DIGITS.fullmatch(port) is None or int(port) > _PORT_MAX:
            raise ValueError(f"{text!r} has a port that is not a number from 0 to {_PORT_MAX}")
        if host.startswith("[") and host.endswith("]"):
            try:
                host = str(IPv6Address(host[1:-1]))
            except ValueError:
                raise ValueError(f"{text!r} has no IPv6 address in its brackets") from None
        elif ":" in host:
            raise ValueError(f"{text!r} has an IPv6 address without brackets")
        elif _HOST_NAME.fullmatch(host) is None:
            raise ValueError(f"{text!r} has no host")
        elif host.replace(".", "").isdigit():
            try:
                host = str(ip_address(host))
            except ValueError:
                raise ValueError(f"{text!r} has no valid IPv4 address") from None
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it. A name other than ``localhost`` is not trusted."""
        if self.host.lower() == "localhost":
            return True
        try:
            address = ip_address(self.host)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            return address.ipv4_mapped.is_loopback
        return address.is_loopback
