"""Access tokens: ``POST /oauth/token``, the client credentials grant (RFC 6749 sections 4.4, 5).

Parameters come as a form or, as the source's documentation has it, in the target; a client may
authenticate by them or by HTTP Basic, not by both. Errors are said as section 5.2 says them.
Logins that fail are counted by address, those that do not are calls of their client.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import parse_qsl, unquote_plus

import msgspec

from otp_server.api.batches import one_by_one
from otp_server.api.operation import JSON, ErrorStyle, Operation, Priority, Response
from otp_server.api.problem import error_headers
from otp_server.api.refusal import refusal
from otp_server.api.unshown import unshown
from otp_server.domain.client import Scope
from otp_server.domain.process_outcome import ProcessRefused
from otp_server.errors import ErrorKind, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection

    from otp_server.api.operation import ApiError, Request
    from otp_server.domain.client import ApiClient
    from otp_server.services.call_limits import CallLimits

PATH = "/oauth/token"
FORM = "application/x-www-form-urlencoded"
_PARAMETERS_MAX = 32
_LOGINS_MAX = 64
"""At once; they wait for the store only when a client is new."""
_CHALLENGE = ("WWW-Authenticate", 'Basic realm="otp-server", charset="UTF-8"')
_PRAGMA = ("Pragma", "no-cache")
_LATER = frozenset(
    {
        ErrorKind.UNAVAILABLE,
        ErrorKind.DRAINING,
        ErrorKind.OVERLOADED,
        ErrorKind.RATE_LIMITED,
    }
)
_WHOLE_PARAMETERS = ("grant_type", "client_id", "client_secret", "scope")


class TokenForm(msgspec.Struct):
    """What is sent, as a form. Other parameters are passed over, as section 3.2 wants it."""

    __repr__ = unshown
    grant_type: Literal["client_credentials"]
    client_id: str | msgspec.UnsetType = msgspec.UNSET
    client_secret: str | msgspec.UnsetType = msgspec.UNSET
    scope: str | msgspec.UnsetType = msgspec.UNSET


class AccessToken(msgspec.Struct):
    """A token, its lifetime in seconds, and what it allows (section 5.1)."""

    __repr__ = unshown
    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    scope: str


class TokenError(msgspec.Struct):
    """Why there is none (section 5.2)."""

    error: str
    error_description: str


class Directory(Protocol):
    """What knows the clients."""

    async def authenticate(self, client_id: str, secret: str) -> ApiClient | None:
        """The client, if the secret is its own; raises StoreUnavailable."""

    def issue(self, client: ApiClient, scopes: Collection[Scope]) -> tuple[str, int]:
        """A token and its lifetime in seconds."""


@dataclass(frozen=True, slots=True)
class _Ask:
    client_id: str
    secret: str = field(repr=False)
    scope: str | None
    address: str


@dataclass(frozen=True, slots=True)
class _Refusal:
    word: str
    description: str
    status: int = 400


def oauth_operations(directory: Directory, calls: CallLimits) -> list[Operation[Any, Any]]:
    """The token endpoint."""

    async def log_in(ask: _Ask) -> ApiClient | None:
        login = calls.begin_login(ask.address)
        if isinstance(login, ProcessRefused):
            raise refusal(login)
        failed = True
        try:
            client = await directory.authenticate(ask.client_id, ask.secret)
            failed = client is None
        except StoreUnavailable:
            failed = False  # nothing was judged
            raise
        finally:
            calls.end_login(login, failed=failed)
        return client

    async def answer(ask: _Ask | _Refusal) -> AccessToken | _Refusal:
        if isinstance(ask, _Refusal):
            return ask
        client = await log_in(ask)
        if client is None:
            return _Refusal("invalid_client", "The client is unknown or its secret is wrong.", 401)
        outcome = calls.begin_call(client.tenant, client.client_id, ask.address)
        if isinstance(outcome, ProcessRefused):
            raise refusal(outcome)
        known = {scope.value: scope for scope in client.scopes}
        wanted = known.keys() if ask.scope is None else frozenset(ask.scope.split())
        if not wanted or not wanted <= known.keys():
            allowed = " ".join(sorted(known))
            return _Refusal("invalid_scope", f"This client may ask for: {allowed}.")
        token, expires_in = directory.issue(client, [known[word] for word in wanted])
        return AccessToken(token, "Bearer", expires_in, " ".join(sorted(wanted)))

    operation: Operation[_Ask | _Refusal, AccessToken | _Refusal] = Operation(
        name="create_token",
        summary="An access token for an API client",
        description="The client credentials grant of RFC 6749. The parameters may also be given "
        "in the query, and the client may authenticate by HTTP Basic instead.",
        method="POST",
        paths=(PATH,),
        decode=_decode,
        call=one_by_one(answer),
        render=_render,
        error_style=ErrorStyle(_render_error, TokenError, JSON),
        hot=True,  # or each connection of a back end would leave the reactor with its first token
        alone=_LOGINS_MAX,
        priority=Priority.START,
        tag="oauth",
        body=TokenForm,
        body_media_type=FORM,
        body_required=False,
        body_example={
            "grant_type": "client_credentials",
            "client_id": "0af7651916cd43dd8448eb211c80319c",
            "client_secret": "the secret that was shown once",
        },
        answer=AccessToken,
        answer_example={
            "access_token": "eyJhbGciOiJIUzI1NiJ9...",
            "token_type": "Bearer",
            "expires_in": 3600,
            "scope": " ".join(sorted(Scope)),
        },
        other_answers={400: TokenError, 401: TokenError},
        schemes=("", "clientBasic"),
        errors=(ErrorKind.UNAVAILABLE, ErrorKind.RATE_LIMITED, ErrorKind.OVERLOADED),
    )
    return [operation]


def _decode(request: Request) -> _Ask | _Refusal:
    given = _parameters(request)
    if isinstance(given, _Refusal):
        return given
    grant = given.get("grant_type")
    if grant is None:
        return _invalid("grant_type is missing.")
    if grant != "client_credentials":
        return _Refusal("unsupported_grant_type", "Only client_credentials is spoken here.")
    client = _credentials(request, given)
    if isinstance(client, _Refusal):
        return client
    return _Ask(*client, given.get("scope"), request.address)


def _parameters(request: Request) -> dict[str, str] | _Refusal:
    """Those of the target and of the form, none of them twice (section 3.2)."""
    pairs = list(request.query)
    if request.body:
        if request.media_type != FORM:
            return _invalid(f"Send the header Content-Type: {FORM}.")
        try:
            pairs += parse_qsl(
                request.body.decode(),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=_PARAMETERS_MAX,
            )
        except ValueError:
            return _invalid("The form cannot be read.")
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in _WHOLE_PARAMETERS:
            continue
        if name in found:
            return _invalid(f"{name} is given twice.")
        if value:  # without a value it counts as not sent
            found[name] = value
    return found


def _credentials(request: Request, given: dict[str, str]) -> tuple[str, str] | _Refusal:
    header = request.headers.get("authorization")
    if header is None:
        if "client_id" in given and "client_secret" in given:
            return given["client_id"], given["client_secret"]
        return _Refusal("invalid_client", "Send client_id and client_secret.", 401)
    basic = _basic(header)
    if basic is None:
        return _Refusal("invalid_client", "The header Authorization cannot be read.", 401)
    if "client_secret" in given:
        return _invalid("The client authenticates in two ways at once.")
    if given.get("client_id", basic[0]) != basic[0]:
        return _invalid("client_id is not the client of the header Authorization.")
    return basic


def _basic(header: str) -> tuple[str, str] | None:
    """The credentials of HTTP Basic, each form-encoded before (section 2.3.1)."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    client_id, colon, secret = text.partition(":")
    return (unquote_plus(client_id), unquote_plus(secret)) if colon else None


def _invalid(description: str) -> _Refusal:
    return _Refusal("invalid_request", description)


def _render(outcome: AccessToken | _Refusal) -> Response:
    if isinstance(outcome, AccessToken):
        return Response(msgspec.json.encode(outcome), headers=(_PRAGMA,))
    body = msgspec.json.encode(TokenError(outcome.word, outcome.description))
    unknown = outcome.status == ErrorKind.UNAUTHORIZED.http_status
    return Response(body, outcome.status, headers=(_PRAGMA, _CHALLENGE) if unknown else (_PRAGMA,))


def _render_error(error: ApiError) -> Response:
    kind = error.kind
    word = "invalid_request"
    if kind is ErrorKind.INTERNAL:
        word = "server_error"
    elif kind in _LATER:
        word = "temporarily_unavailable"
    body = msgspec.json.encode(TokenError(word, error.detail or kind.text))
    return Response(body, kind.http_status, headers=(_PRAGMA, *error_headers(error)))
