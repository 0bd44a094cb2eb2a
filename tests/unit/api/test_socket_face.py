"""Whose session a client's socket is bound to, and for how long; virtual time, no sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from otp_server.api.svc.origins import Origins
from otp_server.api.svc.socket_face import (
    KEEP_ALIVE_S,
    LOOK_AGAIN_S,
    SocketFace,
    SocketServices,
)
from otp_server.api.svc.socket_messages import NOT_KNOWN, NOT_NOW
from otp_server.domain.account import Session
from otp_server.domain.account_outcome import SignedIn
from otp_server.domain.audit import Actor
from otp_server.errors import ErrorKind, StoreUnavailable
from otp_server.services.contacts import ContactVault
from otp_server.services.sockets import TOKEN_LIFE_S
from otp_server.transport.client_seam import Admission, ClientUpgrade
from tests.support.account_world import ADDRESS, EMAIL, HOST, AccountWorld
from tests.support.world import KEY, START_MS

DAY_S = 86_400


@dataclass
class Link:
    """Keeps what was said, and when."""

    said: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    ended: ErrorKind | None = None

    def send(self, text: str) -> None:
        if self.ended is None:
            self.said.append((trio.current_time(), json.loads(text)))

    def close(self, kind: ErrorKind) -> None:
        self.ended = self.ended or kind

    def services(self) -> list[str]:
        return [said["service"] for _, said in self.said]

    def newest(self) -> dict[str, Any]:
        data: dict[str, Any] = self.said[-1][1]["data"]
        return data


class Place:
    """A face over an account world."""

    def __init__(self, *allowed: str, tls_only: bool = True) -> None:
        self.world = AccountWorld()
        world = self.world
        self.services = SocketServices(world.sessions, world.accounts, world.sockets, world.clock)
        self.face = SocketFace(self.services, Origins(allowed, tls_only=tls_only))

    async def admit(self, query: str = "", **headers: str) -> Admission | ErrorKind:
        given = {"host": HOST, "sec-websocket-protocol": "service"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
        return await self.face.admit(ClientUpgrade("/-/websocket/", query, pairs, ADDRESS))

    async def let_in(self, query: str = "", **headers: str) -> Admission:
        admission = await self.admit(query, **headers)
        assert isinstance(admission, Admission), admission
        assert admission.subprotocol == "service"
        return admission

    def grant(self, session: Session) -> str:
        return self.world.sockets.grant(session.digest, self.world.clock.now_ms() / 1000)

    @asynccontextmanager
    async def open(self, session_id: str) -> AsyncIterator[tuple[Admission, Link]]:
        """A socket bound by the cookie, running as the transport runs it."""
        admission, link = await self.let_in(cookie=f"regsid={session_id}"), Link()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(admission.session.run, link)
            await wait_all_tasks_blocked()
            try:
                yield admission, link
            finally:
                nursery.cancel_scope.cancel()
                admission.session.closed()


# --- who may come in ------------------------------------------------------------------------------


async def test_the_cookie_binds() -> None:
    place = Place()
    session_id, session = await place.world.begin()
    async with place.open(session_id) as (_, link):
        assert link.newest().keys() == {"socket_id", "main_domain", "user"}
        assert (link.newest()["main_domain"], link.newest()["user"]) == (HOST, None)
        assert place.world.sockets.is_bound(link.newest()["socket_id"], session.digest)
    assert place.world.sockets.count == 0


async def test_the_header_binds_clients_without_cookies() -> None:
    place = Place()
    session_id, _ = await place.world.begin()
    await place.let_in(x_param_regsid=session_id)


async def test_a_token_binds_once() -> None:
    place = Place()
    _, session = await place.world.begin()
    token = place.grant(session)
    query = f"a=1&otak={quote(token)}&b"
    admission, link = await place.let_in(query), Link()
    with trio.move_on_after(0.1):
        await admission.session.run(link)
    assert place.world.sockets.is_bound(link.newest()["socket_id"], session.digest)
    assert await place.admit(query) is ErrorKind.UNAUTHORIZED  # replayed
    assert place.world.sockets.count == 1


async def test_a_bad_token_is_not_made_good_by_a_cookie() -> None:
    place = Place()
    session_id, _ = await place.world.begin()
    cookie = f"regsid={session_id}"
    for query in ("otak=", "otak=wrong"):
        assert await place.admit(query, cookie=cookie) is ErrorKind.UNAUTHORIZED


async def test_a_token_counts_before_the_cookie() -> None:
    place = Place()
    cookie_id, _ = await place.world.begin()
    _, session = await place.world.begin()
    await place.let_in(f"otak={place.grant(session)}", cookie=f"regsid={cookie_id}")
    [socket_id] = place.world.sockets._sockets
    assert place.world.sockets.is_bound(socket_id, session.digest)


async def test_a_late_token_is_worth_nothing(autojump_clock: MockClock) -> None:
    place = Place()
    _, session = await place.world.begin()
    token = place.grant(session)
    await trio.sleep(TOKEN_LIFE_S + 1)
    assert await place.admit(f"otak={token}") is ErrorKind.UNAUTHORIZED


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("otak=a&otak=a", ErrorKind.MALFORMED),
        ("&".join(f"a{n}=1" for n in range(40)), ErrorKind.MALFORMED),
        ("otak=%FF%FE", ErrorKind.UNAUTHORIZED),
        ("otak=" + 5000 * "x", ErrorKind.UNAUTHORIZED),
        ("regsid=SESSION", ErrorKind.UNAUTHORIZED),  # never from a target
    ],
)
async def test_odd_queries(query: str, kind: ErrorKind) -> None:
    place = Place()
    session_id, _ = await place.world.begin()
    assert await place.admit(query.replace("SESSION", session_id)) is kind
    assert place.world.sockets.count == 0


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({}, None),
        ({"sec-websocket-protocol": "ping, service"}, None),
        ({"sec-websocket-protocol": ""}, ErrorKind.MALFORMED),
        ({"sec-websocket-protocol": "ping"}, ErrorKind.MALFORMED),
        ({"sec-websocket-protocol": "Service"}, ErrorKind.MALFORMED),
        ({"sec-websocket-protocol": "services"}, ErrorKind.MALFORMED),
        ({"host": "A.Example:8443"}, None),
        ({"host": "b.example"}, ErrorKind.UNAUTHORIZED),  # a cookie taken to another host
        ({"host": ""}, ErrorKind.MALFORMED),
        ({"host": "a.example/x"}, ErrorKind.MALFORMED),
        ({"origin": "https://a.example"}, None),
        ({"origin": "https://app.example"}, None),
        ({"origin": "http://a.example"}, ErrorKind.FORBIDDEN_ORIGIN),
        ({"origin": "https://a.example.evil.example"}, ErrorKind.FORBIDDEN_ORIGIN),
        ({"origin": "https://evil.example"}, ErrorKind.FORBIDDEN_ORIGIN),
        ({"origin": "https://app.example/"}, ErrorKind.FORBIDDEN_ORIGIN),
        ({"origin": "https://APP.example"}, ErrorKind.FORBIDDEN_ORIGIN),
        ({"origin": "https://app.example:8443"}, ErrorKind.FORBIDDEN_ORIGIN),
        ({"origin": "https://app.example, https://evil.example"}, ErrorKind.FORBIDDEN_ORIGIN),
        ({"origin": "null"}, ErrorKind.FORBIDDEN_ORIGIN),
        ({"origin": ""}, ErrorKind.FORBIDDEN_ORIGIN),
        ({"sec-fetch-site": "cross-site"}, ErrorKind.FORBIDDEN_ORIGIN),
        ({"cookie": ""}, ErrorKind.UNAUTHORIZED),
        ({"cookie": "regsid=wrong"}, ErrorKind.UNAUTHORIZED),
        ({"cookie": "other=SESSION"}, ErrorKind.UNAUTHORIZED),
        ({"cookie": "regsid=SESSION; regsid=planted"}, ErrorKind.UNAUTHORIZED),
        ({"cookie": "other=1; regsid=SESSION"}, None),
    ],
)
async def test_who_may_come_in(headers: dict[str, str], kind: ErrorKind | None) -> None:
    place = Place("https://app.example")
    session_id, _ = await place.world.begin()
    given = {"cookie": "regsid=SESSION", **headers}
    admitted = await place.admit(
        **{name: value.replace("SESSION", session_id) for name, value in given.items()}
    )
    assert kind is None if isinstance(admitted, Admission) else admitted is kind
    assert place.world.sockets.count == (kind is None)


async def test_a_repeated_origin_is_refused() -> None:
    place = Place("https://app.example")
    session_id, _ = await place.world.begin()
    pairs = [
        (b"host", HOST.encode()),
        (b"sec-websocket-protocol", b"service"),
        (b"cookie", b"regsid=" + session_id.encode()),
    ]
    good, evil = (b"origin", b"https://app.example"), (b"origin", b"https://evil.example")
    for origins in ([good], [good, evil], [evil, good]):
        admitted = await place.face.admit(
            ClientUpgrade("/-/websocket/", "", [*pairs, *origins], ADDRESS)
        )
        if origins == [good]:
            assert isinstance(admitted, Admission)
        else:
            assert admitted is ErrorKind.FORBIDDEN_ORIGIN


async def test_a_refusal_before_the_token_leaves_it_good() -> None:
    place = Place()
    _, session = await place.world.begin()
    query = f"otak={place.grant(session)}"
    assert await place.admit(query, origin="https://evil.example") is ErrorKind.FORBIDDEN_ORIGIN
    assert await place.admit(query, sec_websocket_protocol="ping") is ErrorKind.MALFORMED
    await place.let_in(query)


async def test_a_token_of_another_host_is_refused() -> None:
    place = Place()
    _, session = await place.world.begin("b.example")
    assert await place.admit(f"otak={place.grant(session)}") is ErrorKind.UNAUTHORIZED
    assert place.world.sockets.count == 0


async def test_a_session_that_ended_or_expired_lets_nobody_in(autojump_clock: MockClock) -> None:
    place = Place()
    session_id, session = await place.world.begin()
    other_id, _ = await place.world.begin()
    await place.world.sessions.sign_out(session, ADDRESS)
    assert await place.admit(cookie=f"regsid={session_id}") is ErrorKind.UNAUTHORIZED
    await trio.sleep(DAY_S + 1)
    assert await place.admit(cookie=f"regsid={other_id}") is ErrorKind.UNAUTHORIZED
    assert place.world.sockets.count == 0


# --- the store, slow and away ---------------------------------------------------------------------


async def test_a_store_that_is_away_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    session_id, _ = await place.world.begin()

    async def away(*_: object) -> list[Session | None]:
        raise StoreUnavailable("away")

    monkeypatch.setattr(place.world.store, "find_sessions", away)
    assert await place.admit(cookie=f"regsid={session_id}") is ErrorKind.UNAVAILABLE
    assert place.world.sockets.count == 0


@pytest.mark.parametrize("fault", [RuntimeError, None])
async def test_a_crash_or_a_cancellation_leaves_nothing_bound(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, fault: type[Exception] | None
) -> None:
    place = Place()
    session_id, _ = await place.world.begin()
    bound = []

    async def broken(*_: object) -> list[Session | None]:
        bound.append(place.world.sockets.count)
        if fault is not None:
            raise fault
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(place.world.store, "find_sessions", broken)
    with trio.move_on_after(1):
        if fault is None:
            await place.admit(cookie=f"regsid={session_id}")
        else:
            with pytest.raises(fault):
                await place.admit(cookie=f"regsid={session_id}")
    assert (bound, place.world.sockets.count) == ([1], 0)


async def test_a_session_that_ends_while_it_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's answer is old news: the socket heard of the end meanwhile."""
    place = Place()
    session_id, session = await place.world.begin()
    find = place.world.store.find_sessions

    async def end_then_answer(*asked: Any) -> list[Session | None]:  # noqa: ANN401 - as it came
        found = await find(*asked)
        await place.world.sessions.sign_out(session, ADDRESS)
        return found

    monkeypatch.setattr(place.world.store, "find_sessions", end_then_answer)
    assert await place.admit(cookie=f"regsid={session_id}") is ErrorKind.UNAUTHORIZED


