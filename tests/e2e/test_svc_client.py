"""The whole way of a client that was written for the contract, on foreign libraries alone.

It knows what the contract says and nothing of this server: an HTTP client that keeps cookies, a
WebSocket client, and what its users read in their mail.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.reset_stage import NEW, OLD, WAIT_S, ResetStage, open_reset_stage, other_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from websockets.sync.client import ClientConnection

FAILURES = {"wrong-code", "no-user", "no-socket", "expired", "invalid"}
ENVELOPE = {"__ack__", "__status__", "__timestamp__", "data"}


class Failed(Exception):
    """A call that the client takes for a failure: its word."""


@dataclass
class ExistingClient:
    """``carrier`` is how parameters are sent: json, form or query. ``root`` precedes services."""

    base: str
    carrier: str = "json"
    root: str = "/-/svc/"
    cookies: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    last: dict[str, Any] = field(default_factory=dict)
    socket_id: str = ""

    def __post_init__(self) -> None:
        self.http = httpx2.Client(base_url=self.base, timeout=WAIT_S, trust_env=False)

    def post_service(self, service: str, **parameters: object) -> Any:  # noqa: ANN401 - JSON
        """What the client's library does: adds its ids, and resolves with the data."""
        asked = {"socket_id": self.socket_id, "device_id": "browser-1", **parameters}
        path = f"{self.root}{service}"
        match self.carrier:
            case "json":
                answer = self.http.post(path, json=asked, headers=self.headers)
            case "form":
                answer = self.http.post(path, data=asked, headers=self.headers)
            case _:
                answer = self.http.get(path, params=asked, headers=self.headers)
        self._keep_session(answer)
        self.last = answer.json()
        if answer.status_code != 200 or "error" in self.last:
            raise Failed(self.last["error"])
        assert set(self.last) == ENVELOPE, self.last
        assert self.last["__ack__"] == service
        data = self.last["data"]
        if data.get("error") or data.get("status") in FAILURES:
            raise Failed(data["status"])
        return data

    def _keep_session(self, answer: httpx2.Response) -> None:
        """A client without a cookie jar sends the session in a header."""
        if not self.cookies:
            if "regsid" in self.http.cookies:
                self.headers["x-param-regsid"] = self.http.cookies["regsid"]
            self.http.cookies.clear()

    def open_socket(self) -> ClientConnection:
        """Open the socket with a one-time token; ``greet`` it next."""
        token = self.post_service("bootstrap.authn")["token"]
        url = self.base.replace("http://", "ws://").rstrip("/")
        return connect(
            f"{url}/-/websocket/?otak={token}",
            subprotocols=["service"],
            open_timeout=WAIT_S,
            proxy=None,
        )

    def greet(self, socket: ClientConnection) -> Any:  # noqa: ANN401 - JSON
        """Take the socket_id from ``sys.hello``; what it says of the user."""
        hello = json.loads(socket.recv(timeout=WAIT_S))
        assert hello["service"] == "sys.hello"
        self.socket_id = hello["data"]["socket_id"]
        return hello["data"]["user"]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ResetStage]:
    with open_reset_stage(tmp_path_factory.mktemp("client"), "cookie_secure = false") as stage:
        yield stage


@pytest.fixture
def client_of(stage: ResetStage) -> Iterator[Callable[..., ExistingClient]]:
    """Makes clients; takes what ExistingClient takes behind ``base``."""
    with ExitStack() as made:

        def make(**how: Any) -> ExistingClient:  # noqa: ANN401 - as ExistingClient
            client = ExistingClient(stage.server.http_url, **how)
            made.enter_context(client.http)
            return client

        yield make


