"""What belongs to another session, socket, host, origin or user is refused; what the caller sees.

A real server and real sockets, with nothing but an HTTP client and a WebSocket client.
"""

from __future__ import annotations

import itertools
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio
from trio_websocket import ConnectionClosed

from tests.support.observe import until
from tests.support.outbox import Outbox
from tests.support.server_process import ServerProcess
from tests.support.web_client import WebClient, add_user, open_web_client, try_upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_websocket import WebSocketConnection

SVC = """
[svc]
limits = [[100000, 60]]
calls_per_address = [[100000, 60]]
sends_per_address = [[100000, 60]]
attempts_per_address = [[100000, 60]]
sign_ins_per_account = [[100000, 60]]
sign_ins_per_address = [[100000, 60]]
sessions_per_address = [[100000, 60]]
hubs = [["shop.example", "shop"]]
"""
OLD = "an old but good password"
NEW = "a new and better password"
_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("svc"), more=SVC).start()
    yield server
    assert server.stop() == 0


@pytest.fixture
def outbox(server: ServerProcess) -> Outbox:
    return Outbox(server.data_dir / "outbox.jsonl")


async def new_user(server: ServerProcess, *more: str) -> str:
    """The e-mail of a fresh account."""
    email = f"reader{next(_NUMBERS)}@example.com"
    await trio.to_thread.run_sync(lambda: add_user(server.config, email, OLD, *more))
    return email


async def code_for(client: WebClient, outbox: Outbox, email: str) -> tuple[str, str]:
    """A fresh code and its secret."""
    before = len(outbox.to(email))
    sent = await client.send(email)
    assert sent["sent"] == 1, sent
    return outbox.to(email)[before].code, sent["secret"]


# --- sockets ----------------------------------------------------------------------------------


async def test_the_socket_of_another_session(server: ServerProcess) -> None:
    email = await new_user(server)
    async with (
        open_web_client(server.http_url) as owner,
        open_web_client(server.http_url) as thief,
        owner.socket(),
        thief.socket(),
    ):
        await assert_not_bound(thief, owner.socket_id, email)


async def test_a_closed_socket(server: ServerProcess) -> None:
    email = await new_user(server)
    async with open_web_client(server.http_url) as client:
        async with client.socket():
            socket_id = client.socket_id
        with trio.fail_after(10):
            while (
                await client.call("otp.send", {"email": email, "socket_id": socket_id})
            ).is_success:
                await trio.lowlevel.checkpoint()
        await assert_not_bound(client, socket_id, email)


async def test_a_socket_nobody_opened(server: ServerProcess) -> None:
    email = await new_user(server)
    async with open_web_client(server.http_url) as client, client.socket():
        await assert_not_bound(client, "A" * 22, email)


async def assert_not_bound(client: WebClient, socket_id: str, email: str) -> None:
    """Every service refuses this socket, in its own words, before it looks for the user."""
    for who in (email, "nobody@example.com"):
        answer = await client.call("otp.send", {"email": who, "socket_id": socket_id})
        assert (answer.status_code, answer.json()["error"]) == (400, "INVALID_SOCKET")
        proof = {"code": "123456", "secret": "x" * 22, "socket_id": socket_id}
        data = await client.data("otp.verify", {"email": who, **proof})
        assert data == {"error": 1, "status": "no-socket"}
        data = await client.data("otp.set_password", {"uid": who, "password": NEW, **proof})
        assert (data["error"], data["status"]) == (1, "no-socket")


async def test_a_one_time_token_opens_one_socket(server: ServerProcess) -> None:
    async with open_web_client(server.http_url) as client:
        token = (await client.data("bootstrap.authn"))["token"]
        async with client.socket(token):
            pass
        assert await try_upgrade(server.http_url, f"?otak={token}") == 401


async def read_to_the_end(socket: WebSocketConnection) -> None:
    """Whatever is still said; raises ConnectionClosed."""
    with trio.fail_after(10):
        while True:
            await socket.get_message()


async def test_a_cross_origin_upgrade(server: ServerProcess) -> None:
    async with open_web_client(server.http_url) as client:
        host = server.http_url.removeprefix("http://").encode()
        for origin, is_own in [
            (b"https://evil.example", False),
            (b"http://" + host + b".evil.example", False),
            (b"null", False),
            (b"http://" + host, True),
        ]:
            token = (await client.data("bootstrap.authn"))["token"]
            status = await try_upgrade(server.http_url, f"?otak={token}", [(b"Origin", origin)])
            assert status == (101 if is_own else 403), origin