async def test_a_session_that_ends_before_its_socket_opens() -> None:
    place, link = Place(), Link()
    session_id, session = await place.world.begin()
    admission = await place.let_in(cookie=f"regsid={session_id}")
    await place.world.sessions.sign_out(session, ADDRESS)
    await admission.session.run(link)
    assert (link.said, link.ended) == ([], ErrorKind.UNAUTHORIZED)
    admission.session.closed()


# --- open -----------------------------------------------------------------------------------------


async def test_it_keeps_alive_what_is_idle(autojump_clock: MockClock) -> None:
    place = Place()
    session_id, _ = await place.world.begin()
    async with place.open(session_id) as (admission, link):
        begun = trio.current_time()
        await trio.sleep(2 * KEEP_ALIVE_S + 5)
        await admission.session.received('{"service": "sys.ping"}')
        await trio.sleep(2 * KEEP_ALIVE_S + 1)
    assert [(round(at - begun), said["service"]) for at, said in link.said] == [
        (0, "sys.hello"),
        (15, "sys.keepalive"),
        (30, "sys.keepalive"),
        (35, "sys.ping"),
        (50, "sys.keepalive"),
        (65, "sys.keepalive"),
    ]
    assert link.newest()["timestamp"] == START_MS + round((begun + 65) * 1000)


