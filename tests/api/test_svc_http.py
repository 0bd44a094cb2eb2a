"""The svc face over real HTTP: every parameter, return and error row of the source (B5 to B8)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from otp_server.errors import StoreUnavailable
from otp_server.services.ports.delivery import NotSent, SendProblem
from tests.support.svc_stage import (
    AUTHN,
    CHANGE,
    EMAIL,
    NEW_PASSWORD,
    OLD_PASSWORD,
    OTHER_EMAIL,
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

if TYPE_CHECKING:
    from pathlib import Path

MANDATORY = {
    SEND: {"email": EMAIL, "socket_id": "s"},
    VERIFY: {"email": EMAIL, "code": "123456", "secret": "x", "socket_id": "s"},
    CHANGE: {
        "uid": EMAIL,
        "code": "123456",
        "secret": "x",
        "password": NEW_PASSWORD,
        "socket_id": "s",
    },
    SIGN_IN: {"email": EMAIL, "password": OLD_PASSWORD},
}
EVERY_NAME = [(service, name) for service, names in MANDATORY.items() for name in names]
DECLINED = {SEND: "INVALID_SOCKET", VERIFY: "no-socket", CHANGE: "no-socket"}


# --- Parameters --------------------------------------------------------------------------------


@pytest.mark.parametrize(("service", "name"), EVERY_NAME)
async def test_a_mandatory_parameter_is_missing(svc_one: SvcStage, service: str, name: str) -> None:
    """HTTP 412, before any other check (B5, D12); an empty one is missing, but for a code."""
    caller = svc_one.caller()
    left = {key: value for key, value in MANDATORY[service].items() if key != name}
    wanted = (412, f"MISSING_PARAM: {name} is mandatory")
    for given in (left, {**left, name: None}):
        assert await caller.error(service, given) == wanted
    if service != SIGN_IN:  # which only POST may call
        assert await caller.error(service, left, method="GET") == wanted
    assert await caller.error(service, data=left) == wanted
    empty = await caller.ask(service, {**left, name: ""})
    if name == "code":
        assert empty.json()["data"]["status"] == "no-socket"
    else:
        assert (empty.status_code, empty.json()["error"]) == wanted


@pytest.mark.parametrize(("service", "name"), EVERY_NAME)
async def test_a_parameter_is_a_string(svc_one: SvcStage, service: str, name: str) -> None:
    caller = svc_one.caller()
    wrong: list[object] = [True, 1.5, ["a"], {"a": "b"}, "a" * 1025]
    wrong += ["a\0"] if name != "password" else []
    for value in wrong:
        given = {**MANDATORY[service], name: value}
        assert await caller.error(service, given) == (400, "MAL_FORMED_REQUEST"), value
    numbered = await caller.ask(service, {**MANDATORY[service], name: 123456})
    assert (numbered.status_code == 400) is (name != "code")


@pytest.mark.parametrize("service", [SEND, VERIFY, CHANGE])
async def test_the_first_missing_one_is_named(svc_one: SvcStage, service: str) -> None:
    names = list(MANDATORY[service])
    for count, name in enumerate(names):
        given = {each: MANDATORY[service][each] for each in names[:count]}
        _, error = await svc_one.caller().error(service, given)
        assert error == f"MISSING_PARAM: {name} is mandatory"


SOURCES: list[dict[str, Any]] = [
    {"json": MANDATORY[SEND]},
    {"data": MANDATORY[SEND]},
    {"params": MANDATORY[SEND]},
    {"params": MANDATORY[SEND], "headers": {"Content-Type": "application/json"}},
    {"headers": {"x-param-email": EMAIL, "X-Param-Socket_Id": "s"}},
    {"headers": {"x-param-email": EMAIL}, "params": {"socket_id": "s"}},
    {"json": {"email": EMAIL}, "params": {"socket_id": "s"}},
    {"params": {json.dumps(MANDATORY[SEND]): ""}},
    {"json": {**MANDATORY[SEND], "device_id": None, "other": {"a": [1]}, "keysel": "x"}},
]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_where_parameters_come_from(
    svc_one: SvcStage, source: dict[str, Any], method: str
) -> None:
    """Read, they lead to the next check, which is the socket's."""
    assert await svc_one.caller().error(SEND, method=method, **source) == (400, "INVALID_SOCKET")