@pytest.mark.parametrize(
    "how",
    [
        {"carrier": "json"},
        {"carrier": "form"},
        {"carrier": "query"},
        {"carrier": "json", "root": "/-/api/"},
        {"carrier": "json", "cookies": False},
    ],
    ids=["json", "form", "query", "alias", "header"],
)
def test_a_forgotten_password(
    stage: ResetStage, client_of: Callable[..., ExistingClient], how: dict[str, Any]
) -> None:
    email = stage.new_user()
    client = client_of(**how)
    with client.open_socket() as socket:
        assert client.greet(socket) is None
        sent = client.post_service("otp.send", email=email)
        assert (sent["status"], sent["sent"], sent["email"]) == ("ok", 1, email)
        assert client.last["__status__"] == "offline"
        code = stage.code_of(email)
        assert code not in json.dumps(sent)

        with pytest.raises(Failed, match="wrong-code"):
            client.post_service(
                "otp.verify", email=email, secret=sent["secret"], code=other_code(code)
            )
        record = client.post_service("otp.verify", email=email, secret=sent["secret"], code=code)
        assert (record["uid"], record["secret"], record["code"]) == (
            sent["uid"],
            sent["secret"],
            code,
        )
        assert record["expiry"] > record["ctime"]

        proof = {"uid": record["uid"], "secret": sent["secret"], "code": code}
        with pytest.raises(Failed, match="WEAK_PASSWORD"):
            client.post_service("otp.set_password", password="password1", **proof)
        done = client.post_service("otp.set_password", password=NEW, **proof)
        assert (done["status"], done["user"]["email"]) == ("ok", email)
        assert (done["user"]["uid"], done["user"]["signed_in"]) == (sent["uid"], 1)
        assert client.last["__status__"] == "online"
        with pytest.raises(Failed, match="wrong-otp"):
            client.post_service("otp.set_password", password=OLD, **proof)

        assert client.post_service("bootstrap.authn")["user"]["email"] == email
        assert client.last["__status__"] == "online"
    assert stage.signs_in(email, NEW)
    assert not stage.signs_in(email, OLD)
    assert stage.mail_to(email, 2)["Subject"] == "Your password was changed"


def test_without_a_socket_of_its_own_it_is_refused_in_the_words_of_the_contract(
    stage: ResetStage, client_of: Callable[..., ExistingClient]
) -> None:
    email = stage.new_user()
    client = client_of()
    with client.open_socket() as socket:
        client.greet(socket)
        secret = client.post_service("otp.send", email=email)["secret"]
        code = stage.code_of(email)
    stranger = client_of()
    stranger.post_service("bootstrap.authn")
    stranger.socket_id = client.socket_id
    proof = {"secret": secret, "code": code}
    with pytest.raises(Failed, match="INVALID_SOCKET"):
        stranger.post_service("otp.send", email=email)
    with pytest.raises(Failed, match="no-socket"):
        stranger.post_service("otp.verify", email=email, **proof)
    with pytest.raises(Failed, match="no-socket"):
        stranger.post_service("otp.set_password", uid=email, password=NEW, **proof)
    with stranger.open_socket() as socket:
        stranger.greet(socket)
        with pytest.raises(Failed, match="no-user"):
            stranger.post_service("otp.send", email="nobody@example.com")
        with pytest.raises(Failed, match="wrong-code"):
            stranger.post_service("otp.verify", email=email, **proof)
        with pytest.raises(Failed, match="wrong-otp"):
            stranger.post_service("otp.set_password", uid=email, password=NEW, **proof)
    assert stage.signs_in(email, OLD)


def test_the_socket_is_told_who_signed_in_and_ends_with_the_session(
    stage: ResetStage, client_of: Callable[..., ExistingClient]
) -> None:
    email = stage.new_user()
    client = client_of()
    with client.open_socket() as socket:
        client.greet(socket)
        client.post_service("session.sign_in", email=email, password=OLD)
        socket.send(json.dumps({"service": "sys.hello"}))
        assert client.greet(socket)["email"] == email
        socket.send(json.dumps({"service": "sys.ping"}))
        assert json.loads(socket.recv(timeout=WAIT_S))["service"] == "sys.ping"
        client.post_service("session.sign_out")
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=WAIT_S)
    with pytest.raises(Failed, match="INVALID_SOCKET"):
        client.post_service("otp.send", email=email)
