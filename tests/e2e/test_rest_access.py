"""Who may do what over real HTTP: scopes, tenants, a revocation while the server runs (63, 65)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import trio

from tests.support.back_end import add_key, open_back_end
from tests.support.outbox import Outbox
from tests.support.rest_server import DEADLINE_S, Door, rest_server, word_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.server_process import ServerProcess

REVOKED_WITHIN_S = 1.5
"""A second, and half a one for a busy machine."""
UUID = "98df8e4e-7240-4291-9322-282a8d97542a"
ASK = {"type": "email-verification", "email": "a@example.com"}
FOLDERS = ("challenge-types", "challenge-types-routes", "templates")
RUNNING: list[tuple[str, str, Any]] = [
    ("POST", "/otp/handshake", ASK),
    ("POST", "/otp/init", ASK),
    ("PUT", f"/otp/{UUID}/attempt", {"code": "123456"}),
]
ADMINISTRATING: list[tuple[str, str, Any]] = [
    ("GET", "/otp/email-verification", None),
    ("HEAD", "/otp/email-verification", None),
    ("POST", "/otp/email-verification", {}),
    *((method, f"/otp/crud/{folder}", None) for folder in FOLDERS for method in ("GET", "POST")),
    *(
        (method, f"/otp/crud/{folder}/1", None)
        for folder in FOLDERS
        for method in ("GET", "PUT", "PATCH", "DELETE")
    ),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with rest_server(tmp_path_factory.mktemp("access") / "server") as (server, _):
        yield server


async def door_to(server: ServerProcess, tenant: str, scope: str = "otp.run,otp.admin") -> Any:  # noqa: ANN401 - an async context manager
    credentials = await trio.to_thread.run_sync(
        lambda: add_key(server.config, tenant=tenant, scope=scope)
    )
    return open_back_end(server.http_url, credentials)


@pytest.mark.parametrize(
    ("scope", "allowed", "forbidden"),
    [("otp.run", RUNNING, ADMINISTRATING), ("otp.admin", ADMINISTRATING, RUNNING)],
)
async def test_a_scope_opens_its_own_and_nothing_else(
    server: ServerProcess,
    scope: str,
    allowed: list[tuple[str, str, Any]],
    forbidden: list[tuple[str, str, Any]],
) -> None:
    with trio.fail_after(DEADLINE_S):
        async with await door_to(server, "scopes", scope) as back_end:
            for prefix in ("", "/api"):
                for method, path, body in forbidden:
                    said = await back_end.call(method, f"{prefix}{path}", body)
                    assert said.status_code == 403, (method, path)
                    challenge = said.headers["WWW-Authenticate"]
                    assert 'error="insufficient_scope"' in challenge
                    assert f'scope="{scope}"' not in challenge
                    nobody = await back_end.http.request(method, f"{prefix}{path}", json=body)
                    assert nobody.status_code == 401
                for method, path, body in allowed:
                    if method not in ("DELETE", "PUT") or "crud" not in path:
                        said = await back_end.call(method, f"{prefix}{path}", body)
                        assert said.status_code not in (401, 403), (method, path)


async def test_a_token_may_be_of_less_than_its_client(server: ServerProcess) -> None:
    with trio.fail_after(DEADLINE_S):
        credentials = await trio.to_thread.run_sync(lambda: add_key(server.config))
        async with open_back_end(server.http_url, credentials) as back_end:
            form = {
                "grant_type": "client_credentials",
                "client_id": credentials.client_id,
                "client_secret": credentials.client_secret,
                "scope": "otp.run",
            }
            back_end.token = (await back_end.http.post("/oauth/token", data=form)).json()[
                "access_token"
            ]
            assert (await back_end.call("POST", "/otp/handshake", ASK)).status_code == 200
            assert (await back_end.call("GET", "/otp/email-verification")).status_code == 403


async def test_a_revoked_client_is_out_within_a_second(server: ServerProcess) -> None:
    with trio.fail_after(DEADLINE_S):
        credentials = await trio.to_thread.run_sync(lambda: add_key(server.config))
        async with (
            open_back_end(server.http_url, credentials) as back_end,
            await door_to(server, "default") as other,
        ):
            assert (await back_end.call("POST", "/otp/handshake", ASK)).status_code == 200
            said = await trio.to_thread.run_sync(server.cli, "key", "revoke", credentials.client_id)
            assert said["revoked"] is True
            with trio.fail_after(REVOKED_WITHIN_S):
                while (await back_end.call("POST", "/otp/handshake", ASK)).status_code != 401:
                    await trio.lowlevel.checkpoint()
            for method, path, body in (*RUNNING, *ADMINISTRATING):
                assert (await back_end.call(method, path, body)).status_code == 401
            assert (await other.call("POST", "/otp/handshake", ASK)).status_code == 200
            with pytest.raises(AssertionError, match="invalid_client"):
                async with open_back_end(server.http_url, credentials):
                    pass


async def test_tenants_do_not_exist_for_each_other(server: ServerProcess) -> None:
    outbox = Outbox(server.data_dir / "outbox.jsonl")
    with trio.fail_after(DEADLINE_S):
        async with (
            await door_to(server, "ours") as back_end,
            await door_to(server, "theirs") as stranger,
        ):
            ours, theirs = Door(back_end, outbox), Door(stranger, outbox)
            await back_end.add_type("own", [("email", 5)])
            uuid, code = await ours.started("own", email="shared@example.com")
            for typed in (code, "000000"):
                assert await theirs.tried(uuid, typed) == "OTP_NOT_FOUND"
            for asked in (
                stranger.init({"type": "own", "email": "shared@example.com"}),
                stranger.call("GET", "/otp/own"),
                stranger.call("POST", "/otp/own", {"email": "shared@example.com"}),
                stranger.call("POST", "/otp/handshake", {"type": "own", "email": "a@b.example"}),
            ):
                assert word_of(await asked) == "TYPE_NOT_FOUND"
            shown = await ours.shown(uuid, "own")
            assert (shown["status"], shown["attempts"]) == ("sent", 0)

            before = {folder: await everything(back_end, folder) for folder in FOLDERS}
            for folder in FOLDERS:
                assert not ids(before[folder]) & ids(await everything(stranger, folder))
                for one in before[folder]:
                    await is_not_there(stranger, folder, one)
            await names_what_is_not_theirs(stranger, before)
            assert {folder: await everything(back_end, folder) for folder in FOLDERS} == before
            assert await ours.tried(uuid, code) == "accepted"

            # Keys, limits and processes of one say nothing to the other.
            for back in (ours, theirs):
                said = await back.back_end.init(ASK, "the-same-key")
                assert said.status_code == 200
                assert "Idempotency-Replayed" not in said.headers
                assert (
                    '"contact' not in said.headers["RateLimit"]
                    or ";r=5" in said.headers["RateLimit"]
                )


async def everything(back_end: Any, folder: str) -> list[dict[str, Any]]:  # noqa: ANN401 - a BackEnd
    found: list[dict[str, Any]] = await back_end.data("GET", f"/api/otp/crud/{folder}")
    assert found
    return found


def ids(settings: list[dict[str, Any]]) -> set[int]:
    return {each["id"] for each in settings}


async def is_not_there(stranger: Any, folder: str, one: dict[str, Any]) -> None:  # noqa: ANN401 - a BackEnd
    place = f"/api/otp/crud/{folder}/{one['id']}"
    fields = {name: one[name] for name in one if name not in ("id", "created_at", "updated_at")}
    for method, body in (("GET", None), ("PUT", fields), ("PATCH", fields), ("DELETE", None)):
        said = await stranger.call(method, place, body)
        assert isinstance(said, httpx2.Response)
        # A change that names another's template is refused for that, before it is looked for.
        assert said.status_code in (404, 422), (method, place, said.text)
        assert said.status_code == 404 or folder == "challenge-types-routes"


async def names_what_is_not_theirs(stranger: Any, ours: dict[str, Any]) -> None:  # noqa: ANN401 - a BackEnd
    theirs = {folder: await everything(stranger, folder) for folder in FOLDERS}
    types, templates = "challenge-types", "templates"
    mail = next(each for each in theirs[templates] if each["channel"] == "email")
    for type_id, template_id in (
        (ours[types][0]["id"], mail["id"]),
        (theirs[types][0]["id"], ours[templates][0]["id"]),
    ):
        body = {"challenge_type_id": type_id, "channel": "email", "template_id": template_id}
        said = await stranger.call("POST", "/api/otp/crud/challenge-types-routes", body)
        assert word_of(said) == "INVALID_FIELDS"