async def test_a_cross_origin_call(server: ServerProcess) -> None:
    async with open_web_client(server.http_url) as client:
        client.headers["Origin"] = "https://evil.example"
        answer = await client.call("bootstrap.authn")
        assert (answer.status_code, answer.json()["error"]) == (403, "FORBIDDEN_ORIGIN")
        assert "set-cookie" not in answer.headers


# --- sessions ---------------------------------------------------------------------------------


async def test_two_tabs_of_one_session(server: ServerProcess, outbox: Outbox) -> None:
    email = await new_user(server)
    async with (
        open_web_client(server.http_url) as one,
        one.socket(),
        open_web_client(server.http_url) as other,
    ):
        other.cookie = one.cookie
        async with other.socket():
            assert other.socket_id != one.socket_id
            first = await code_for(one, outbox, email)
            second = await code_for(other, outbox, email)
            # The newest of the session counts, in either tab; the older one is over.
            assert (await one.verify(email, *first))["status"] == "wrong-code"
            assert (await one.verify(email, *second))["code"] == second[0]
            uid = (await other.verify(email, *second))["uid"]
            assert (await one.set_password(uid, *second, NEW))["status"] == "ok"
            data = await other.set_password(uid, *second, NEW)
            assert data["status"] in ("wrong-otp", "no-socket")


@pytest.mark.parametrize("by", ["sign_in", "set_password"])
async def test_a_planted_session_tells_its_planter_nothing(
    server: ServerProcess, outbox: Outbox, by: str
) -> None:
    """The attacker's session is in the victim's browser, and a socket of it is the attacker's."""
    email = await new_user(server)
    async with (
        open_web_client(server.http_url) as attacker,
        attacker.socket() as spy,
        open_web_client(server.http_url) as victim,
    ):
        victim.cookie = attacker.cookie
        async with victim.socket() as own:
            if by == "sign_in":
                asked = {"email": email, "password": OLD, "socket_id": victim.socket_id}
                await victim.data("session.sign_in", asked)
            else:
                proof = await code_for(victim, outbox, email)
                await victim.set_password(email, *proof, NEW)
            assert await said_until_closed(spy, email) == []
            await own.send_message('{"service": "sys.hello"}')
            with trio.fail_after(10):
                while email not in await own.get_message():
                    pass
        # Another tab of the victim connects anew, by the cookie both have.
        async with victim.socket():
            assert (await victim.send(email))["status"] == "ok"


async def said_until_closed(socket: WebSocketConnection, word: str) -> list[str]:
    """What a client hears, asking all the while, that has this word in it."""
    heard: list[str] = []
    with trio.fail_after(10), suppress(ConnectionClosed):
        while True:
            await socket.send_message('{"service": "sys.hello"}')
            heard.append(await socket.get_message())
    return [each for each in heard if word in each]


async def test_a_cookie_at_another_host(server: ServerProcess) -> None:
    async with (
        open_web_client(server.http_url) as owner,
        owner.socket(),
        open_web_client(server.http_url) as thief,
    ):
        thief.headers["Host"] = "shop.example"
        thief.cookie = owner.cookie
        asked = {"email": "nobody@example.com", "socket_id": owner.socket_id}
        answer = await thief.call("otp.send", asked)
        assert (answer.status_code, answer.json()["error"]) == (400, "INVALID_SOCKET")
        await thief.data("bootstrap.authn")
        assert thief.cookie != owner.cookie, "the stolen session was taken for one"


async def test_an_account_is_of_its_organisation(server: ServerProcess) -> None:
    email = await new_user(server, "--organisation", "shop")
    async with open_web_client(server.http_url) as client, client.socket():
        assert (await client.send(email))["status"] == "no-user"
        assert not await client.signs_in(email, OLD)


