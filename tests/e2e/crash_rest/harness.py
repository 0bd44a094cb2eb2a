"""kill -9 at random moments under back ends that start processes and try codes.

    python -m tests.e2e.crash_rest.harness --seed N --rounds R

prints its seed, what it did and what was broken, and exits 1 when something was. The same seed
draws the same choices; what the server had done of them when it was killed is in the history.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import httpx2
import trio

from tests.e2e.crash_rest.history import History, Start, Try
from tests.e2e.crash_rest.model import Answer, Rules
from tests.support.back_end import BackEnd, add_key, open_back_end
from tests.support.outbox import Outbox
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

RULES = Rules(max_attempts=4, route_attempts=(1, 2, 4))
REST = """
limits = [[100000, 60]]
attempts_per_address = [[1000000, 60]]
attempts_per_client = [[1000000, 60]]
requests_per_client = [[1000000, 60]]
"""
TYPE = "crash"
ROUND_S = 90.0
"""No round and no check lasts longer; what does is a hang."""
ERRORS = {answer.value: answer for answer in Answer}
_OK = 200


@dataclass(frozen=True)
class Report:
    """What a run did and what it found."""

    seed: int
    history: History
    cut: list[int]
    """For each crash: requests that were never answered."""
    messages: int
    violations: list[str]

    def text(self) -> str:
        history = self.history
        answers = [one.answer for one in history.tries]
        done = (
            f"seed {self.seed}: {len(history.starts)} starts, {len(answers)} attempts, "
            f"{answers.count(Answer.ACCEPTED)} accepted, {answers.count(Answer.WRONG)} wrong, "
            f"{self.messages} messages; cut off by each kill: {self.cut}"
        )
        return "\n".join([done, *(f"BROKEN {violation}" for violation in self.violations)])


class Harness:
    """One run: a server, its back end, its history."""

    def __init__(self, folder: Path, seed: int, *, contacts: int) -> None:
        self.server = ServerProcess(folder, rest=REST)
        self.outbox = Outbox(self.server.data_dir / "outbox.jsonl")
        self.history = History(RULES)
        self.seed = seed
        self.source = Random(f"kill -9 on processes, seed {seed}")  # noqa: S311 - to be replayed
        self.contacts = [
            ({"mobilePhone": f"+4915112{n:06}", "email": f"user{n}@example.com"}, f"contact {n}")
            for n in range(contacts)
        ]
        self.latest: dict[str, str] = {}  # the newest known process of each contact
        self.killed = False
        self._kill_at = 0

    def _event(self) -> int:
        now = self.history.tick()
        if not self.killed and self._kill_at and now >= self._kill_at:
            self.killed = True
            self.server.kill()
        return now

    # --- requests -----------------------------------------------------------------------------

    async def _ask(self, call: Awaitable[httpx2.Response]) -> httpx2.Response | None:
        """The answer; None when the kill cut it off."""
        try:
            return await call
        except httpx2.HTTPError:
            if not self.killed:
                raise
            return None

    async def start(self, back_end: BackEnd, body: dict[str, str], contact: str) -> None:
        """Start a process, with a key to repeat it by when no answer comes."""
        asked = Start(contact, f"{self.source.getrandbits(64):016x}", self._event())
        self.history.starts.append(asked)
        await self._send_start(back_end, body, asked)

    async def _send_start(self, back_end: BackEnd, body: dict[str, str], asked: Start) -> None:
        response = await self._ask(back_end.init({"type": TYPE, **body}, asked.key))
        if response is None:
            return
        asked.done = self._event()
        if response.status_code != _OK:
            self.history.oddities.append(f"an init was answered {response.text}")
            return
        asked.uuid = response.json()["data"]["uuid"]
        self.latest[asked.contact] = asked.uuid

    async def attempt(self, back_end: BackEnd, uuid: str, code: str) -> None:
        """Try a code at a process."""
        one = Try(uuid, code, self._event())
        self.history.tries.append(one)
        response = await self._ask(back_end.attempt(uuid, code))
        if response is None:
            return
        one.done = self._event()
        said = response.json()
        if response.status_code == _OK:
            one.answer = Answer.ACCEPTED if said["data"]["accepted"] else Answer.WRONG
        elif said["error"]["code"] in ERRORS:
            one.answer = ERRORS[said["error"]["code"]]
        else:
            self.history.oddities.append(f"an attempt was answered {response.text}")

    # --- one life -----------------------------------------------------------------------------

    async def _play(self, back_end: BackEnd, body: dict[str, str], contact: str) -> None:
        await self.repeat(back_end, body, contact)
        while not self.killed:
            uuid = self.latest.get(contact)
            choice = self.source.random()
            if uuid is None or choice < 0.3:
                await self.start(back_end, body, contact)
                continue
            mails = self.outbox.of(uuid)
            wrong = f"{self.source.randrange(10**10):010}"
            right = mails[-1].code if mails else wrong
            if choice < 0.5:
                await self.attempt(back_end, uuid, right)
            elif choice < 0.75:
                await self.attempt(back_end, uuid, wrong)
            elif choice < 0.8 and mails:
                await self.attempt(back_end, uuid, mails[0].code)
            else:
                async with trio.open_nursery() as both:
                    both.start_soon(self.attempt, back_end, uuid, right)
                    if choice < 0.9:
                        both.start_soon(self.attempt, back_end, uuid, right)
                    elif choice < 0.95:
                        both.start_soon(self.attempt, back_end, uuid, wrong)
                    else:
                        both.start_soon(self.start, back_end, body, contact)

    async def repeat(self, back_end: BackEnd, body: dict[str, str], contact: str) -> None:
        """Send the contact's unanswered start again, with its key."""
        for asked in self.history.starts:
            if asked.contact == contact and asked.done is None:
                await self._send_start(back_end, body, asked)

    async def _each(
        self, back_end: BackEnd, do: Callable[[BackEnd, dict[str, str], str], Awaitable[None]]
    ) -> None:
        async with trio.open_nursery() as nursery:
            for body, contact in self.contacts:
                nursery.start_soon(do, back_end, body, contact)

    async def live_and_die(self, events: int) -> int:
        """One life of a started server; how many requests its end left unanswered."""
        self.killed, self._kill_at = False, 0
        async with open_back_end(self.server.http_url, self.credentials) as back_end:
            if not self.history.starts:
                await back_end.add_type(
                    TYPE,
                    [("sms", 1), ("email", 2), ("sms", 4)],
                    code_length=10,
                    max_attempts=RULES.max_attempts,
                )
            self._kill_at = self.history.now + self.source.randint(events * 3 // 4, events * 5 // 4)
            await self._each(back_end, self._play)
        unanswered = [s for s in self.history.starts if s.done is None]
        return len(unanswered) + sum(t.done is None for t in self.history.tries)

    async def settle(self) -> dict[str, Any]:
        """On a calm server: repeat what is open, wait for the outbox, show every process."""
        self.killed, self._kill_at = False, 0
        async with open_back_end(self.server.http_url, self.credentials) as back_end:
            await self._each(back_end, self.repeat)
            shown: dict[str, Any] = {}

            async def look() -> bool:
                shown.update(await self._search(back_end))
                return not any(
                    delivery["status"] in ("queued", "leased")
                    for process in shown.values()
                    for delivery in process["deliveries"]
                )

            with trio.fail_after(ROUND_S):
                while not await look():  # noqa: ASYNC110 - another process's work
                    await trio.sleep(0.1)
        return shown

    async def _search(self, back_end: BackEnd) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while True:
            page = await back_end.data("GET", f"/otp/{TYPE}?limit=1000&offset={len(found)}")
            found.update({process["uuid"]: process for process in page})
            if len(page) < 1000:
                return found

    def run(self, rounds: int, events: int) -> Report:
        """Live and die so often, then judge."""
        cut: list[int] = []

        async def live() -> None:
            with trio.fail_after(ROUND_S):
                cut.append(await self.live_and_die(events))

        try:
            self.credentials = add_key(self.server.config)
            for _ in range(rounds):
                self.server.start()
                trio.run(live)
            self.server.start()
            shown = trio.run(self.settle)
        finally:
            self.server.kill()
        mails = self.outbox.look()
        return Report(
            self.seed, self.history, cut, len(mails), self.history.violations(mails, shown)
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--contacts", type=int, default=30)
    parser.add_argument("--events", type=int, default=800)
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)  # noqa: T201 - a command prints
    with tempfile.TemporaryDirectory() as folder:
        harness = Harness(Path(folder), asked.seed, contacts=asked.contacts)
        report = harness.run(asked.rounds, asked.events)
    print(report.text())  # noqa: T201 - a command prints
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
