"""The client WebSocket as its clients see it: the real face, foreign libraries, real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed as TrioClosed
from trio_websocket import ConnectionRejected, WebSocketConnection, wrap_client_stream
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from otp_server.api.svc import socket_face
from otp_server.api.svc.origins import Origins
from otp_server.api.svc.socket_face import SocketFace, SocketServices
from otp_server.domain.account import Session
from otp_server.services.sockets import SocketRegistry
from otp_server.transport.guard import GuardLimits
from otp_server.transport.sockets import TlsFiles
from tests.support.account_world import ADDRESS, AccountWorld
from tests.support.certificates import make_certificate
from tests.support.client_stage import PATH, SERVICE, Stage, serving
from tests.support.observe import until
from tests.support.raw_websocket import TEXT
from tests.support.served import captured_logs
from tests.support.transport_stage import Client

HERE = "127.0.0.1"
APP = "https://app.example"
WAIT_S = 10


@pytest.fixture(autouse=True)
def _logs() -> AsyncIterator[None]:
    with captured_logs():
        yield


@dataclass
class Place:
    """The real face behind a real listener, and what it is made of."""

    world: AccountWorld
    stage: Stage

    async def begin(self) -> tuple[str, Session]:
        return await self.world.begin(HERE)

    async def cookie(self) -> dict[str, str]:
        session_id, _ = await self.begin()
        return {"Cookie": f"regsid={session_id}"}

    def token_for(self, session: Session) -> str:
        return self.world.sockets.grant(session.digest, self.world.clock.now_ms() / 1000)

    @asynccontextmanager
    async def raw(self, headers: dict[str, str]) -> AsyncIterator[tuple[Client, str]]:
        """A raw client that was greeted, and its socket_id."""
        async with self.stage.connect(headers={**SERVICE, **headers}) as client:
            yield client, json.loads((await client.read_frame())[1])["data"]["socket_id"]

    async def settled(self) -> bool:
        await until(lambda: not len(self.stage.sockets))
        return self.world.sockets.count == 0


@asynccontextmanager
async def a_place(tls: TlsFiles | None = None, **changes: object) -> AsyncIterator[Place]:
    world = AccountWorld()
    services = SocketServices(world.sessions, world.accounts, world.sockets, world.clock)
    face = SocketFace(services, Origins([APP], tls_only=False))
    async with serving(face, tls=tls, **changes) as stage:
        yield Place(world, stage)


def hear(ws: ClientConnection) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(ws.recv(WAIT_S))
    return said


def visit(url: str, talk: Callable[[ClientConnection], Any] = hear, **given: Any) -> Any:  # noqa: ANN401 - the library's own, and what ``talk`` gives
    """A client of the `websockets` library, as a browser would be: service, deflate offered."""
    wanted: dict[str, Any] = {"subprotocols": ["service"], "open_timeout": WAIT_S, "proxy": None}
    with connect(url, **{**wanted, **given}) as ws:
        return talk(ws)


async def in_thread(call: Callable[..., Any], *args: Any, **given: Any) -> Any:  # noqa: ANN401
    return await trio.to_thread.run_sync(partial(call, *args, **given))


@asynccontextmanager
async def trio_client(
    place: Place, target: str = PATH, cookie: str = ""
) -> AsyncIterator[WebSocketConnection]:
    """A client of trio-websocket, on a stream of ours: the library may leave its own open."""
    host = f"{HERE}:{place.stage.port}"
    headers = [(b"Cookie", cookie.encode())] if cookie else []
    async with (
        await trio.open_tcp_stream(HERE, place.stage.port) as stream,
        trio.open_nursery() as tasks,
    ):
        yield await wrap_client_stream(
            tasks, stream, host, target, subprotocols=["service"], extra_headers=headers
        )
        tasks.cancel_scope.cancel()


# --- what clients do ------------------------------------------------------------------------------


async def test_a_browser_with_its_cookie() -> None:
    """Opened, greeted, answered, unbound at its goodbye; compression is not agreed to."""
    async with a_place() as place:
        session_id, session = await place.begin()

        def talk(ws: ClientConnection) -> tuple[str, list[str]]:
            assert ws.subprotocol == "service"
            assert not ws.protocol.extensions
            hello = hear(ws)
            socket_id: str = hello["data"]["socket_id"]
            assert place.world.sockets.is_bound(socket_id, session.digest)
            said = [hello["service"]]
            for service in ("sys.ping", "sys.bind", "sys.hello", "what.is"):
                ws.send(json.dumps({"service": service}))
                said.append(hear(ws)["service"])
            return socket_id, said

        headers = {"Cookie": f"regsid={session_id}"}
        own = f"http://{HERE}:{place.stage.port}"
        socket_id, said = await in_thread(
            visit, place.stage.url(), talk, origin=own, additional_headers=headers
        )
        assert said == ["sys.hello", "sys.ping", "sys.socket_bound", "sys.hello", "sys.handshake"]
        assert await place.settled()
        assert not place.world.sockets.is_bound(socket_id, session.digest)


async def test_a_token_is_good_once() -> None:
    async with a_place() as place:
        _, session = await place.begin()
        target = f"/-/websocket/?otak={place.token_for(session)}"
        async with trio_client(place, target) as ws:
            hello = json.loads(await ws.get_message())
            assert place.world.sockets.is_bound(hello["data"]["socket_id"], session.digest)
            replayed = pytest.RaisesExc(ConnectionRejected, check=lambda e: e.status_code == 401)
            with pytest.RaisesGroup(replayed, flatten_subgroups=True):
                async with trio_client(place, target):
                    pass
            await ws.send_message('{"service": "sys.ping"}')
            assert json.loads(await ws.get_message())["service"] == "sys.ping"
        assert await place.settled()


async def test_two_tabs_have_a_socket_each() -> None:
    async with a_place() as place:
        session_id, session = await place.begin()
        headers = {"Cookie": f"regsid={session_id}"}
        async with place.raw(headers) as (_, first):
            async with place.raw(headers) as (_, second):
                assert first != second
                assert place.world.sockets.is_bound(second, session.digest)
            await until(lambda: place.world.sockets.count == 1)
            assert place.world.sockets.is_bound(first, session.digest)
        assert await place.settled()


async def test_a_socket_is_of_no_other_session() -> None:
    async with a_place() as place:
        _, other = await place.begin()
        async with place.raw(await place.cookie()) as (_, socket_id):
            assert not place.world.sockets.is_bound(socket_id, other.digest)


async def test_over_tls(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path)
    async with a_place(TlsFiles(str(pair.certificate), str(pair.key))) as place:
        headers = await place.cookie()
        url = place.stage.url().replace("ws:", "wss:")
        hello = await in_thread(visit, url, additional_headers=headers, ssl=pair.client_context())
        assert hello["service"] == "sys.hello"
        assert await place.settled()


# --- what clients see when they are refused -------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "given", "status", "word"),
    [
        ("", {}, 401, "unauthorized"),
        ("", {"additional_headers": {"Cookie": "regsid=wrong"}}, 401, "unauthorized"),
        ("?otak=wrong", {}, 401, "unauthorized"),
        ("?otak=a&otak=b", {}, 400, "malformed"),
        ("", {"origin": "https://evil.example"}, 403, "forbidden_origin"),
        ("", {"origin": APP + ".evil.example"}, 403, "forbidden_origin"),
        ("", {"origin": APP}, 401, "unauthorized"),
        ("", {"subprotocols": ["ping"]}, 400, "malformed"),
        ("", {"subprotocols": None}, 400, "malformed"),
    ],
)
async def test_what_a_client_sees_when_it_is_refused(
    target: str, given: dict[str, Any], status: int, word: str
) -> None:
    async with a_place() as place:
        with pytest.raises(InvalidStatus) as refused:
            await in_thread(visit, place.stage.url(PATH + target), **given)
        response = refused.value.response
        assert response.status_code == status
        assert (response.body or b"").decode().startswith(f"{word}: ")
        assert response.headers["Cache-Control"] == "no-store"
        assert await place.settled()


async def test_a_full_house_is_said_and_uses_up_no_token() -> None:
    async with a_place(sockets_max=1) as place:
        _, session = await place.begin()
        url = place.stage.url(f"/-/websocket/?otak={place.token_for(session)}")
        async with place.raw(await place.cookie()):
            with pytest.raises(InvalidStatus) as refused:
                await in_thread(visit, url)
            assert refused.value.response.status_code == 503
        await place.settled()
        assert (await in_thread(visit, url))["service"] == "sys.hello"


# --- ends -----------------------------------------------------------------------------------------


async def test_a_sign_out_closes_the_sockets_of_its_session() -> None:
    async with a_place() as place:
        session_id, session = await place.begin()
        async with (
            place.raw(await place.cookie()) as (_, other),
            trio_client(place, cookie=f"regsid={session_id}") as ws,
        ):
            await ws.get_message()
            await place.world.sessions.sign_out(session, ADDRESS)
            with pytest.raises(TrioClosed) as closed:
                await ws.get_message()
            assert (closed.value.reason.code, closed.value.reason.reason) == (4002, "unauthorized")
            assert list(place.world.sockets._sockets) == [other]


async def test_an_ended_socket_closes_though_its_client_does_not_answer() -> None:
    async with a_place() as place:
        session_id, session = await place.begin()
        async with place.raw({"Cookie": f"regsid={session_id}"}) as (client, _):
            begun = trio.current_time()
            await place.world.sessions.sign_out(session, ADDRESS)
            assert await client.read_close() == (4002, "unauthorized")
            assert await place.settled()
            assert trio.current_time() - begun < 1


async def test_a_peer_that_vanishes_is_unbound() -> None:
    """Nothing comes from it any more, not even an end."""
    async with (
        a_place(ping_interval_s=0.1, ping_misses=2) as place,
        place.raw(await place.cookie()),
    ):
        assert place.world.sockets.count == 1
        await until(lambda: place.world.sockets.count == 0)


async def test_a_peer_that_does_not_read_is_unbound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_face.socket_messages, "ping", lambda _: "x" * 60_000)
    limits = GuardLimits(text=True, write_s=0.2, burst_bytes=10**9, bytes_per_s=10**9)
    async with (
        a_place(guard=limits, messages_burst=10**6) as place,
        place.raw(await place.cookie()) as (client, _),
    ):
        with trio.move_on_after(WAIT_S):
            while place.world.sockets.count:
                with trio.move_on_after(0.5):
                    await client.send(b'{"service": "sys.ping"}', TEXT)
                await trio.sleep(0.001)
        assert place.world.sockets.count == 0


async def test_a_drain_says_goodbye() -> None:
    async with a_place() as place:
        headers = await place.cookie()

        def talk(ws: ClientConnection) -> int:
            hear(ws)
            trio.from_thread.run_sync(place.stage.stop.set)
            with pytest.raises(ConnectionClosed) as closed:
                ws.recv(WAIT_S)
            assert closed.value.rcvd is not None
            return int(closed.value.rcvd.code)

        assert await in_thread(visit, place.stage.url(), talk, additional_headers=headers) == 1001
        await place.stage.ended.wait()
        assert place.world.sockets.count == 0


async def test_a_thousand_sockets_leave_nothing() -> None:
    async with a_place() as place:
        headers = await place.cookie()
        for _ in range(10):
            async with AsyncExitStack() as held:
                for _ in range(100):
                    await held.enter_async_context(place.raw(headers))
                assert place.world.sockets.count == 100
            assert await place.settled()
        assert not place.world.sockets._of_session
        assert not place.world.sockets._sockets


# --- one connection's fault is its own ------------------------------------------------------------


def bug(*_: object, **__: object) -> None:
    raise RuntimeError("a bug")


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ((SocketRegistry, "bind"), 500),
        ((socket_face, "host_of"), 500),
        ((socket_face.Socket, "is_authorised"), 500),
        ((socket_face.Socket, "_say_hello"), 1011),
        ((socket_face.socket_messages, "read_message"), 1011),
        ((socket_face.socket_messages, "ping"), 1011),
        ((SocketRegistry, "unbind"), None),
    ],
    ids=["bind", "host", "authorise", "hello", "read", "answer", "unbind"],
)
async def test_a_bug_in_each_handler_costs_one_connection(
    where: tuple[Any, str], what: int | None
) -> None:
    async with a_place() as place, place.raw(await place.cookie()) as (other, socket_id):
        headers = {**SERVICE, **await place.cookie()}
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(*where, bug)
            if what == 500:
                assert (await place.stage.refused(headers=headers))[0] == 500
            else:
                async with place.stage.connect(headers=headers) as client:
                    await client.send(b'{"service": "sys.ping"}', TEXT)
                    if what is not None:
                        assert await client.read_close() == (what, "internal")
            await until(lambda: len(place.stage.sockets) == 1)
        assert place.stage.crashes == 1
        if what is not None:
            assert list(place.world.sockets._sockets) == [socket_id]
        await other.send(b'{"service": "sys.ping"}', TEXT)
        assert json.loads((await other.read_frame())[1])["service"] == "sys.ping"
        async with place.raw({"Cookie": headers["Cookie"]}):
            pass


# --- secrets --------------------------------------------------------------------------------------


async def test_neither_token_nor_cookie_reaches_a_log() -> None:
    with captured_logs() as logs:
        async with a_place() as place:
            session_id, session = await place.begin()
            token = place.token_for(session)
            target = f"{PATH}?otak={token}"
            headers = {**SERVICE, "Cookie": f"regsid={session_id}"}
            assert (await place.stage.refused(target, headers))[0] == 101
            assert (await place.stage.refused(target, headers))[0] == 401
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(socket_face.Socket, "is_authorised", bug)
                token = place.token_for(session)
                target = f"{PATH}?otak={token}"
                assert (await place.stage.refused(target, headers))[0] == 500
    assert "a bug" in logs.getvalue()
    assert token not in logs.getvalue()
    assert session_id not in logs.getvalue()