async def test_the_secret_of_another_session(server: ServerProcess, outbox: Outbox) -> None:
    email = await new_user(server)
    async with (
        open_web_client(server.http_url) as owner,
        open_web_client(server.http_url) as thief,
        owner.socket(),
        thief.socket(),
    ):
        proof = await code_for(owner, outbox, email)
        for _ in range(6):  # more than a secret's attempts: none of them is charged to it
            assert (await thief.verify(email, *proof))["status"] == "wrong-code"
            data = await thief.set_password(email, *proof, NEW)
            assert (data["status"], data["message"]) == ("wrong-otp", "Wrong otp")
        assert (await owner.verify(email, *proof))["code"] == proof[0]
        # Nor does the thief's own request for the same account end the owner's code.
        await thief.send(email)
        assert (await owner.verify(email, *proof))["code"] == proof[0]


async def test_the_secret_of_another_user(server: ServerProcess, outbox: Outbox) -> None:
    email, other = await new_user(server), await new_user(server)
    async with open_web_client(server.http_url) as client, client.socket():
        proof = await code_for(client, outbox, email)
        assert (await client.verify(other, *proof))["status"] == "wrong-code"
        assert (await client.set_password(other, *proof, NEW))["status"] == "wrong-otp"
        assert (await client.verify(email, *proof))["code"] == proof[0]
        assert not await client.signs_in(other, NEW)


# --- the change -------------------------------------------------------------------------------


async def test_200_changes_at_once(server: ServerProcess, outbox: Outbox) -> None:
    email = await new_user(server)
    passwords = [f"password number {n} of many" for n in range(200)]
    answers: dict[str, str] = {}
    async with open_web_client(server.http_url) as client, client.socket():
        code, secret = await code_for(client, outbox, email)
        cookie, proof = client.cookie, {"uid": email, "code": code, "secret": secret}

        async def change(password: str) -> None:
            asked = {**proof, "password": password, "socket_id": client.socket_id}
            answer = await WebClient(client.http, cookie).call("otp.set_password", asked)
            said = answer.json()
            answers[password] = said.get("error") or said["data"]["status"]

        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                for password in passwords:
                    nursery.start_soon(change, password)
        told = Counter(answers.values())
        assert told["ok"] == 1, told
        # The queue before the hash is bounded: who finds it full has tried nothing.
        assert told["wrong-otp"] + told["no-socket"] + told["OVERLOADED"] == 199, told
        assert told["wrong-otp"] > 10, told
        [won] = [password for password, said in answers.items() if said == "ok"]
        assert await client.signs_in(email, won)
        assert not await client.signs_in(email, OLD)


async def test_a_weak_password_burns_nothing(server: ServerProcess, outbox: Outbox) -> None:
    email = await new_user(server)
    async with open_web_client(server.http_url) as client, client.socket():
        proof = await code_for(client, outbox, email)
        asked = {"uid": email, "code": proof[0], "secret": proof[1], "socket_id": client.socket_id}
        for weak in ["short", "password1", email, "x" * 129]:
            for _ in range(3):
                answer = await client.call("otp.set_password", {**asked, "password": weak})
                assert (answer.status_code, answer.json()["error"]) == (400, "WEAK_PASSWORD")
                assert answer.json()["reason"]
        assert (await client.set_password(email, *proof, NEW))["status"] == "ok"


async def test_what_a_changed_password_ends_and_begins(
    server: ServerProcess, outbox: Outbox
) -> None:
    email = await new_user(server)
    async with (
        open_web_client(server.http_url) as client,
        open_web_client(server.http_url) as elsewhere,
    ):
        signed_in = await elsewhere.data("session.sign_in", {"email": email, "password": OLD})
        assert signed_in["user"]["email"] == email
        async with elsewhere.socket() as old_socket, client.socket():
            assert await elsewhere.is_online()
            anonymous = client.cookie
            proof = await code_for(client, outbox, email)
            changed = await client.set_password(email, *proof, NEW)
            assert changed["user"]["signed_in"] == 1
            assert client.cookie != anonymous  # no session is fixed before it is signed in
            assert await client.is_online()
            assert (await client.verify(email, *proof))["status"] == "wrong-code"

            stale = WebClient(client.http, anonymous)
            assert not await stale.is_online()
            with pytest.raises(ConnectionClosed):
                await read_to_the_end(old_socket)
            assert not await elsewhere.is_online()
            assert not await client.signs_in(email, OLD)
            assert await client.signs_in(email, NEW)
        await until(lambda: len(outbox.to(email)) > 1, 20)
        notice = outbox.to(email)[1]
        assert not notice.code
        assert "password" in notice.subject.lower()

        await client.call("session.sign_out")
        assert not await client.is_online()
