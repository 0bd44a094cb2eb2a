"""What the services of the REST face cost in this process, without HTTP: CPU a call, all threads.

    python -m bench.rest_services --store memory: --what init-phone
    python -m bench.rest_services --store sqlite:otp.db --what attempt --tasks 64
    python -m bench.rest_services --what handshake-phone --profile

``--tasks`` callers ask one thing at a time each, as connections do; with a store on disk they share
its commits. ``--batch`` has each ask so many things in one call, as the hot listener does.
``--profile`` prints where the Trio thread's time goes (and is several times slower).
The figures are of one minute on one machine: compare two versions side by side.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from bench.rest_installation import EMAIL_TYPE, PHONE_TYPE, contact, process_of
from bench.suite.http_servers import config_text
from otp_server.app.base import Base
from otp_server.app.engine import Engine
from otp_server.app.rest import RestFace
from otp_server.clock import SteadyClock
from otp_server.config import ensure_data_dir, load_config, resolve_keys
from otp_server.services.attempts import Attempt
from otp_server.services.clients import ClientService
from otp_server.services.settings import SettingsService
from otp_server.services.starts import Handshake, Start
from otp_server.stores import open_store
from otp_server.telemetry import Metrics, configure_logging

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from otp_server.config import InstallationKeys

    Call = Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]

_WARM = 200
_TOP = 40
_PHONE = 1_000_000
WHAT = ("handshake-phone", "handshake-email", "init-phone", "init-email", "attempt")


class Caller:
    """A client of one installation: makes the commands and calls the operations."""

    def __init__(self, face: RestFace, keys: InstallationKeys, who: dict[str, str]) -> None:
        self._calls: dict[str, Call] = {each.name: each.call for each in face.operations()}
        self._keys = keys
        self._who = who

    async def commands(self, what: str, count: int) -> tuple[Call, list[Any]]:
        """The operation, and so many commands for it. Of attempts every second one is right."""
        name, _, channel = what.partition("-")
        if name != "attempt":
            kind = Start if name == "init" else Handshake
            return self._calls[name], [self._start(kind, channel, n) for n in range(count)]
        made: list[Any] = []
        for number in range(count):
            [started] = await self._calls["init"]([self._start(Start, "email", number)])
            process = process_of(self._keys, self._who["tenant"], started.uuid)
            code = process["code" if number % 2 else "wrong"]
            made.append(Attempt(**self._who, uuid=started.uuid, code=code))
        return self._calls[name], made

    def _start(self, kind: type[Handshake], channel: str, number: int) -> Handshake:
        by_phone = channel == "phone"
        return kind(
            tenant=self._who["tenant"],
            client_id=self._who["client_id"],
            address=self._who["address"],
            type_name=PHONE_TYPE if by_phone else EMAIL_TYPE,
            phone=f"+49170{_PHONE + number}" if by_phone else None,
            email=None if by_phone else contact(number),
        )


async def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """Print one line, and the profile where it is wanted."""
    config_file = folder / "otp.toml"
    config_file.write_text(config_text(folder / "data"))
    config = load_config(config_file, os.environ)
    ensure_data_dir(config.server.data_dir)
    keys, clock = resolve_keys(config), SteadyClock()
    store = await open_store(arguments.store, config.server.data_dir)
    try:
        settings = SettingsService(store, clock=clock)
        client, _ = await ClientService(store, clock=clock, settings=settings).add("bench")
        who = {"tenant": client.tenant, "client_id": client.client_id, "address": "127.0.0.1"}
        base = Base(keys, store, clock, Metrics())
        face = RestFace(config, base, Engine(config, base))
        call, commands = await Caller(face, keys, who).commands(
            arguments.what, _WARM + arguments.count
        )
        await _ask_all(call, iter(commands[:_WARM]), 1, 1)
        profile = cProfile.Profile() if arguments.profile else None
        used, own = time.process_time(), time.thread_time()
        with profile or nullcontext():
            asked = iter(commands[_WARM:])
            outcomes = await _ask_all(call, asked, arguments.tasks, arguments.batch)
        used, own = time.process_time() - used, time.thread_time() - own
        each = 1e6 / arguments.count
        print(
            f"{arguments.store} {arguments.what} tasks={arguments.tasks} "
            f"batch={arguments.batch}: {used * each:.0f} us, "
            f"of them the Trio thread {own * each:.0f} us; {dict(outcomes)}"
        )
        if profile is not None:
            pstats.Stats(profile).sort_stats("tottime").print_stats(_TOP)
    finally:
        await store.aclose()


async def _ask_all(call: Call, commands: Iterator[Any], tasks: int, batch: int) -> Counter[str]:
    outcomes: Counter[str] = Counter()

    async def ask() -> None:
        while asked := list(islice(commands, batch)):  # one iterator, shared by all tasks
            outcomes.update(type(outcome).__name__ for outcome in await call(asked))

    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(ask)
    return outcomes


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", default="memory:")
    parser.add_argument("--what", choices=WHAT, default="init-phone")
    parser.add_argument("--count", type=int, default=4_000)
    parser.add_argument("--tasks", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    configure_logging("warning")
    with tempfile.TemporaryDirectory() as folder:
        trio.run(measure, arguments, Path(folder))


if __name__ == "__main__":
    main()
