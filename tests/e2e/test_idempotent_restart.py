"""Idempotency-Key over kill -9: the first answer again, and nothing is done twice (71)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from tests.support.back_end import BackEnd, add_key, open_back_end
from tests.support.outbox import Outbox
from tests.support.rest_server import DEADLINE_S, Door, word_of, wrong
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

INIT = {"type": "email-verification", "email": "once@example.com"}
REPLAYED = "Idempotency-Replayed"


async def test_keys_survive_a_kill(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server")
    credentials = await trio.to_thread.run_sync(lambda: add_key(server.config))
    outbox = Outbox(server.data_dir / "outbox.jsonl")
    with trio.fail_after(DEADLINE_S):
        try:
            await trio.to_thread.run_sync(server.start)
            async with open_back_end(server.http_url, credentials) as back_end:
                door = Door(back_end, outbox)
                begun = await back_end.init(INIT, "key-1")
                assert REPLAYED not in begun.headers
                uuid = str(begun.json()["data"]["uuid"])
                code = await outbox.code_of(uuid)
                tried = await back_end.attempt(uuid, wrong(code), "key-2")
                assert (word_of(tried), tried.headers.get(REPLAYED)) == ("wrong", None)
                right = await back_end.attempt(uuid, code, "key-3")
                assert word_of(right) == "accepted"
                token = back_end.token

            await trio.to_thread.run_sync(server.kill)
            await trio.to_thread.run_sync(server.start)
            async with open_back_end(server.http_url, credentials) as fresh:
                for back_end in (fresh, BackEnd(fresh.http, token)):  # a token outlives a restart
                    await replays(back_end, uuid, code)
                door = Door(fresh, outbox)
                shown = await door.shown(uuid)
                assert (shown["status"], shown["attempts"]) == ("accepted", 1)
                assert len(await fresh.data("GET", "/otp/email-verification")) == 1
                other, _ = await door.started(email="other@example.com")
                assert [mail.process for mail in outbox.look()] == [uuid, other]
            assert await trio.to_thread.run_sync(server.stop) == 0
        finally:
            server.kill()


async def replays(back_end: BackEnd, uuid: str, code: str) -> None:
    again = await back_end.init(INIT, "key-1")
    assert (again.json()["data"]["uuid"], again.headers[REPLAYED]) == (uuid, "true")
    for key, typed, word in (("key-2", wrong(code), "wrong"), ("key-3", code, "accepted")):
        again = await back_end.attempt(uuid, typed, key)
        assert (word_of(again), again.headers[REPLAYED]) == (word, "true")
    assert word_of(await back_end.attempt(uuid, code)) == "OTP_ALREADY_ACCEPTED"
    changed = INIT | {"email": "another@example.com"}
    assert word_of(await back_end.init(changed, "key-1")) == "IDEMPOTENCY_MISMATCH"
    assert word_of(await back_end.attempt(uuid, code, "key-2")) == "IDEMPOTENCY_MISMATCH"
