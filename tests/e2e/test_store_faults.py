"""The store stalls, is locked, full, gone, read-only: clear refusals, and recovery by itself."""

from __future__ import annotations

import resource
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import apsw
import httpx2
import pytest
import trio

from otp_server.app import services as composition
from otp_server.core import Keyring
from tests.support.clients import App, ask, connect, open_app, register, register_in_trio
from tests.support.database_lock import locked
from tests.support.fault_vfs import FaultyDisk, faulty_disk
from tests.support.served import captured_logs, serve
from tests.support.server_process import UNLIMITED_CONFIRMS, ServerProcess
from tests.support.small_disk import fill, small_disk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from otp_server.core import Passcode
    from otp_server.simulator.device import SimulatedDevice
    from tests.support.served import Served

PROMISED_S = 10.0
"""A device hears something within this (requirement 53)."""
TEST_S = 60.0
GENEROUS = "requests_per_minute = 100000"


@dataclass
class Outside:
    """A device, an app and an operator, each at its door."""

    device: SimulatedDevice
    app: App
    ops: httpx2.AsyncClient
    token: str

    async def code(self) -> str:
        answer = await ask(self.device)
        assert not answer.error
        return answer.otp

    async def confirm(self, code: str) -> int:
        return (await self.app.confirm(code)).status_code

    async def start_otp(self) -> httpx2.Response:
        return await self.app.http.post(
            "/device/service",
            json={"startOtp": True},
            headers={"Authorization": f"Bearer {self.token}"},
        )

    async def ready(self) -> int:
        return (await self.ops.get("/readyz")).status_code

    async def assert_live(self) -> None:
        assert (await self.ops.get("/livez")).status_code == 200
        await self.device._ws.ping()
        assert (await self.app.http.get("/device/server-time")).status_code == 200

    async def assert_refusing(self, code: str) -> None:
        """Everything that must write says so, clearly and at once."""
        assert (await ask(self.device)).error == "unavailable"
        for answer in (await self.app.confirm(code), await self.start_otp()):
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) >= 1
            assert answer.json()["error"] == "unavailable"
        assert await self.ready() == 503
        await self.assert_live()

    async def assert_working(self, code: str) -> None:
        """As good as new, and what was live before still is."""
        assert await self.ready() == 200
        assert await self.confirm(code) == 200
        assert await self.confirm(code) == 404
        assert await self.confirm(await self.code()) == 200


@asynccontextmanager
async def outside(served: Served | ServerProcess, token: str) -> AsyncIterator[Outside]:
    with trio.fail_after(TEST_S):
        async with (
            open_app(served.http_url) as app,
            open_app(served.ops_url) as ops,
            connect(served.device_url, token) as device,
        ):
            yield Outside(device, app, ops.http, token)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path / "server", device=GENEROUS, confirm=UNLIMITED_CONFIRMS)
    yield server
    if server.process is not None:
        server.kill()


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    with faulty_disk() as disk, captured_logs():
        yield disk


