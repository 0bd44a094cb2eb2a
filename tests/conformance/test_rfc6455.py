"""RFC 6455 conformance: Autobahn's cases, run by kosoku against the reactor as an echo server.

Groups 1 to 7 and 10: framing, pings, reserved bits, opcodes, fragmentation, UTF-8, closing, and
masking at odd lengths. The verdicts are compared with ``expected.json`` beside this file: a new
failure and a failure that is gone are both a change to look at.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from otp_server.core import Reactor, ReactorListener
from otp_server.transport.guard import GuardLimits
from otp_server.transport.native import reactor_options
from otp_server.transport.options import LinkOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

EXPECTED = Path(__file__).with_name("expected.json")
KOSOKU = str(Path(sys.executable).with_name("kosoku"))
GROUPS = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*")
PASSED = {"OK", "NON-STRICT", "INFORMATIONAL"}
RUN_S = 100


async def _echo(listener: ReactorListener, stop: trio.Event) -> None:
    """Drive a reactor that sends every message back."""
    limits = GuardLimits(1 << 20, fragments_max=1 << 16, burst_bytes=1 << 40)
    options = LinkOptions("/", 1024, 100, ping_interval_s=60, ping_misses=2, guard=limits)
    reactor = Reactor(listener, reactor_options(options, echo=True))

    async def poll() -> None:
        while True:
            deadline = reactor.next_deadline()
            with trio.move_on_at(float("inf") if deadline is None else (deadline + 1) / 1000):
                await trio.lowlevel.wait_readable(reactor.fileno())
            now = int(trio.current_time() * 1000)
            batch = reactor.poll(now, 1000)
            assert not batch.panics
            reactor.decide_many([(number, None) for number, *_ in batch.upgrades], now)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll)
        await stop.wait()
        nursery.cancel_scope.cancel()


@pytest.fixture
def echo_server() -> Iterator[str]:
    """The address of an echo server in a thread with a Trio of its own."""
    listener = ReactorListener("127.0.0.1", 0)
    host, port = listener.getsockname()
    started: list[tuple[trio.lowlevel.TrioToken, trio.Event]] = []
    ready = threading.Event()

    async def main() -> None:
        started.append((trio.lowlevel.current_trio_token(), trio.Event()))
        ready.set()
        await _echo(listener, started[0][1])

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    assert ready.wait(10)
    yield f"{host}:{port}"
    token, stop = started[0]
    token.run_sync_soon(stop.set)
    thread.join(10)
    assert not thread.is_alive()


def test_the_cases_of_autobahn(echo_server: str, tmp_path: Path) -> None:
    chosen = [word for group in GROUPS for word in ("--include", group)]
    command = [KOSOKU, *chosen, "-p", "4", "-o", str(tmp_path)]
    done = subprocess.run(
        [*command, echo_server], capture_output=True, text=True, timeout=RUN_S, check=False
    )
    [cases] = json.loads((tmp_path / "index.json").read_text()).values()
    verdicts = {case: result["behavior"] for case, result in sorted(cases.items())}
    failed = {case: verdict for case, verdict in verdicts.items() if verdict not in PASSED}
    assert not failed, done.stdout[-2000:]
    assert verdicts == json.loads(EXPECTED.read_text())
