"""API clients of the REST face: who may call it, for which tenant, and to do what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from otp_server.cli.frame import AsJson, ConfigFile, Tenant, show, with_installation
from otp_server.domain.client import DEFAULT_TENANT, Scope
from otp_server.errors import OtpServerError

if TYPE_CHECKING:
    from otp_server.domain.client import ApiClient

key_app = App(name="key", help="API clients of the REST face.")


@key_app.command(name="add")
def key_add(
    *,
    scope: Annotated[
        str, Parameter(help="What it may do, between commas: otp.run (start), otp.admin (search).")
    ],
    tenant: Tenant = DEFAULT_TENANT,
    name: Annotated[str, Parameter(help="A name for people.")] = "client",
    config: ConfigFile = None,
    json: AsJson = False,
) -> None:
    """Register a client and print its secret, which is shown only this once.

    A tenant that has no settings gets examples, so that its first call works.
    """
    scopes = _scopes(scope)
    client, secret = with_installation(
        config, lambda here: here.clients.add(name, tenant=tenant, scopes=scopes), new=True
    )
    answer = {"client_id": client.client_id, "client_secret": secret}
    text = f"client {client.client_id}\nsecret {secret}\n(the secret is not shown again)"
    show(answer, json, text)


def _scopes(text: str) -> frozenset[Scope]:
    known = {scope.value: scope for scope in Scope}
    words = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word not in known]
    if unknown or not words:
        said = f"there is no scope {unknown[0]!r}" if unknown else "no scope is given"
        raise OtpServerError(f"{said}: give --scope {','.join(known)} or one of them")
    return frozenset(known[word] for word in words)


@key_app.command(name="list")
def key_list(*, config: ConfigFile = None, json: AsJson = False) -> None:
    """Print every client, revoked ones too."""
    found = with_installation(config, lambda here: here.clients.list_all(), new=False)
    rows = [_row(client) for client in found]
    lines = [f"{'CLIENT':32} {'STATE':8} {'TENANT':16} {'SCOPES':18} NAME"]
    lines += [
        f"{row['client_id']:32} {'revoked' if row['revoked'] else 'active':8} "
        f"{row['tenant']:16} {','.join(row['scopes']):18} {row['name']}"
        for row in rows
    ]
    show({"clients": rows}, json, "\n".join(lines))


def _row(client: ApiClient) -> dict[str, Any]:
    return {
        "client_id": client.client_id,
        "tenant": client.tenant,
        "name": client.name,
        "scopes": sorted(client.scopes),
        "created_at_ms": client.created_at_ms,
        "revoked": client.revoked_at_ms is not None,
    }


@key_app.command(name="revoke")
def key_revoke(client_id: str, /, *, config: ConfigFile = None, json: AsJson = False) -> None:
    """Revoke a client for ever: within seconds its tokens are worth nothing."""
    if not with_installation(config, lambda here: here.clients.revoke(client_id), new=False):
        raise OtpServerError(f"there is no client {client_id!r}: see otp-server key list")
    show({"client_id": client_id, "revoked": True}, json, f"client {client_id} is revoked")
