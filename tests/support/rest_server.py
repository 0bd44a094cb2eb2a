"""A real server with the development outbox, and a back end of it with a way to read codes."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from tests.support.back_end import BackEnd, Credentials, add_key, open_back_end
from tests.support.outbox import Outbox
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    import httpx2

DEADLINE_S = 60.0


@dataclass
class Door:
    """A back end, and the outbox that its codes go to."""

    back_end: BackEnd
    outbox: Outbox

    async def start(self, type_name: str = "email-verification", **contacts: str) -> str:
        """Init, for a@example.com if for nobody; its uuid."""
        contacts = contacts or {"email": "a@example.com"}
        answered = await self.back_end.init({"type": type_name, **contacts})
        assert answered.status_code == 200, answered.text
        return str(answered.json()["data"]["uuid"])

    async def started(
        self, type_name: str = "email-verification", **contacts: str
    ) -> tuple[str, str]:
        """The same, and its code."""
        uuid = await self.start(type_name, **contacts)
        return uuid, await self.outbox.code_of(uuid)

    async def tried(self, uuid: str, code: str) -> str:
        """An attempt: accepted, wrong, or the word of its refusal."""
        return word_of(await self.back_end.attempt(uuid, code))

    async def shown(self, uuid: str, type_name: str = "email-verification") -> dict[str, Any]:
        """What search says of a process."""
        found = await self.back_end.data("GET", f"/otp/{type_name}")
        [one] = [each for each in found if each["uuid"] == uuid]
        assert isinstance(one, dict)
        return one


def word_of(answered: httpx2.Response) -> str:
    """An answer in a word: accepted, wrong, ok, or the code of its error."""
    said = answered.json()
    if said["status"] != "ok":
        return str(said["error"]["code"])
    if "accepted" in (said["data"] or {}):
        return "accepted" if said["data"]["accepted"] else "wrong"
    return "ok"


def wrong(code: str) -> str:
    """Another code of digits."""
    return f"{code[:-1]}{(int(code[-1]) + 1) % 10}"


@contextmanager
def rest_server(folder: Path, **sections: str) -> Iterator[tuple[ServerProcess, Credentials]]:
    """Serve, with a client of all scopes; at the end the server must stop by itself."""
    server = ServerProcess(folder, **sections)
    credentials = add_key(server.config)
    server.start()
    try:
        yield server, credentials
        assert server.stop() == 0
    finally:
        server.kill()


@asynccontextmanager
async def open_door(server: ServerProcess, credentials: Credentials) -> AsyncIterator[Door]:
    """With a fresh token."""
    async with open_back_end(server.http_url, credentials) as back_end:
        yield Door(back_end, Outbox(server.data_dir / "outbox.jsonl"))


def through_door(
    server: ServerProcess,
    credentials: Credentials,
    run: Callable[[Door], Awaitable[None]],
    within_s: float = DEADLINE_S,
) -> None:
    """Run a scenario within a deadline."""

    async def within_deadline() -> None:
        with trio.fail_after(within_s):
            async with open_door(server, credentials) as door:
                await run(door)

    trio.run(within_deadline)