async def test_what_a_client_asks_is_answered() -> None:
    place = Place()
    session_id, _ = await place.world.begin()
    async with place.open(session_id) as (admission, link):
        hello = link.newest()
        for service in ("sys.hello", "sys.bind", "sys.ping", "sys.other"):
            await admission.session.received(json.dumps({"service": service}))
        assert link.services() == [
            "sys.hello",
            "sys.hello",
            "sys.socket_bound",
            "sys.ping",
            "sys.handshake",
        ]
        assert link.said[1][1]["data"] == hello
        assert link.said[2][1]["data"] == {"socket_id": hello["socket_id"]}
        assert link.newest() == {"error": NOT_KNOWN}


async def test_the_user_is_told_who_is_signed_in() -> None:
    place = Place()
    user = await place.world.add()
    signed_in = await place.world.sign_in()
    assert isinstance(signed_in, SignedIn)
    async with place.open(signed_in.session_id) as (_, link):
        assert (link.newest()["user"]["uid"], link.newest()["user"]["email"]) == (user.uid, EMAIL)


async def test_a_user_that_cannot_be_opened_is_not_shown() -> None:
    place = Place()
    await place.world.add()
    signed_in = await place.world.sign_in()
    assert isinstance(signed_in, SignedIn)
    place.world.accounts._vault = ContactVault((("c2", KEY),))
    async with place.open(signed_in.session_id) as (_, link):
        assert link.newest()["user"] is None


