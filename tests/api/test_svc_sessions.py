"""The svc face over real HTTP: sessions, hosts, origins, methods, and what no answer may tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from otp_server.api.svc.operations import SvcOptions
from otp_server.domain.account import digest_of
from tests.support.account_world import SessionWindows
from tests.support.svc_stage import (
    AUTHN,
    CHANGE,
    EMAIL,
    NEW_PASSWORD,
    OLD_PASSWORD,
    SEND,
    SIGN_IN,
    SIGN_OUT,
    UNKNOWN_EMAIL,
    VERIFY,
    Caller,
    SvcStage,
    other_than,
    svc_stage,
)
from tests.support.world import PLENTY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


# --- Accounts that are not revealed ------------------------------------------------------------


@pytest.mark.usefixtures("each_http")
async def test_nobody_hears_who_has_an_account(tmp_path: Path) -> None:
    """Requirement 30: status, headers and body are of one shape."""
    async with svc_stage("sqlite:otp.db", tmp_path, reveal_accounts=False) as svc:
        caller = await svc.bound()
        seen: list[object] = []
        for email in (EMAIL, UNKNOWN_EMAIL):
            given = {"email": email, "socket_id": caller.socket_id}
            sent = await caller.ask(SEND, given)
            data = sent.json()["data"]
            assert data == {"status": "ok", "sent": 1, "secret": data["secret"], "email": email}
            checked = await caller.ask(VERIFY, {**given, "code": "1", "secret": data["secret"]})
            changed = await caller.ask(CHANGE, caller.change(data["secret"], "1", email))
            alike = ("date", "content-length")
            seen.append(
                [
                    (
                        each.status_code,
                        sorted((k, v) for k, v in each.headers.items() if k not in alike),
                        len(each.content) - each.text.count(email) * len(email),
                        each.json()["data"].get("status"),
                    )
                    for each in (sent, checked, changed)
                ]
            )
        assert seen[0] == seen[1]
        await svc.world.postbox.wait(1)
        assert [message.to for message in svc.world.postbox.messages] == [EMAIL]


# --- Sessions ----------------------------------------------------------------------------------


async def test_bootstrap_authn(svc: SvcStage) -> None:
    caller = svc.caller()
    response = await caller.ask(AUTHN)
    assert response.json()["data"].keys() == {"token"}
    [cookie] = response.headers.get_list("set-cookie")
    assert cookie.endswith("; Path=/; Max-Age=2592000; Secure; HttpOnly; SameSite=Strict")
    again = await caller.ask(AUTHN, {})
    assert "set-cookie" not in again.headers
    assert again.json()["data"]["token"] != response.json()["data"]["token"]
    for told in (response, again):
        token = told.json()["data"]["token"]
        now_s = svc.world.clock.now_ms() / 1000
        assert svc.world.sockets.redeem(token, now_s) == digest_of(caller.session_id)
        assert svc.world.sockets.redeem(token, now_s) is None


async def test_a_token_is_good_for_a_minute(svc: SvcStage) -> None:
    caller = svc.caller()
    early, late = [(await caller.authn())["token"] for _ in range(2)]
    svc.world.clock.shift_ms += 50_000
    assert svc.world.sockets.redeem(early, svc.world.clock.now_ms() / 1000) is not None
    svc.world.clock.shift_ms += 11_000
    assert svc.world.sockets.redeem(late, svc.world.clock.now_ms() / 1000) is None


async def test_bootstrap_authn_of_somebody_signed_in(svc: SvcStage) -> None:
    caller = svc.caller()
    user = (await caller.sign_in(OLD_PASSWORD)).json()["data"]["user"]
    answer = (await caller.ask(AUTHN)).json()
    assert answer["__status__"] == "online"
    assert answer["data"] == {"token": answer["data"]["token"], "user": user}


async def test_signing_in_and_out(svc: SvcStage) -> None:
    caller = await svc.bound()
    before = caller.session_id
    response = await caller.sign_in(OLD_PASSWORD)
    answer = response.json()
    assert answer["__status__"] == "online"
    assert answer["data"]["status"] == "ok"
    assert answer["data"]["user"]["email"] == EMAIL
    assert answer["data"]["organization"] == {"name": "main"}
    assert answer["data"]["hub"] == {"host": "127.0.0.1"}
    assert caller.session_id != before  # no fixation
    assert (await svc.caller().ask(AUTHN, headers={"Cookie": f"regsid={before}"})).headers[
        "set-cookie"
    ]
    signed_in = caller.session_id
    response = await caller.ask(SIGN_OUT)
    assert response.json()["data"] == {}
    assert response.headers["set-cookie"].startswith("regsid=; Path=/; Max-Age=0; ")
    caller.session_id = signed_in
    assert (await caller.ask(SIGN_OUT)).json()["__status__"] == "offline"
    caller.session_id = signed_in
    assert (await caller.ask(AUTHN)).json()["__status__"] == "offline"


@pytest.mark.parametrize(
    ("email", "password"),
    [(EMAIL, "not it at all"), (EMAIL, NEW_PASSWORD), (UNKNOWN_EMAIL, OLD_PASSWORD)],
)
async def test_who_is_not_let_in(svc_one: SvcStage, email: str, password: str) -> None:
    caller = await svc_one.bound()
    session_id = caller.session_id
    response = await caller.sign_in(password, email)
    assert (response.status_code, response.json()["error"]) == (401, "SIGN_IN_FAILED")
    assert response.headers["WWW-Authenticate"] == 'Session realm="otp-server"'
    assert "set-cookie" not in response.headers
    assert caller.session_id == session_id


@pytest.mark.usefixtures("each_http")
async def test_limits_of_sessions(tmp_path: Path) -> None:
    few = SessionWindows(
        account=((1, 60_000),), address=PLENTY, sessions=((2, 60_000),), sessions_in_all=PLENTY
    )
    async with svc_stage("memory:", tmp_path, sessions_limit=few) as svc:
        for _ in range(2):
            await svc.caller().authn()
        assert await svc.caller().error(AUTHN) == (429, "RATE_LIMITED")
        assert (await svc.caller().sign_in("not it at all")).status_code == 401
        response = await svc.caller().sign_in(OLD_PASSWORD)
        assert response.status_code == 429
        assert int(response.headers["Retry-After"]) > 0


async def test_a_session_without_cookies(svc_one: SvcStage) -> None:
    """By a header, for clients that keep none; never by the target."""
    caller = svc_one.caller()
    await caller.sign_in(OLD_PASSWORD)
    session_id, caller.session_id = caller.session_id, ""
    by_header = await svc_one.caller().ask(AUTHN, headers={"x-param-regsid": session_id})
    assert by_header.json()["__status__"] == "online"
    in_target = await svc_one.caller().ask(AUTHN, method="GET", params={"regsid": session_id})
    in_body = await svc_one.caller().ask(AUTHN, {"regsid": session_id})
    for told in (in_target, in_body):
        assert told.json()["__status__"] == "offline"


# --- Hosts -------------------------------------------------------------------------------------


async def test_a_cookie_taken_to_another_host_is_none(svc_one: SvcStage) -> None:
    here = await svc_one.bound("a.example")
    await here.sign_in(OLD_PASSWORD)
    there = svc_one.caller("b.example")
    there.session_id, there.socket_id = here.session_id, here.socket_id
    given = {"email": EMAIL, "socket_id": here.socket_id}
    assert await there.error(SEND, given) == (400, "INVALID_SOCKET")
    assert (await there.ask(AUTHN)).json()["__status__"] == "offline"
    forged = {"X-Forwarded-Host": "a.example", "Cookie": f"regsid={here.session_id}"}
    assert await svc_one.caller("b.example").error(SEND, given, headers=forged) == (
        400,
        "INVALID_SOCKET",
    )
    here.host = "A.example:8443"  # the same host
    assert (await here.data(SEND, given))["status"] == "ok"


@pytest.mark.usefixtures("each_http")
async def test_hubs_have_accounts_of_their_own(tmp_path: Path) -> None:
    options = SvcOptions(hubs=[("hub.example", "acme")])
    async with svc_stage("memory:", tmp_path, options=options) as svc:
        await svc.world.base.add("ann@example.com", organisation="acme", password=OLD_PASSWORD)
        hub, main = await svc.bound("hub.example"), await svc.bound("other.example")
        assert (await hub.send(EMAIL))["status"] == "no-user"
        assert (await main.send("ann@example.com"))["status"] == "no-user"
        assert (await hub.send("ann@example.com"))["domain"] == "acme"
        secret, code = await hub.code("ann@example.com")
        given = hub.change(secret, code, "ann@example.com")
        data = await hub.data(CHANGE, given)
        assert data["organization"] == {"name": "acme"}
        assert data["hub"] == {"host": "hub.example"}


# --- Transport ---------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["/-/svc/", "/-/api/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_both_paths_and_both_methods(svc_one: SvcStage, prefix: str, method: str) -> None:
    caller = svc_one.caller()
    told = await caller.data(f"{prefix}{AUTHN}", method=method)
    assert told["token"]
    caller.open_socket()
    given = {"email": EMAIL, "socket_id": caller.socket_id}
    assert (await caller.data(f"{prefix}{SEND}", given, method=method))["status"] == "ok"


@pytest.mark.parametrize("get_calls", [True, False])
@pytest.mark.usefixtures("each_http")
async def test_methods(tmp_path: Path, get_calls: bool) -> None:
    """HEAD and OPTIONS do nothing; GET where the contract has it and it is allowed (23)."""
    options = SvcOptions(get_calls=get_calls)
    async with svc_stage("memory:", tmp_path, options=options) as svc:
        caller = await svc.bound()
        given = {"email": EMAIL, "socket_id": caller.socket_id}
        for service in (SEND, VERIFY, CHANGE, AUTHN, SIGN_IN, SIGN_OUT):
            by_get = get_calls and service not in (SIGN_IN, SIGN_OUT)
            allow = "GET, POST" if by_get else "POST"
            refused = {"HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"} | (set() if by_get else {"GET"})
            for method in sorted(refused):
                response = await caller.ask(service, given, method=method)
                assert (response.status_code, response.headers["Allow"]) == (405, allow)
                if method != "HEAD":
                    assert response.json()["error"] == "METHOD_NOT_ALLOWED"
                    assert response.json()["__ack__"] == service
        assert svc.world.postbox.messages == []


@pytest.mark.parametrize(
    "path",
    ["/-/svc/otp.sent", "/-/svc/otp", "/-/api/yp.login", "/-/svc/", "/-/svc/a/b", "/-/other"],
)
async def test_services_that_are_none(svc_one: SvcStage, path: str) -> None:
    for method in ("GET", "POST"):
        response = await svc_one.caller().ask(path, method=method)
        answer = response.json()
        assert (response.status_code, answer["error"]) == (404, "SERVICE_NOT_FOUND")
        assert answer["__ack__"] == ""


ORIGINS: list[tuple[Mapping[str, str], bool]] = [
    ({}, True),
    ({"Origin": "https://a.example"}, True),
    ({"Origin": "https://friend.example"}, True),
    ({"Origin": "http://a.example"}, False),
    ({"Origin": "https://evil.example"}, False),
    ({"Origin": "https://a.example.evil.example"}, False),
    ({"Origin": "https://friend.example.evil"}, False),
    ({"Origin": "null"}, False),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "same-site"}, False),
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "none"}, True),
]


@pytest.mark.parametrize(("headers", "may"), ORIGINS)
@pytest.mark.usefixtures("each_http")
async def test_pages_of_others_may_not_call(
    tmp_path: Path, headers: Mapping[str, str], may: bool
) -> None:
    options = SvcOptions(allowed_origins=["https://friend.example"])
    async with svc_stage("memory:", tmp_path, options=options) as svc:
        caller = await svc.bound("a.example")
        given = {"email": EMAIL, "socket_id": caller.socket_id}
        for method in ("POST", "GET"):
            response = await caller.ask(SEND, given, method=method, headers=headers)
            if may:
                assert response.json()["data"]["status"] == "ok"
            else:
                assert (response.status_code, response.json()["error"]) == (
                    403,
                    "FORBIDDEN_ORIGIN",
                )
        for service in (VERIFY, CHANGE, AUTHN, SIGN_IN, SIGN_OUT):
            response = await caller.ask(service, headers=headers)
            assert (response.status_code == 403) is not may
        count = 2 if may else 0
        assert len(svc.world.postbox.messages) == count


@pytest.mark.parametrize(
    ("language", "subject"),
    [
        ("", "Your validation code"),
        ("en;q=0.5, fr;q=0.9", "Votre code de validation"),
        ("es-MX", "Su código de validación"),
        ("tlh", "Your validation code"),
    ],
)
async def test_mails_are_in_the_language_of_the_caller(
    svc_one: SvcStage, language: str, subject: str
) -> None:
    caller = await svc_one.bound()
    given = {"email": EMAIL, "socket_id": caller.socket_id}
    await caller.data(SEND, given, headers={"Accept-Language": language})
    [message] = svc_one.world.postbox.messages
    assert message.subject == subject


async def test_no_answer_tells_a_secret_of_ours(svc: SvcStage) -> None:
    """Requirement 66: nothing but what the contract names, in bodies and headers alike."""
    caller, other = await svc.bound(), await svc.bound()
    secret, code = await caller.code()
    before = caller.session_id
    await other.sign_in(OLD_PASSWORD)
    await caller.verify(secret, other_than(code))
    checked = await caller.verify(secret, code)
    await caller.ask(CHANGE, caller.change(secret, code, password="short"))
    await caller.data(CHANGE, caller.change(secret, code))
    await caller.data(CHANGE, caller.change(secret, code))
    await caller.authn()
    stored = await svc.world.store.find_password(checked["uid"])
    assert stored is not None
    hidden = [
        stored,
        digest_of(secret).hex(),
        digest_of(caller.session_id).hex(),
        NEW_PASSWORD,
        OLD_PASSWORD,
        "argon2",
    ]
    may = {  # what each may be told to, and how often it was
        code: 1,
        secret: 2,
        before: 1,
        caller.session_id: 1,
        other.session_id: 1,
    }
    everything = [f"{dict(each.headers)} {each.text}" for each in svc.answers]
    for word in hidden:
        assert not [text for text in everything if word in text], word
    for word, times in may.items():
        assert sum(word in text for text in everything) == times, word


async def test_two_hundred_changes_with_one_code(svc: SvcStage) -> None:
    """One wins; the password is the winner's (requirement 13)."""
    caller = await svc.bound()
    secret, code = await caller.code()
    passwords = [f"violet tractor number {n}" for n in range(200)]
    heard: dict[str, object] = {}

    async def change(password: str) -> None:
        same = Caller(svc, session_id=caller.session_id)
        given = caller.change(secret, code, password=password)
        response = await same.ask(CHANGE, given)
        heard[password] = response.json()["data"]["status"] if response.is_success else "busy"

    async with trio.open_nursery() as nursery:
        for password in passwords:
            nursery.start_soon(change, password)
    won = [password for password, status in heard.items() if status == "ok"]
    assert len(won) == 1
    assert set(heard.values()) <= {"ok", "wrong-otp", "no-socket", "busy"}
    assert (await svc.caller().sign_in(won[0])).status_code == 200
