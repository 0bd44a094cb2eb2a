"""Exactly once over real sockets: attempts and starts that race (requirements 12, 13, 14, 35)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.back_end import BackEnd, add_key, open_back_end
from tests.support.outbox import Outbox
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

UNLIMITED = """
attempts_per_address = [[1000000, 60]]
attempts_per_client = [[1000000, 60]]
requests_per_client = [[1000000, 60]]
"""
DEADLINE_S = 90.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    served = ServerProcess(tmp_path_factory.mktemp("races"), rest=UNLIMITED)
    credentials = add_key(served.config)
    served.start()
    try:

        async def configure() -> None:
            async with open_back_end(served.http_url, credentials) as back_end:
                await back_end.add_type("race", [("email", 5)], max_attempts=5, code_length=10)

        trio.run(configure)
        yield served
    finally:
        served.stop()


def race(server: ServerProcess, run: Callable[[BackEnd, Outbox], Awaitable[None]]) -> None:
    credentials = add_key(server.config)
    outbox = Outbox(server.data_dir / "outbox.jsonl")

    async def within_deadline() -> None:
        with trio.fail_after(DEADLINE_S):
            async with open_back_end(server.http_url, credentials, connections=100) as back_end:
                await run(back_end, outbox)

    trio.run(within_deadline)


async def at_once(count: int, call: Callable[[], Awaitable[str]]) -> Counter[str]:
    answers: Counter[str] = Counter()

    async def one() -> None:
        answers[await call()] += 1

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    return answers


async def start(back_end: BackEnd, email: str) -> str:
    response = await back_end.init({"type": "race", "email": email})
    assert response.status_code == 200, response.text
    return str(response.json()["data"]["uuid"])


async def tried(back_end: BackEnd, uuid: str, code: str) -> str:
    said = (await back_end.attempt(uuid, code)).json()
    if said["status"] == "ok":
        return "accepted" if said["data"]["accepted"] else "wrong"
    return str(said["error"]["code"])


def test_of_500_right_attempts_one_is_accepted(server: ServerProcess) -> None:
    async def run(back_end: BackEnd, outbox: Outbox) -> None:
        uuid = await start(back_end, "right@example.com")
        code = await outbox.code_of(uuid)
        answers = await at_once(500, lambda: tried(back_end, uuid, code))
        assert answers["accepted"] == 1
        assert answers["wrong"] == 0

    race(server, run)


def test_of_500_wrong_attempts_five_are_compared(server: ServerProcess) -> None:
    async def run(back_end: BackEnd, outbox: Outbox) -> None:
        uuid = await start(back_end, "wrong@example.com")
        right = await outbox.code_of(uuid)
        wrong = "0000000000" if right != "0000000000" else "1111111111"
        answers = await at_once(500, lambda: tried(back_end, uuid, wrong))
        assert answers == {"wrong": 5, "OTP_ATTEMPTS_EXHAUSTED": 495}
        assert await tried(back_end, uuid, right) == "OTP_ATTEMPTS_EXHAUSTED"

    race(server, run)


def test_the_right_code_on_the_last_attempt(server: ServerProcess) -> None:
    async def run(back_end: BackEnd, outbox: Outbox) -> None:
        uuid = await start(back_end, "last@example.com")
        right = await outbox.code_of(uuid)
        wrong = "0000000000" if right != "0000000000" else "1111111111"
        assert [await tried(back_end, uuid, wrong) for _ in range(4)] == ["wrong"] * 4
        assert await tried(back_end, uuid, right) == "accepted"

    race(server, run)


def test_of_100_starts_for_one_contact_six_begin(server: ServerProcess) -> None:
    async def run(back_end: BackEnd, _: Outbox) -> None:
        async def begin() -> str:
            response = await back_end.init({"type": "race", "email": "many@example.com"})
            return str(response.status_code)

        assert await at_once(100, begin) == {"200": 6, "429": 94}

    race(server, run)