async def test_a_sign_in_keeps_the_socket() -> None:
    place = Place()
    user = await place.world.add()
    session_id, session = await place.world.begin()
    async with place.open(session_id) as (admission, link):
        socket_id = link.newest()["socket_id"]
        signed_in = await place.world.sign_in(session=session, socket_id=socket_id)
        assert isinstance(signed_in, SignedIn)
        await admission.session.received('{"service": "sys.hello"}')
        assert (link.newest()["socket_id"], link.newest()["user"]["uid"]) == (socket_id, user.uid)
        assert place.world.sockets.is_bound(socket_id, signed_in.session.digest)
        assert not place.world.sockets.is_bound(socket_id, session.digest)
        assert link.ended is None


async def test_a_planted_sessions_other_socket_hears_nothing_of_who_signs_in() -> None:
    place = Place()
    await place.world.add()
    session_id, session = await place.world.begin()
    async with place.open(session_id) as (mine, link), place.open(session_id) as (planted, spy):
        socket_id = link.newest()["socket_id"]
        await place.world.sign_in(session=session, socket_id=socket_id)
        for each in (mine, planted):
            await each.session.received('{"service": "sys.hello"}')
        assert link.newest()["user"]["email"] == EMAIL
        assert (spy.services(), spy.ended) == (["sys.hello"], ErrorKind.UNAUTHORIZED)


