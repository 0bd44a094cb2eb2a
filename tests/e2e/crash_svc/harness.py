"""kill -9 while a password is being set: the old one with its code, or the new one, never between.

    python -m tests.e2e.crash_svc.harness --seed N --rounds R

Each round asks for a code, calls otp.set_password and kills the server a drawn moment later, then
starts it on the same data and looks. Prints the seed, what each kill met, and what was broken;
exits 1 when something was.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx2
import trio

from tests.support.outbox import Outbox
from tests.support.server_process import ServerProcess
from tests.support.web_client import WebClient, add_user, open_web_client

EMAIL = "reader@example.com"
SVC = """
[svc]
calls_per_address = [[100000, 60]]
limits = [[100000, 60]]
sign_ins_per_account = [[100000, 60]]
sign_ins_per_address = [[100000, 60]]
attempts_per_address = [[100000, 60]]
"""
KILL_WITHIN = 1.5
"""Kills are drawn from so many times the time that a change takes undisturbed."""
ROUND_S = 90.0
SETTLE_S = 20.0
"""How long a claim of an attempt that a crash cut off may hold up the next (``CLAIM_PATIENCE``)."""


@dataclass
class Report:
    """What the kills met: ``old`` and ``new`` passwords, and whether the answer had come."""

    seed: int
    kept: int = 0
    changed: int = 0
    answered: int = 0
    violations: list[str] = field(default_factory=list)

    def text(self) -> str:
        done = (
            f"seed {self.seed}: {self.kept} kills left the old password, {self.changed} the new "
            f"one, {self.answered} came after the answer"
        )
        return "\n".join([done, *(f"BROKEN {violation}" for violation in self.violations)])


class Harness:
    """One server, one account, its password."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.server = ServerProcess(folder, more=SVC)
        self.outbox = Outbox(self.server.data_dir / "outbox.jsonl")
        self.source = Random(f"kill -9 on a password, seed {seed}")  # noqa: S311 - to be replayed
        self.report = Report(seed)
        self.password = "the first password of all"
        self._change_s = 0.0

    async def run(self, rounds: int) -> Report:
        """All rounds; the server is killed at the end of each."""
        self.server.start()
        await trio.to_thread.run_sync(add_user, self.server.config, EMAIL, self.password)
        try:
            await self._measure()
            for number in range(rounds):
                with trio.fail_after(ROUND_S):
                    await self._round(number)
        finally:
            self.server.kill()
        return self.report

    async def _measure(self) -> None:
        """One change that nobody disturbs, and how long it takes."""
        new = "the second password of all"
        async with open_web_client(self.server.http_url) as client, client.socket():
            proof = await self._code(client)
            begun = trio.current_time()
            assert (await client.set_password(EMAIL, *proof, new))["status"] == "ok"
            self._change_s = trio.current_time() - begun
        self.password = new

    async def _round(self, number: int) -> None:
        new = f"password of round {number}, {self.source.getrandbits(64):x}"
        async with open_web_client(self.server.http_url) as client:
            async with client.socket():
                code, secret = await self._code(client)
                answered = await self._set_and_kill(client, (code, secret), new)
            cookie = client.cookie
        self.server.start()
        async with open_web_client(self.server.http_url) as client:
            is_old = await client.signs_in(EMAIL, self.password)
            is_new = await client.signs_in(EMAIL, new)
            if is_old == is_new:
                self._broken(number, f"old password {is_old}, new password {is_new}")
            if answered and not is_new:
                self._broken(number, "the change was answered, and is lost")
            client.cookie = cookie
            await self._look(client, number, (code, secret), is_new=is_new)
        if is_new:
            self.password = new
        self.report.answered += answered
        self.report.changed += is_new
        self.report.kept += not is_new

    async def _code(self, client: WebClient) -> tuple[str, str]:
        before = len(self._codes())
        sent = await client.send(EMAIL)
        assert sent["sent"] == 1, sent
        return self._codes()[before], sent["secret"]

    def _codes(self) -> list[str]:
        return [mail.code for mail in self.outbox.to(EMAIL) if mail.code]

    async def _set_and_kill(self, client: WebClient, proof: tuple[str, str], new: str) -> bool:
        """Whether the answer came before the kill."""
        answered = False

        async def ask() -> None:
            nonlocal answered
            try:
                data = await client.set_password(EMAIL, *proof, new)
            except httpx2.HTTPError:
                return
            answered = data["status"] == "ok"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(self.source.uniform(0, KILL_WITHIN * self._change_s))
            self.server.kill()
        return answered

    async def _look(
        self, client: WebClient, number: int, proof: tuple[str, str], *, is_new: bool
    ) -> None:
        """After the restart: the code is good exactly when the password is the old one."""
        if is_new:
            # The session that asked has ended with the change: it gets a new one, and no code.
            async with client.socket():
                data = await client.set_password(EMAIL, *proof, "yet another password 1")
            if data.get("status") == "ok":
                self._broken(number, "the code was used twice")
            return
        async with client.socket():
            with trio.move_on_after(SETTLE_S):
                while True:
                    data = await client.verify(EMAIL, *proof)
                    if data.get("code") == proof[0]:
                        return
                    await trio.sleep(0.5)
        self._broken(number, f"the old password stands, and its code is not good: {data}")

    def _broken(self, number: int, what: str) -> None:
        self.report.violations.append(f"round {number}: {what}")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = trio.run(Harness(Path(folder), arguments.seed).run, arguments.rounds)
    print(report.text())  # noqa: T201 - the command
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
