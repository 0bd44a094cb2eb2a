"""Who calls: the API client whose token a request carries, and whether it may do this.

The token comes in the header ``bsauth`` or as ``Authorization: Bearer`` (contracts C1), never in
the target: targets are logged by everything on the way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from otp_server.api.operation import ApiError, Caller
from otp_server.api.problem import CHALLENGE
from otp_server.errors import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otp_server.api.operation import Request
    from otp_server.domain.client import Scope


class Grant(Protocol):
    """What a good token says."""

    @property
    def client_id(self) -> str:
        """The API client it was issued to."""

    @property
    def tenant(self) -> str:
        """The tenant the client works for."""

    @property
    def scopes(self) -> frozenset[Scope]:
        """What it may do."""


class TokenChecker(Protocol):
    """What knows tokens."""

    def check(self, token: str) -> Grant | None:
        """What the token says; None when it is not ours, has expired or its client is revoked."""


def bearer_token(request: Request) -> str:
    """The token of ``Authorization: Bearer``; ApiError ``unauthorized`` when there is none."""
    token = _bearer(request.headers)
    if not token:
        raise ApiError(ErrorKind.UNAUTHORIZED)
    return token


def _bearer(headers: Mapping[str, str]) -> str:
    """The token, or empty; other schemes, such as a gateway's Basic, are not ours to judge."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def caller_of(headers: Mapping[str, str], scope: Scope, tokens: TokenChecker) -> Caller:
    """The caller, by headers as a Request has them.

    ApiError is ``unauthorized`` or, when the token lacks the scope, ``forbidden``.
    """
    given = headers.get("bsauth", "").strip()
    carried = _bearer(headers)
    if given and carried and carried != given:
        raise ApiError(ErrorKind.UNAUTHORIZED, "bsauth and Authorization carry different tokens.")
    if not (given or carried):
        raise ApiError(ErrorKind.UNAUTHORIZED)
    grant = tokens.check(given or carried)
    if grant is None:
        challenge = f'{CHALLENGE}, error="invalid_token"'
        raise ApiError(ErrorKind.UNAUTHORIZED, headers=[("WWW-Authenticate", challenge)])
    if scope not in grant.scopes:
        challenge = f'{CHALLENGE}, error="insufficient_scope", scope="{scope.value}"'
        told = f"The token has not the scope {scope.value}."
        raise ApiError(ErrorKind.FORBIDDEN, told, headers=[("WWW-Authenticate", challenge)])
    return Caller(grant.client_id, grant.tenant, grant.scopes)
