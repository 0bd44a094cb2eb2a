"""The store is full or gone: init and attempt say 503 and never yes, and all recovers (41)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from tests.support.rest_server import Door, rest_server, through_door, wrong
from tests.support.small_disk import fill, small_disk

if TYPE_CHECKING:
    from pathlib import Path

    import httpx2

INITS = 6
"""All that one contact may begin in a minute: what the store refused is given back."""
EMAIL = "later@example.com"


async def sent(door: Door) -> tuple[str, str]:
    """A process whose message is out, and its code."""
    uuid, code = await door.started()
    while (await door.shown(uuid))["status"] != "sent":
        await trio.lowlevel.checkpoint()
    return uuid, code


def refused(answered: httpx2.Response) -> None:
    """It says clearly that it was not done, and when to come again."""
    assert answered.status_code == 503, answered.text
    assert answered.json()["error"]["code"] == "UNAVAILABLE"
    assert int(answered.headers["Retry-After"]) >= 1


async def refuses_to_write(door: Door, uuid: str, code: str) -> None:
    for _ in range(INITS):
        refused(await door.back_end.init({"type": "email-verification", "email": EMAIL}))
    for tried in (code, wrong(code)):
        refused(await door.back_end.attempt(uuid, tried))
    body = {"name": "during"}
    refused(await door.back_end.call("POST", "/api/otp/crud/challenge-types", body))
    assert (await door.back_end.http.get("/device/server-time")).status_code == 200


async def works_again(door: Door, uuid: str, code: str) -> None:
    """Nothing was counted or charged, and no message was sent meanwhile."""
    assert [mail.process for mail in door.outbox.look()] == [uuid]
    assert (await door.shown(uuid))["attempts"] == 0
    assert await door.tried(uuid, wrong(code)) == "wrong"
    assert await door.tried(uuid, code) == "accepted"
    for _ in range(INITS):
        later, again = await door.started(email=EMAIL)
    assert await door.tried(later, again) == "accepted"
    names = [
        each["name"] for each in await door.back_end.data("GET", "/api/otp/crud/challenge-types")
    ]
    assert "during" not in names


def test_a_full_file_system(tmp_path: Path) -> None:
    async def run(door: Door) -> None:
        uuid, code = await sent(door)
        fill(disk / "ballast")
        await refuses_to_write(door, uuid, code)
        assert (await door.shown(uuid))["status"] == "sent"  # reading needs no room
        (disk / "ballast").unlink()
        await works_again(door, uuid, code)

    with (
        small_disk(tmp_path / "small") as disk,
        rest_server(disk / "server") as (server, credentials),
    ):
        through_door(server, credentials, run)


def test_a_database_moved_away_and_back(tmp_path: Path) -> None:
    async def run(door: Door) -> None:
        uuid, code = await sent(door)
        database.rename(elsewhere)
        await refuses_to_write(door, uuid, code)
        refused(await door.back_end.call("GET", "/otp/email-verification"))
        refused(await door.back_end.call("POST", "/otp/email-verification", {}))
        refused(await door.back_end.call("GET", "/api/otp/crud/templates"))
        elsewhere.rename(database)
        await works_again(door, uuid, code)

    with rest_server(tmp_path / "server") as (server, credentials):
        database = server.data_dir / "otp.db"
        elsewhere = server.data_dir / "elsewhere.db"
        through_door(server, credentials, run)