async def test_a_new_session_that_cannot_be_read_yet(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    place = Place()
    await place.world.add()
    session_id, session = await place.world.begin()
    async with place.open(session_id) as (admission, link):
        await place.world.sign_in(session=session, socket_id=link.newest()["socket_id"])

        async def away(*_: object) -> list[Session | None]:
            raise StoreUnavailable("away")

        with monkeypatch.context() as patched:
            patched.setattr(place.world.store, "find_sessions", away)
            await admission.session.received('{"service": "sys.hello"}')
            assert link.newest() == {"error": NOT_NOW}
            await trio.sleep(2 * KEEP_ALIVE_S + 1)
            assert link.services()[-2:] == ["sys.keepalive", "sys.keepalive"]
        await admission.session.received('{"service": "sys.hello"}')
        assert link.newest()["user"] is not None


# --- re-authorised --------------------------------------------------------------------------------


async def test_a_sign_out_closes_at_once() -> None:
    place = Place()
    session_id, session = await place.world.begin()
    other_id, _ = await place.world.begin()
    async with place.open(session_id) as (_, link), place.open(other_id) as (_, other):
        await place.world.sessions.sign_out(session, ADDRESS)
        assert (link.ended, other.ended) == (ErrorKind.UNAUTHORIZED, None)
        assert place.world.sockets.count == 1


class Looks:
    """Counts look-ups of sessions, and may fail them."""

    def __init__(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.failing = 0, False
        self._find = place.world.store.find_sessions
        monkeypatch.setattr(place.world.store, "find_sessions", self)

    async def __call__(self, *asked: Any) -> list[Session | None]:  # noqa: ANN401 - as it came
        self.count += 1
        if self.failing:
            raise StoreUnavailable("away")
        return await self._find(*asked)


async def end_untold(place: Place, session: Session) -> None:
    """As another process ends it, such as the command line."""
    await place.world.store.end_session(session.digest, Actor("operator"), START_MS)


async def test_an_end_that_only_the_store_knows_closes_an_idle_socket(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place()
    session_id, session = await place.world.begin()
    looks = Looks(place, monkeypatch)
    async with place.open(session_id) as (_, link):
        await trio.sleep(LOOK_AGAIN_S + 5)
        assert (link.ended, looks.count) == (None, 2)
        await end_untold(place, session)
        await trio.sleep(LOOK_AGAIN_S - KEEP_ALIVE_S)
        assert link.ended is None
        await trio.sleep(KEEP_ALIVE_S)
        assert (link.ended, looks.count) == (ErrorKind.UNAUTHORIZED, 3)


async def test_an_end_that_only_the_store_knows_closes_a_talking_socket(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place()
    await place.world.add()
    signed_in = await place.world.sign_in()
    assert isinstance(signed_in, SignedIn)
    looks = Looks(place, monkeypatch)
    admission, link = await place.let_in(cookie=f"regsid={signed_in.session_id}"), Link()
    with trio.move_on_after(0.1):
        await admission.session.run(link)
    await end_untold(place, signed_in.session)
    await trio.sleep(LOOK_AGAIN_S - 1)
    await admission.session.received('{"service": "sys.ping"}')
    assert (link.services()[-1], looks.count) == ("sys.ping", 1)
    await trio.sleep(1)
    await admission.session.received('{"service": "sys.hello"}')
    assert (link.services()[-1], looks.count) == ("sys.ping", 2)
    assert link.ended is ErrorKind.UNAUTHORIZED
    admission.session.closed()


async def test_an_idle_socket_outlives_a_store_that_is_away(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place()
    session_id, session = await place.world.begin()
    looks = Looks(place, monkeypatch)
    async with place.open(session_id) as (admission, link):
        looks.failing = True
        await trio.sleep(LOOK_AGAIN_S + 1)
        await admission.session.received('{"service": "sys.ping"}')
        assert (link.newest(), link.ended) == ({"error": NOT_NOW}, None)
        looks.failing = False
        await admission.session.received('{"service": "sys.ping"}')
        assert link.services()[-1] == "sys.ping"
        await end_untold(place, session)
        looks.failing = True
        await trio.sleep(LOOK_AGAIN_S + 1)
        looks.failing = False
        await trio.sleep(KEEP_ALIVE_S)
        assert link.ended is ErrorKind.UNAUTHORIZED


async def test_a_session_that_expires_is_closed_on_a_keep_alive(autojump_clock: MockClock) -> None:
    place = Place()
    session_id, _ = await place.world.begin()
    async with place.open(session_id) as (_, link):
        await trio.sleep(DAY_S - 5)
        assert link.ended is None
        await trio.sleep(KEEP_ALIVE_S)
        assert link.ended is ErrorKind.UNAUTHORIZED


async def test_talking_does_not_outlive_a_session(autojump_clock: MockClock) -> None:
    """It is never idle, and looked at all the same; a message is not answered behind its end."""
    place = Place()
    session_id, _ = await place.world.begin()
    async with place.open(session_id) as (admission, link):
        await trio.sleep(DAY_S - 20)
        for _ in range(4):
            await admission.session.received('{"service": "sys.ping"}')
            await trio.sleep(10)
        assert link.ended is ErrorKind.UNAUTHORIZED
        assert link.services()[-3:] == ["sys.keepalive", "sys.ping", "sys.ping"]


async def test_a_message_behind_the_end_closes(autojump_clock: MockClock) -> None:
    place = Place()
    session_id, _ = await place.world.begin()
    async with place.open(session_id) as (admission, link):
        place.world.clock.shift_ms = DAY_S * 1000
        await admission.session.received('{"service": "sys.ping"}')
        assert (link.services(), link.ended) == (["sys.hello"], ErrorKind.UNAUTHORIZED)
