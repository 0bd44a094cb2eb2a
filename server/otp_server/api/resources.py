"""What every listener does with a request, whatever carries its bytes: which operation, who asks.

A listener finds the resource by the path, reads the request with what is here, and has the
operation answer it. So Quart (``api.mount``) and the reactor (``api.hot``) cannot differ in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from otp_server.api.authentication import caller_of
from otp_server.api.operation import ApiError
from otp_server.domain.address import client_address, shown_peer
from otp_server.errors import ErrorKind, StoreUnavailable
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otp_server.api.authentication import TokenChecker
    from otp_server.api.operation import Caller, ErrorStyle, Operation
    from otp_server.domain.address import Network

QUERY_PARAMETERS_MAX = 256

log = get_logger(__name__)


class Resource:
    """The operations of one path. HEAD is answered as GET, unless the operation says no."""

    def __init__(self, methods: Mapping[str, Operation[Any, Any]]) -> None:
        """``methods`` has at least one."""
        self._served = dict(methods)
        if "GET" in methods and methods["GET"].head:
            self._served["HEAD"] = methods["GET"]
        self._allow = [("Allow", ", ".join(sorted(self._served)))]

    @property
    def error_style(self) -> ErrorStyle:
        """How errors of the path are said."""
        return next(iter(self._served.values())).error_style

    def operation(self, method: str) -> Operation[Any, Any]:
        """The operation; ApiError ``method_not_allowed``."""
        operation = self._served.get(method)
        if operation is None:
            raise ApiError(ErrorKind.METHOD_NOT_ALLOWED, headers=self._allow)
        return operation


def by_path(operations: Sequence[Operation[Any, Any]]) -> dict[str, dict[str, Operation[Any, Any]]]:
    """The operations by path and method; ValueError when two share both."""
    found: dict[str, dict[str, Operation[Any, Any]]] = {}
    for operation in operations:
        for path in operation.paths:
            methods = found.setdefault(path, {})
            if operation.method in methods:
                raise ValueError(f"two operations for {operation.method} {path}")
            methods[operation.method] = operation
    return found


def check_tokens(operations: Sequence[Operation[Any, Any]], tokens: TokenChecker | None) -> None:
    """ValueError when an operation has a scope and nobody checks tokens."""
    for operation in operations:
        if operation.scope is not None and tokens is None:
            raise ValueError(f"{operation.name} has a scope, and nobody checks tokens")


def find_caller(
    operation: Operation[Any, Any], headers: Mapping[str, str], tokens: TokenChecker | None
) -> Caller | None:
    """The caller, where the operation has a scope; ApiError as ``caller_of``."""
    if operation.scope is None or tokens is None:
        return None
    return caller_of(headers, operation.scope, tokens)


class Callers:
    """The callers of requests for one operation, at one instant: equal tokens are checked once.

    To be let go before time passes: until then its answers are those of ``find_caller``.
    """

    def __init__(self, operation: Operation[Any, Any], tokens: TokenChecker | None) -> None:
        self._operation = operation
        self._tokens = tokens
        self._found: dict[tuple[str | None, str | None], Caller] = {}

    def find(self, headers: Mapping[str, str]) -> Caller | None:
        """The caller, where the operation has a scope; ApiError as ``caller_of``."""
        carried = headers.get("bsauth"), headers.get("authorization")
        held = self._found.get(carried)
        if held is not None:
            return held
        caller = find_caller(self._operation, headers, self._tokens)
        if caller is not None:
            self._found[carried] = caller
        return caller


def address_of(peer: str, headers: Mapping[str, str], trusted: Sequence[Network]) -> str:
    """The client's address, proxies considered; headers as a Request has them."""
    forwarded = headers.get("x-forwarded-for")
    if forwarded is None:
        return shown_peer(peer)
    return client_address(peer, (forwarded,), trusted)


def read_query(text: str) -> list[tuple[str, str]]:
    """The parameters of a query, as it came; ApiError ``malformed``."""
    if not text:
        return []
    try:
        text.encode("ascii")
        return parse_qsl(
            text,
            keep_blank_values=True,
            errors="strict",
            max_num_fields=QUERY_PARAMETERS_MAX,
        )
    except ValueError:
        raise ApiError(ErrorKind.MALFORMED, "The query cannot be read.") from None


def too_large(body_bytes_max: int) -> ApiError:
    """The error of a body that is larger than may be."""
    return ApiError(ErrorKind.TOO_LARGE, f"Send at most {body_bytes_max} bytes of body.")


def store_away(error: StoreUnavailable) -> ApiError:
    """The error of a store that is away, which is logged."""
    log.warning("request refused", why=str(error))
    return ApiError(ErrorKind.UNAVAILABLE)