class WitnessedKeyring:
    """A keyring that remembers what it drew."""

    drawn: list[str]

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        self._inner = Keyring(keys)

    def draw(
        self, domain: str, tenant: str, alphabet: str, length: int, count: int
    ) -> list[tuple[Passcode, list[bytes]]]:
        made = self._inner.draw(domain, tenant, alphabet, length, count)
        self.drawn.extend(passcode.reveal() for passcode, _ in made)
        return made

    def digests(
        self, domain: str, tenant: str, challenge: bytes, passcode: Passcode
    ) -> list[bytes]:
        return self._inner.digests(domain, tenant, challenge, passcode)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every candidate the server draws."""
    codes: list[str] = []
    monkeypatch.setattr(WitnessedKeyring, "drawn", codes, raising=False)
    monkeypatch.setattr(composition, "Keyring", WitnessedKeyring)
    return codes


def codes_in(database: Path, state: str) -> int:
    with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        [[count]] = connection.execute(
            "SELECT count(*) FROM device_codes WHERE state = ?", (state,)
        ).fetchall()
        assert isinstance(count, int)
        return count


# --- stalls -------------------------------------------------------------------------------------


async def test_a_stalled_disk_is_heard_as_timeout_and_the_late_code_is_dead(
    server: ServerProcess, disk: FaultyDisk, drawn: list[str]
) -> None:
    [(_, token)] = (await register_in_trio(server.config, 1)).devices
    async with serve(server.config) as served, outside(served, token) as out:
        old = await out.code()
        drawn.clear()
        heard: dict[str, tuple[float, str]] = {}

        async def note(what: str, said: Callable[[], Any]) -> None:
            begun = trio.current_time()
            words = str(await said())
            heard[what] = trio.current_time() - begun, words

        async def start_otp() -> int:
            return (await out.start_otp()).status_code

        async def device_asks() -> str:
            return (await ask(out.device)).error

        disk.stall()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(note, "device", device_asks)
            await trio.to_thread.run_sync(disk.wait_stalled)
            nursery.start_soon(note, "start_otp", start_otp)
            nursery.start_soon(note, "confirm", lambda: out.confirm(old))
            nursery.start_soon(note, "ready", out.ready)
            await out.assert_live()
            assert not heard
        assert {what: words for what, (_, words) in heard.items()} == {
            "device": "timeout",
            "start_otp": "504",
            "confirm": "503",
            "ready": "503",
        }
        assert max(seconds for seconds, _ in heard.values()) < PROMISED_S
        await out.assert_live()

        late = list(drawn)
        assert late
        disk.flow()
        assert [await out.confirm(code) for code in late] == [404] * len(late)
        assert codes_in(server.data_dir / "otp.db", "void") > 0, "no code came late"
        assert await out.confirm(await out.code()) == 200
        assert await out.ready() == 200


@pytest.mark.usefixtures("each_transport")
def test_a_database_locked_by_another_process(server: ServerProcess) -> None:
    [(_, token)] = register(server.config, 1).devices
    server.start()

    async def scenario() -> None:
        async with outside(server, token) as out:
            code = await out.code()
            with locked(server.data_dir / "otp.db"):
                begun = trio.current_time()
                assert (await ask(out.device)).error in {"unavailable", "timeout"}
                assert trio.current_time() - begun < PROMISED_S
                async with trio.open_nursery() as nursery:

                    async def refused() -> None:
                        assert await out.confirm(code) == 503

                    async def not_ready() -> None:
                        assert await out.ready() == 503

                    nursery.start_soon(refused)
                    nursery.start_soon(not_ready)
                    await out.assert_live()
            await out.assert_working(code)

    trio.run(scenario)


# --- full ---------------------------------------------------------------------------------------


def test_a_full_file_system(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small") as disk:
        survives_a_full(disk)


def survives_a_full(disk: Path) -> None:
    server = ServerProcess(disk / "server", device=GENEROUS, confirm=UNLIMITED_CONFIRMS)
    [(_, token)] = register(server.config, 1).devices
    server.start()

    async def scenario() -> None:
        async with outside(server, token) as out:
            code = await out.code()
            ballast = disk / "ballast"
            fill(ballast)
            await out.assert_refusing(code)
            ballast.unlink()
            await out.assert_working(code)

    try:
        trio.run(scenario)
        assert server.stop() == 0
    finally:
        server.kill()


async def test_a_full_disk(server: ServerProcess, disk: FaultyDisk) -> None:
    [(_, token)] = (await register_in_trio(server.config, 1)).devices
    async with serve(server.config) as served, outside(served, token) as out:
        code = await out.code()
        disk.full = True
        await out.assert_refusing(code)
        disk.full = False
        await out.assert_working(code)


def test_a_disk_that_fails_to_write(server: ServerProcess) -> None:
    """Not even the log can be written."""
    [(_, token)] = register(server.config, 1).devices
    server.start()
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)

    async def scenario() -> None:
        async with outside(server, token) as out:
            code = await out.code()
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1, hard))
            await out.assert_refusing(code)
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))
            await out.assert_working(code)

    trio.run(scenario)
    assert server.stop() == 0


# --- gone and read-only -----------------------------------------------------------------------


def test_a_database_moved_away_and_back(server: ServerProcess) -> None:
    [(_, token)] = register(server.config, 1).devices
    server.start()
    database = server.data_dir / "otp.db"
    elsewhere = server.data_dir / "elsewhere.db"

    async def scenario() -> None:
        async with outside(server, token) as out:
            code = await out.code()
            database.rename(elsewhere)
            await out.assert_refusing(code)
            elsewhere.rename(database)
            await out.assert_working(code)

    trio.run(scenario)
    assert server.stop() == 0


async def test_a_disk_that_turned_read_only(server: ServerProcess, disk: FaultyDisk) -> None:
    [(_, token)] = (await register_in_trio(server.config, 1)).devices
    async with serve(server.config) as served, outside(served, token) as out:
        code = await out.code()
        disk.read_only = True
        await out.assert_refusing(code)
        await out.assert_refusing(code)  # now on connections opened read-only
        disk.read_only = False
        await out.assert_working(code)
