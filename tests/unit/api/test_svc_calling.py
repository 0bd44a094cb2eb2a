"""What a service call goes through: read without the store, one look-up of sessions a batch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import trio
from msgspec.structs import replace

from otp_server.api.operation import ApiError, Operation, Request, Response
from otp_server.api.svc.calling import query_parameters
from otp_server.api.svc.operations import SvcOptions, SvcServices, svc_operations
from otp_server.api.svc.shapes import ChangeBody, NothingBody
from otp_server.domain.account import Session
from otp_server.domain.account_outcome import NoUser, WrongCode
from otp_server.domain.outcome import Reason, Refused
from otp_server.errors import ErrorKind, StoreUnavailable
from otp_server.services.address_calls import AddressCalls
from tests.support.account_world import AccountWorld
from tests.support.world import PLENTY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.services.reset_calls import Call
    from otp_server.services.sessions import SessionAsked

PARAMETERS = {
    "otp.send": {"email": "a@b.example", "socket_id": "s"},
    "otp.verify": {"email": "a@b.example", "code": "123456", "secret": "x", "socket_id": "s"},
    "otp.set_password": {
        "uid": "a@b.example",
        "code": 123456,
        "secret": "x",
        "password": "p",
        "socket_id": "s",
    },
}


@dataclass
class Sessions:
    """Finds what it was told; notes what it was asked."""

    known: dict[str | None, Session] = field(default_factory=dict)
    asked: list[Sequence[SessionAsked]] = field(default_factory=list)
    failing: bool = False

    async def find_many(self, asked: Sequence[SessionAsked]) -> list[Session | None]:
        self.asked.append(asked)
        if self.failing:
            raise StoreUnavailable("gone")
        return [self.known.get(each.session_id) for each in asked]


@dataclass
class Resets:
    """Answers the same to everything; notes what it was asked."""

    outcome: Any = field(default_factory=NoUser)
    asked: list[Sequence[Call]] = field(default_factory=list)
    takes_s: float = 0

    async def send_many(self, batch: Sequence[Call]) -> list[Any]:
        self.asked.append(batch)
        await trio.sleep(self.takes_s)
        return [self.outcome for _ in batch]

    check_many = send_many
    change_many = send_many


@dataclass
class Face:
    """Operations over fakes."""

    options: SvcOptions = field(default_factory=SvcOptions)
    calls_limit: Sequence[tuple[int, int]] = tuple(PLENTY)

    def __post_init__(self) -> None:
        world = AccountWorld()
        self.sessions, self.resets = Sessions(), Resets()
        services: Any = SvcServices(
            self.resets,
            self.sessions,  # type: ignore[arg-type] # what the calls of codes need of it
            world.accounts,
            world.sockets,
            AddressCalls(self.calls_limit, 1000, hits=world.hits, clock=world.clock),
            world.clock,
        )
        self.by_name = {each.name: each for each in svc_operations(services, self.options)}

    def operation(self, service: str) -> Operation[Any, Any]:
        return self.by_name[service.replace(".", "_")]

    async def ask(self, service: str, asked: Request | None = None) -> Response:
        operation = self.operation(service)
        try:
            return await operation.answer_to(asked or request(service))
        except ApiError as error:
            return operation.error_style.render(error)


def request(service: str, body: object = None, **headers: str) -> Request:
    sent = {"host": "app.example", "content-type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    given = PARAMETERS[service] if body is None else body
    return Request("POST", {}, [], sent, json.dumps(given).encode(), "192.0.2.7")


def session(*, uid: str | None = None) -> Session:
    return Session(b"d" * 32, "main", "app.example", uid, 0, 10**15)


def said(response: Response) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(response.body)
    return answer


async def test_a_batch_is_one_look_up_and_one_call() -> None:
    face = Face()
    face.sessions.known = {"one": session(), "two": session(uid="u")}
    operation = face.operation("otp.send")
    batch = [
        operation.decode(request("otp.send", cookie=f"regsid={name}"))
        for name in ("one", "two", "none")
    ]
    outcomes = await operation.call(batch)
    [asked], [calls] = face.sessions.asked, face.resets.asked
    assert [(each.host, each.session_id) for each in asked] == [
        ("app.example", name) for name in ("one", "two", "none")
    ]
    assert [each.session for each in calls] == [session(), session(uid="u"), None]
    assert [said(operation.render(told))["__status__"] for told in outcomes] == [
        "offline",
        "online",
        "offline",
    ]


async def test_reading_a_call_asks_no_store() -> None:
    face = Face()
    face.operation("otp.send").decode(request("otp.send"))
    assert face.sessions.asked == []


async def test_what_the_services_are_told() -> None:
    face = Face(SvcOptions(hubs=[("hub.example", "acme")]))
    asked = {**PARAMETERS["otp.send"], "method": "otp"}
    headers = {"host": "hub.example:8443", "accept_language": "fr", "x_forwarded_host": "x"}
    await face.ask("otp.send", request("otp.send", asked, **headers))
    [[send]] = face.resets.asked
    assert (send.socket_id, send.address) == ("s", "192.0.2.7")
    assert (send.email, send.method, send.accept_language) == ("a@b.example", "otp", "fr")  # type: ignore[attr-defined] # it is a Send
    [[visit]] = face.sessions.asked
    assert visit.host == "hub.example"


async def test_a_code_in_json_may_be_a_number() -> None:
    face = Face()
    await face.ask("otp.set_password")
    [[change]] = face.resets.asked
    assert (change.code, change.uid) == (123456, "a@b.example")  # type: ignore[attr-defined] # it is a Change


@pytest.mark.parametrize("echo", ["e-1", "", 7])
async def test_the_echo_is_in_the_data(echo: object) -> None:
    face = Face()
    for service, parameters in PARAMETERS.items():
        response = await face.ask(service, request(service, {**parameters, "echoId": echo}))
        assert said(response)["data"]["echoId"] == echo
        assert "echoId" not in said(await face.ask(service))["data"]


async def test_calls_of_an_address_are_counted_before_anything_is_read() -> None:
    face = Face(calls_limit=((3, 60_000),))
    foreign = request("otp.send", {}, origin="https://evil.example")
    unread = replace(request("otp.verify"), body=b"{")
    asked = [("otp.send", foreign), ("otp.verify", unread), ("otp.send", request("otp.send"))]
    assert [said(await face.ask(*each)).get("status", 200) for each in asked] == [403, 400, 200]
    known = len(face.sessions.asked)
    for service in PARAMETERS:
        refused = await face.ask(service)
        assert (refused.status, said(refused)["error"]) == (429, "RATE_LIMITED")
        headers = dict(refused.headers)
        assert headers["Retry-After"] == "60"
        assert headers["RateLimit-Policy"] == '"svc-address-60";q=3;w=60'
    assert len(face.sessions.asked) == known
    elsewhere = replace(request("otp.send"), address="192.0.2.8")
    assert (await face.ask("otp.send", elsewhere)).status == 200


@pytest.mark.parametrize("service", PARAMETERS)
async def test_parameters_are_read_before_sessions_and_origins_before_parameters(
    service: str,
) -> None:
    face = Face()
    face.sessions.failing = True
    nothing = request(service, {})
    assert said(await face.ask(service, nothing))["status"] == 412
    foreign = replace(nothing, headers={**nothing.headers, "origin": "https://evil.example"})
    assert said(await face.ask(service, foreign))["error"] == "FORBIDDEN_ORIGIN"
    assert face.sessions.asked == []


@pytest.mark.parametrize(
    ("service", "status", "error", "data"),
    [
        ("otp.send", 500, "INTERNAL_ERROR", {"status": "INTERNAL_ERROR"}),
        ("otp.verify", 503, "UNAVAILABLE", []),
        ("otp.set_password", 500, "INTERNAL_ERROR", {"status": "INTERNAL_ERROR"}),
    ],
)
async def test_no_store(
    autojump_clock: trio.abc.Clock, service: str, status: int, error: str, data: object
) -> None:
    """When sessions cannot be found, when the service says so, and when it takes too long."""
    assert autojump_clock
    for broken in ("sessions", "service", "late"):
        face = Face(SvcOptions(answer_s=2))
        face.sessions.failing = broken == "sessions"
        if broken == "service":
            face.resets.outcome = Refused(ErrorKind.UNAVAILABLE, Reason.STORE)
        face.resets.takes_s = 3 if broken == "late" else 1
        response = await face.ask(service)
        answer = said(response)
        assert (response.status, answer["error"], answer["data"]) == (status, error, data), broken
        assert answer["__ack__"] == service


async def test_an_error_says_whether_the_caller_is_signed_in() -> None:
    face = Face()
    face.sessions.known = {"one": session(uid="u")}
    for kind in (ErrorKind.INVALID_SOCKET, ErrorKind.UNAVAILABLE):
        face.resets.outcome = Refused(kind, Reason.UNKNOWN)
        for cookie, state in (("regsid=one", "online"), ("regsid=other", "offline")):
            asked = request("otp.send", cookie=cookie)
            assert said(await face.ask("otp.send", asked))["__status__"] == state


TRANSPORTS = [
    ("otp.send", ErrorKind.INVALID_SOCKET, 400, "INVALID_SOCKET", []),
    ("otp.verify", ErrorKind.INVALID_SOCKET, 200, None, {"error": 1, "status": "no-socket"}),
    ("otp.set_password", ErrorKind.INVALID_SOCKET, 200, None, {"error": 1, "status": "no-socket"}),
    ("otp.verify", ErrorKind.CONTACT_LOCKED, 403, "CONTACT_LOCKED", []),
    ("otp.set_password", ErrorKind.OVERLOADED, 503, "OVERLOADED", []),
]


@pytest.mark.parametrize(("service", "kind", "status", "error", "data"), TRANSPORTS)
async def test_refusals(
    service: str, kind: ErrorKind, status: int, error: str | None, data: object
) -> None:
    """Each name with its transport (D7)."""
    face = Face()
    face.resets.outcome = Refused(kind, Reason.UNKNOWN)
    response = await face.ask(service)
    answer = said(response)
    assert (response.status, answer.get("error"), answer["data"]) == (status, error, data)


@pytest.mark.parametrize(
    ("service", "outcome", "data"),
    [
        ("otp.send", NoUser(), {"status": "no-user", "email": "a@b.example"}),
        ("otp.verify", NoUser(), {"error": 1, "status": "no-user"}),
        ("otp.verify", WrongCode(), {"error": 1, "status": "wrong-code"}),
        ("otp.set_password", NoUser(), {"error": 1, "status": "no-user"}),
        (
            "otp.set_password",
            WrongCode(),
            {"error": 1, "status": "wrong-otp", "message": "Wrong otp"},
        ),
    ],
)
async def test_failures_that_are_data(service: str, outcome: object, data: object) -> None:
    face = Face()
    face.resets.outcome = outcome
    response = await face.ask(service)
    assert (response.status, said(response)["data"]) == (200, data)
    assert "error" not in said(response)


def test_get_is_left_out_where_it_is_not_allowed() -> None:
    both, only = Face().by_name, Face(SvcOptions(get_calls=False)).by_name
    assert both.keys() - only.keys() == {
        "otp_send_by_get",
        "otp_verify_by_get",
        "otp_set_password_by_get",
        "bootstrap_authn_by_get",
    }
    assert not any(each.head for each in both.values() if each.method == "GET")
    assert {name for name, each in only.items() if each.alone} == {
        "otp_send",
        "otp_set_password",
        "session_sign_in",
    }
    assert {name for name, each in only.items() if not each.hot} == {
        "unknown_service_by_get",
        "unknown_service_by_post",
    }


def test_parameters_of_a_target_are_described() -> None:
    made = {each.name: each for each in query_parameters(ChangeBody)}
    assert {name for name, each in made.items() if each.required} == {
        "uid",
        "code",
        "secret",
        "password",
        "socket_id",
    }
    assert set(made) == {"uid", "code", "secret", "password", "socket_id", "echoId"}
    assert {each.schema["type"] for each in made.values()} == {"string"}
    assert all(each.description and each.where == "query" for each in made.values())
    assert [each.name for each in query_parameters(NothingBody)] == ["echoId"]