async def test_which_source_wins(svc_one: SvcStage) -> None:
    caller = await svc_one.bound()
    socket = {"socket_id": caller.socket_id}
    named = [
        {"headers": {"x-param-email": "1@example.com"}},
        {"params": {"email": "2@example.com"}, "headers": {"x-param-email": "1@example.com"}},
        {
            "parameters": {"email": "3@example.com"},
            "params": {"email": "2@example.com"},
            "headers": {"x-param-email": "1@example.com"},
        },
    ]
    for number, more in enumerate(named, 1):
        parameters = {**socket, **more.pop("parameters", {})}
        data = await caller.data(SEND, parameters, **more)
        assert data == {"status": "no-user", "email": f"{number}@example.com"}


@pytest.mark.parametrize(
    ("source", "status", "error"),
    [
        ({"content": b"email=a&email=b", "type": "application/x-www-form-urlencoded"}, 400, None),
        ({"content": b'{"email": "a", "email": "b"}', "type": "application/json"}, 400, None),
        ({"content": b"", "params": [("email", "a"), ("email", "b")]}, 400, None),
        ({"content": b"{", "type": "application/json"}, 400, None),
        ({"content": b"[]", "type": "application/json"}, 400, None),
        ({"content": b"email=a", "type": "text/plain"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ({"content": b"email=a"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ({"content": b" " * 70_000, "type": "application/json"}, 413, "TOO_LARGE"),
    ],
)
async def test_requests_that_cannot_be_read(
    svc_one: SvcStage, source: dict[str, Any], status: int, error: str | None
) -> None:
    sent = dict(source)
    content_type = sent.pop("type", None)
    headers = {} if content_type is None else {"Content-Type": content_type}
    for service in (SEND, CHANGE, AUTHN):
        told = await svc_one.caller().error(service, headers=headers, **sent)
        assert told == (status, error or "MAL_FORMED_REQUEST")


# --- Returns -----------------------------------------------------------------------------------


async def test_otp_send_returns(svc: SvcStage) -> None:
    caller = await svc.bound()
    data = await caller.send()
    assert data == {
        "status": "ok",
        "sent": 1,
        "secret": data["secret"],
        "email": EMAIL,
        "id": data["uid"],
        "uid": data["uid"],
        "domain": "main",
        "firstname": "Jane",
        "lastname": "Doe",
        "ident": EMAIL,
        "username": EMAIL,
        "otp": 0,
    }
    assert len(data["secret"]) == 22
    assert data["secret"].isalnum()
    assert len(data["uid"]) == 16
    [message] = svc.world.postbox.messages
    assert message.to == EMAIL


async def test_otp_send_echoes_the_email_as_it_came(svc_one: SvcStage) -> None:
    caller = await svc_one.bound()
    data = await caller.send(EMAIL.upper())
    assert (data["email"], data["ident"]) == (EMAIL.upper(), EMAIL)


@pytest.mark.usefixtures("each_http")
async def test_otp_send_says_when_nothing_was_delivered(tmp_path: Path) -> None:
    """``sent`` is the provider's answer, within a bounded wait (D10)."""
    async with svc_stage("memory:", tmp_path, delivery_wait_s=0.05) as svc:
        caller = await svc.bound()
        svc.world.postbox.outcome = NotSent(SendProblem.INVALID_RECIPIENT)
        refused = await caller.send()
        svc.world.postbox.outcome = None
        late = await caller.send()
        assert [(data["status"], data["sent"]) for data in (refused, late)] == [("ok", 0)] * 2
        assert refused["secret"] != late["secret"]


@pytest.mark.parametrize("method", ["otp", "", "other"])
async def test_otp_send_takes_any_method(svc: SvcStage, method: str) -> None:
    """What was mailed is what verify takes (D9)."""
    caller = await svc.bound()
    sent = await caller.send(method=method)
    [message] = svc.world.postbox.messages
    code = message.text.split("\n")
    assert sent["status"] == "ok"
    [typed] = [line for line in code if line.strip().isdigit()]
    assert "error" not in await caller.verify(sent["secret"], typed.strip())


@pytest.mark.parametrize("spelling", [str, int, lambda code: f" {code[:3]}-{code[3:]} "])
async def test_otp_verify_returns(svc: SvcStage, spelling: Any) -> None:  # noqa: ANN401 - a function
    caller = await svc.bound()
    before_s = svc.world.clock.now_ms() // 1000
    secret, code = await caller.code()
    data = await caller.verify(secret, spelling(code))
    assert data == {
        "uid": data["uid"],
        "secret": secret,
        "code": code,
        "ctime": data["ctime"],
        "expiry": data["ctime"] + 600,
    }
    assert before_s <= data["ctime"] <= before_s + 30
    assert data == await caller.verify(secret, code)  # it uses nothing up


async def test_the_expiry_is_the_enforced_one(svc: SvcStage) -> None:
    caller = await svc.bound()
    secret, code = await caller.code()
    data = await caller.verify(secret, code)
    clock = svc.world.clock
    clock.shift_ms += data["expiry"] * 1000 - clock.now_ms() - 10_000
    assert await caller.verify(secret, code) == data
    clock.shift_ms += 11_000
    assert await caller.verify(secret, code) == {"error": 1, "status": "wrong-code"}
    wrong = {"error": 1, "status": "wrong-otp", "message": "Wrong otp"}
    assert await caller.data(CHANGE, caller.change(secret, code)) == wrong


@pytest.mark.parametrize("by", ["uid", "email"])
async def test_otp_set_password_returns(svc: SvcStage, by: str) -> None:
    caller = await svc.bound()
    before = caller.session_id
    secret, code = await caller.code()
    uid = (await caller.verify(secret, code))["uid"]
    name = {"uid": uid, "email": EMAIL}[by]
    response = await caller.ask(CHANGE, caller.change(secret, code, name))
    answer = response.json()
    assert answer["data"] == {
        "status": "ok",
        "user": {
            "id": uid,
            "uid": uid,
            "email": EMAIL,
            "firstname": "Jane",
            "lastname": "Doe",
            "signed_in": 1,
        },
        "organization": {"name": "main"},
        "hub": {"host": "127.0.0.1"},
    }
    assert answer["__status__"] == "online"
    [cookie] = response.headers.get_list("set-cookie")
    attributes = "Path=/; Max-Age=2592000; Secure; HttpOnly; SameSite=Strict"
    assert cookie == f"regsid={caller.session_id}; {attributes}"
    assert caller.session_id != before
    assert (await caller.ask(AUTHN)).json()["__status__"] == "online"
    assert (await svc.caller().sign_in(NEW_PASSWORD)).status_code == 200
    assert (await svc.caller().sign_in(OLD_PASSWORD)).status_code == 401
    await svc.world.postbox.wait(2)
    notice = svc.world.postbox.messages[1]
    assert notice.to == EMAIL
    assert code not in notice.text


async def test_the_socket_follows_who_is_signed_in(svc: SvcStage) -> None:
    caller = await svc.bound()
    secret, code = await caller.code()
    await caller.data(CHANGE, caller.change(secret, code))
    response = await caller.ask(SEND, {"email": EMAIL, "socket_id": caller.socket_id})
    assert response.json()["data"]["status"] == "ok"
    assert response.json()["__status__"] == "online"


async def test_a_signed_in_caller_may_set_the_password_too(svc: SvcStage) -> None:
    """D17."""
    caller = await svc.bound()
    assert (await caller.sign_in(OLD_PASSWORD)).status_code == 200
    secret, code = await caller.code()
    data = await caller.data(CHANGE, caller.change(secret, code))
    assert data["status"] == "ok"


async def test_other_sessions_are_over_after_the_change(svc: SvcStage) -> None:
    """Requirement 26; those of another account stay."""
    elsewhere, other, caller = await svc.bound(), await svc.bound(), await svc.bound()
    await elsewhere.sign_in(OLD_PASSWORD)
    await other.sign_in(OLD_PASSWORD, OTHER_EMAIL)
    secret, code = await caller.code()
    await caller.data(CHANGE, caller.change(secret, code))
    assert (await elsewhere.ask(AUTHN)).json()["__status__"] == "offline"
    assert (await other.ask(AUTHN)).json()["__status__"] == "online"
    given = {"email": EMAIL, "socket_id": elsewhere.socket_id}
    assert await elsewhere.error(SEND, given) == (400, "INVALID_SOCKET")


@pytest.mark.parametrize("echo", ["e-17", 17])
async def test_the_echo_id(svc_one: SvcStage, echo: object) -> None:
    caller = await svc_one.bound()
    for service, given in (
        (SEND, {**MANDATORY[SEND], "socket_id": caller.socket_id}),
        (VERIFY, MANDATORY[VERIFY]),
        (CHANGE, MANDATORY[CHANGE]),
        (AUTHN, {}),
        (SIGN_IN, MANDATORY[SIGN_IN]),
        (SIGN_OUT, {}),
    ):
        assert (await caller.data(service, {**given, "echoId": echo}))["echoId"] == echo


# --- Errors ------------------------------------------------------------------------------------


async def told_of_socket(caller: Caller, service: str, socket_id: str, **more: object) -> object:
    """What a call hears with this socket: a failure's word with its transport's status."""
    given = {**MANDATORY[service], "socket_id": socket_id, **more}
    response = await caller.ask(service, given)
    answer = response.json()
    if response.status_code != 200:
        assert answer["data"] == []
        return response.status_code, answer["error"]
    assert answer["data"] == {"error": 1, "status": answer["data"]["status"]}
    return response.status_code, answer["data"]["status"]


@pytest.mark.parametrize("service", [SEND, VERIFY, CHANGE])
async def test_no_socket(svc: SvcStage, service: str) -> None:
    """INVALID_SOCKET and no-socket, each with its transport, before any user (D7, 28)."""
    wanted = (400 if service == SEND else 200, DECLINED[service])
    owner, caller = await svc.bound(), await svc.bound()
    nobody = svc.caller()
    closed = caller.open_socket()
    caller.close_socket()
    mine = caller.open_socket()
    name = "uid" if service == CHANGE else "email"
    for whose in (EMAIL, UNKNOWN_EMAIL):
        for who, socket_id in (
            (caller, "unknown"),
            (caller, closed),
            (caller, owner.socket_id),
            (nobody, owner.socket_id),
        ):
            assert await told_of_socket(who, service, socket_id, **{name: whose}) == wanted
    bound = await caller.ask(service, {**MANDATORY[service], "socket_id": mine})
    assert "socket" not in bound.text.lower()
    assert len(await svc.world.postbox.wait(0)) == (1 if service == SEND else 0)


@pytest.mark.parametrize(
    ("service", "data"),
    [
        (SEND, {"status": "no-user", "email": UNKNOWN_EMAIL}),
        (VERIFY, {"error": 1, "status": "no-user"}),
        (CHANGE, {"error": 1, "status": "no-user"}),
    ],
)
async def test_no_user(svc: SvcStage, service: str, data: object) -> None:
    """Of send without an ``error`` (D18)."""
    caller = await svc.bound()
    name = "uid" if service == CHANGE else "email"
    given = {**MANDATORY[service], name: UNKNOWN_EMAIL, "socket_id": caller.socket_id}
    assert await caller.data(service, given) == data
    assert svc.world.postbox.messages == []


@pytest.mark.parametrize("uid", ["0123456789abcdef", "no such thing", "*", "ffffffffffffffff"])
async def test_no_user_of_a_uid(svc_one: SvcStage, uid: str) -> None:
    caller = await svc_one.bound()
    data = await caller.data(CHANGE, caller.change("x", "123456", uid))
    assert data == {"error": 1, "status": "no-user"}


async def is_wrong(caller: Caller, secret: str, code: object, email: str = EMAIL) -> bool:
    """Whether both verify and set_password call it wrong; the words are the contract's."""
    checked = await caller.verify(secret, code, email)
    changed = await caller.data(CHANGE, caller.change(secret, code, email))
    if "error" not in checked:
        return False
    assert checked == {"error": 1, "status": "wrong-code"}
    assert changed == {"error": 1, "status": "wrong-otp", "message": "Wrong otp"}
    return True


@pytest.mark.parametrize(
    "spelled",
    [other_than, lambda _: "", lambda _: "x" * 1000, lambda code: code[:5], lambda _: "абв"],
)
async def test_a_wrong_code(svc: SvcStage, spelled: Any) -> None:  # noqa: ANN401 - a function
    caller = await svc.bound()
    secret, code = await caller.code()
    assert await is_wrong(caller, secret, spelled(code))
    assert "error" not in await caller.verify(secret, code)


async def test_a_wrong_secret(svc: SvcStage) -> None:
    """One that is unknown, of another session, of another user, superseded, or used up."""
    caller, thief = await svc.bound(), await svc.bound()
    secret, code = await caller.code()
    assert await is_wrong(caller, "a" * 22, code)
    assert await is_wrong(thief, secret, code)
    assert await is_wrong(caller, secret, code, OTHER_EMAIL)
    newer, new_code = await caller.code()
    assert await is_wrong(caller, secret, code)
    assert (await caller.data(CHANGE, caller.change(newer, new_code)))["status"] == "ok"
    assert await is_wrong(caller, newer, new_code)


async def test_nobody_else_can_use_up_the_attempts(svc: SvcStage) -> None:
    caller, thief = await svc.bound(), await svc.bound()
    secret, code = await caller.code()
    for _ in range(10):
        assert await is_wrong(thief, secret, other_than(code))
    assert "error" not in await caller.verify(secret, code)


@pytest.mark.usefixtures("each_http")
async def test_wrong_codes_burn_a_secret(tmp_path: Path) -> None:
    async with svc_stage("sqlite:otp.db", tmp_path, attempts_max=3) as svc:
        caller = await svc.bound()
        secret, code = await caller.code()
        for _ in range(3):
            assert (await caller.verify(secret, other_than(code)))["status"] == "wrong-code"
        assert await is_wrong(caller, secret, code)


async def test_a_weak_password_costs_nothing(svc: SvcStage) -> None:
    """Requirements 25 and 27: refused before the code, which stays good."""
    caller = await svc.bound()
    secret, code = await caller.code()
    for weak in ("1234567", "password", EMAIL, "x" * 129):
        response = await caller.ask(CHANGE, caller.change(secret, code, password=weak))
        answer = response.json()
        assert (response.status_code, answer["error"]) == (400, "WEAK_PASSWORD")
        assert answer["reason"]
        assert all(isinstance(told, str) and told for told in answer["reason"])
        assert answer["data"] == []
    for _ in range(10):
        weak_and_wrong = caller.change(secret, other_than(code), password="1234567")
        assert await caller.error(CHANGE, weak_and_wrong) == (400, "WEAK_PASSWORD")
    assert (await caller.data(CHANGE, caller.change(secret, code)))["status"] == "ok"


async def test_a_password_may_be_any_characters(svc: SvcStage) -> None:
    for password in ("tab\tand\0zero 🔑", " blanks around it ", "ä" * 64):
        caller = await svc.bound()
        secret, code = await caller.code()
        changed = await caller.data(CHANGE, caller.change(secret, code, password=password))
        assert changed["status"] == "ok"
        assert (await svc.caller().sign_in(password)).status_code == 200


async def test_the_order_of_checks(svc: SvcStage) -> None:
    """Parameters, socket, user, policy, code (B6 to B8)."""
    caller = await svc.bound()
    secret, code = await caller.code()
    wrong: dict[str, Any] = {
        "uid": UNKNOWN_EMAIL,
        "code": other_than(code),
        "secret": secret,
        "password": "short",
        "socket_id": "unknown",
    }
    right = caller.change(secret, code)
    assert await caller.error(CHANGE, {**wrong, "secret": ""}) == (
        412,
        "MISSING_PARAM: secret is mandatory",
    )
    heard: list[object] = []
    for name in ("socket_id", "uid", "password", "code"):
        response = await caller.ask(CHANGE, wrong)
        heard.append(response.json().get("error") or response.json()["data"]["status"])
        wrong[name] = right[name]
    assert heard == ["no-socket", "no-user", "WEAK_PASSWORD", "wrong-otp"]
    assert (await caller.data(CHANGE, wrong))["status"] == "ok"


def break_store(svc: SvcStage, monkeypatch: pytest.MonkeyPatch, name: str, what: str) -> None:
    """Let one call of the store fail: as one that is away, or by a bug."""
    error = StoreUnavailable("it is gone") if what == "away" else ZeroDivisionError("a bug")

    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(svc.world.store, name, fail)


@pytest.mark.parametrize("what", ["away", "bug"])
@pytest.mark.parametrize(
    ("service", "method"),
    [
        (SEND, "find_sessions"),
        (SEND, "find_users"),
        (SEND, "start_resets"),
        (VERIFY, "find_sessions"),
        (VERIFY, "find_users"),
        (VERIFY, "count_attempts"),
        (VERIFY, "settle_checks"),
        (CHANGE, "find_sessions"),
        (CHANGE, "count_attempts"),
        (CHANGE, "change_passwords"),
    ],
)
async def test_internal_error(
    svc_one: SvcStage, monkeypatch: pytest.MonkeyPatch, service: str, method: str, what: str
) -> None:
    """HTTP 500, and ``data.status`` the same; verify has no such row: 503 (D, security 41)."""
    caller = await svc_one.bound()
    secret, code = await caller.code()
    given = {
        SEND: {"email": EMAIL, "socket_id": caller.socket_id},
        VERIFY: {
            "email": EMAIL,
            "code": code,
            "secret": secret,
            "socket_id": caller.socket_id,
        },
        CHANGE: caller.change(secret, code),
    }[service]
    with monkeypatch.context() as broken:
        break_store(svc_one, broken, method, what)
        response = await caller.ask(service, given)
    answer = response.json()
    if service == VERIFY and what == "away":
        wanted: tuple[int, str, object] = (503, "UNAVAILABLE", [])
    else:
        data = [] if service == VERIFY else {"status": "INTERNAL_ERROR"}
        wanted = (500, "INTERNAL_ERROR", data)
    assert (response.status_code, answer["error"], answer["data"]) == wanted
    assert "bug" not in response.text
    assert "gone" not in response.text
    recovered = await caller.data(service, given)
    assert recovered.get("status", "ok") == "ok"
