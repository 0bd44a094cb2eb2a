"""The WebSocket face without sockets, in virtual time (proto/device-frames.md)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from otp_server.api.device.face import DeviceFace, FaceOptions, FaceServices
from otp_server.api.device.sessions import SLOTS_MAX
from otp_server.api.lanes import BEHIND_S, CALLS_MAX, Load
from otp_server.core import FrameDecoder, Passcode, encode_frame, panic_on_purpose
from otp_server.domain.challenge import Route
from otp_server.domain.outcome import Confirmed
from otp_server.errors import ErrorKind, StoreUnavailable
from otp_server.services.confirm import Attempt
from otp_server.stores.memory import MemoryStore
from otp_server.transport.seam import Upgrade
from otp_server.wire import device_pb2
from tests.support.hot_requests import HotStage
from tests.support.world import PLENTY, RecordingLinks, World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from trio.testing import MockClock

    from otp_server.domain.device import Device
    from otp_server.services.ports import IssueRefusal, NewDeviceCode

    Windows = Sequence[tuple[int, int]]
    MakeStage = Callable[..., Awaitable["Stage"]]

OPTIONS = FaceOptions(
    answer_s=9.5,
    connections_per_address=100,
    connections_per_device=2,
    void_on_disconnect=False,
    allowed_origins=frozenset({"https://app.example"}),
    trusted_proxies=(),
)
REQUEST = bytes.fromhex("130300")
PER_MINUTE = ((6, 60_000),)


class Stalling(MemoryStore):
    """A store whose issuing and token reads wait, or fail, as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.open = trio.Event()
        self.open.set()
        self.broken = False
        self.batches: list[int] = []

    async def issue_device_codes(self, batch: Sequence[NewDeviceCode]) -> list[int | IssueRefusal]:
        self.batches.append(len(batch))
        await self.open.wait()
        return await super().issue_device_codes(batch)

    async def get_devices(self, device_ids: Sequence[str]) -> list[Device | None]:
        await self.open.wait()
        if self.broken:
            raise StoreUnavailable("broken by the test")
        return await super().get_devices(device_ids)


class Stage:
    """A face, its links, a store, and devices with connections."""

    def __init__(
        self,
        options: FaceOptions = OPTIONS,
        requests: Windows = PER_MINUTE,
        load: Load | None = None,
    ) -> None:
        self.store = Stalling()
        self.world = World(store=self.store, requests=requests)
        self.links = RecordingLinks()
        services = FaceServices(self.world.issue, self.world.devices, self.world.presence)
        self.face = DeviceFace(services, options, self.world.metrics, load)
        self.face.attach(self.links)
        self._decoder = FrameDecoder(65_535)
        self._next = 0

    async def device(self, name: str | None = None) -> tuple[str, str]:
        device, token = await self.world.devices.add(name, "")
        return device.device_id, token

    async def upgrade(self, **headers: str) -> tuple[int, ErrorKind | None]:
        self._next += 1
        pairs = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
        peer = headers.pop("peer", "192.0.2.1")
        [verdict] = await self.face.admit([Upgrade(self._next, peer, pairs)])
        return self._next, verdict

    async def connect(self, token: str) -> int:
        connection, verdict = await self.upgrade(authorization=f"Bearer {token}")
        assert verdict is None
        return connection

    def receive(self, connection: int, data: bytes) -> None:
        frames = self._decoder.receive_data(data)
        self.face.received([(connection, frame) for frame in frames])

    async def confirm(self, otp: str) -> bool:
        attempt = Attempt(Passcode.from_text(otp, "numeric"), Route.V1, "app")
        [outcome] = await self.world.confirm.confirm_many([attempt])
        return isinstance(outcome, Confirmed)


@pytest.fixture
async def make_stage(nursery: trio.Nursery) -> MakeStage:
    """Tests take ``autojump_clock`` too: virtual time, since nothing here has sockets."""

    async def make(
        options: FaceOptions = OPTIONS,
        requests: Windows = PER_MINUTE,
        load: Load | None = None,
    ) -> Stage:
        stage = Stage(options, requests, load)
        await nursery.start(stage.face.run)
        return stage

    return make


def auth(token: str, frame_type: int = 1) -> bytes:
    return encode_frame(frame_type, device_pb2.Auth(jwt_token=token).SerializeToString())


async def test_a_request_is_answered_on_its_connection_only(
    autojump_clock: MockClock, make_stage: MakeStage
) -> None:
    stage = await make_stage()
    (_, first), (_, second) = await stage.device(), await stage.device()
    a, b = await stage.connect(first), await stage.connect(second)
    stage.receive(a, REQUEST)
    [(otp, expires_at_ms, error)] = await stage.links.wait_answers(a, 1)
    assert (len(otp), error) == (6, "")
    assert expires_at_ms == stage.world.clock.now_ms() + 300_000
    assert stage.links.answers(b) == []
    assert await stage.confirm(otp)


async def test_requests_that_wait_share_a_transaction(
    autojump_clock: MockClock, make_stage: MakeStage
) -> None:
    stage = await make_stage()
    connections = [await stage.connect((await stage.device())[1]) for _ in range(20)]
    stage.store.open = trio.Event()
    stage.receive(connections[0], REQUEST)
    await trio.testing.wait_all_tasks_blocked()
    for connection in connections[1:]:
        stage.receive(connection, REQUEST)
    stage.store.open.set()
    for connection in connections:
        await stage.links.wait_answers(connection, 1)
    assert stage.store.batches == [1, 19]


async def test_answers_keep_the_order_of_requests(
    autojump_clock: MockClock, make_stage: MakeStage
) -> None:
    """A refusal made at once does not overtake a code that waits for the store."""
    stage = await make_stage(requests=((1, 60_000),))
    connection = await stage.connect((await stage.device())[1])
    stage.store.open = trio.Event()
    stage.receive(connection, REQUEST + REQUEST + encode_frame(19, b"\x0b"))
    await trio.testing.wait_all_tasks_blocked()
    assert stage.links.answers(connection) == []
    stage.store.open.set()
    answers = await stage.links.wait_answers(connection, 3)
    assert [error for _, _, error in answers] == ["", "rate_limited", "malformed"]


async def test_a_stalled_store_is_answered_timeout_in_time(
    autojump_clock: MockClock, make_stage: MakeStage
) -> None:
    stage = await make_stage()
    connection = await stage.connect((await stage.device())[1])
    stage.store.open = trio.Event()
    asked_at = trio.current_time()
    stage.receive(connection, REQUEST)
    answers = await stage.links.wait_answers(connection, 1)
    assert answers == [("", 0, "timeout")]
    assert 9 < trio.current_time() - asked_at < 10
    stage.store.open.set()
    await trio.sleep(1)
    assert await stage.store.live_device_codes(stage.world.clock.now_ms()) == {}


async def test_each_request_has_its_own_deadline(
    autojump_clock: MockClock, make_stage: MakeStage
) -> None:
    """Those of a cancelled batch with time left are tried again, not given up."""
    stage = await make_stage()
    first, early, late = [await stage.connect((await stage.device())[1]) for _ in range(3)]
    stage.store.open = trio.Event()
    stage.receive(first, REQUEST)
    await trio.sleep(1)
    stage.receive(early, REQUEST)
    await trio.sleep(4)
    stage.receive(late, REQUEST)
    assert await stage.links.wait_answers(first, 1) == [("", 0, "timeout")]
    assert await stage.links.wait_answers(early, 1) == [("", 0, "timeout")]
    assert stage.store.batches[:2] == [1, 2]  # early and late were one batch
    assert stage.links.answers(late) == []
    stage.store.open.set()
    [(otp, _, error)] = await stage.links.wait_answers(late, 1)
    assert error == ""
    assert await stage.confirm(otp)


async def test_while_codes_wait_to_be_judged_no_device_gets_one(
    autojump_clock: MockClock, make_stage: MakeStage, nursery: trio.Nursery
) -> None:
    load = Load()
    stage, hot = await make_stage(requests=((3, 60_000),), load=load), HotStage(load)
    await nursery.start(hot.face.run)
    connection = await stage.connect((await stage.device())[1])
    judged = trio.Event()
    hot.calls.before = lambda _: judged.wait()
    waiting = [hot.ask("judge")[0] for _ in range(CALLS_MAX + 1)]
    await trio.sleep(BEHIND_S / 2)
    stage.receive(connection, REQUEST)
    [(otp, _, error)] = await stage.links.wait_answers(connection, 1)
    assert (len(otp), error) == (6, "")
    await trio.sleep(BEHIND_S)
    for _ in range(3):
        stage.receive(connection, REQUEST)
    refused = (await stage.links.wait_answers(connection, 4))[1:]
    assert refused == [("", 0, "unavailable")] * 3
    assert connection not in stage.links.closed
    judged.set()
    await trio.testing.wait_all_tasks_blocked()
    assert hot.statuses(waiting) == [200] * (CALLS_MAX + 1)
    await trio.sleep(0.001)  # the next batch
    # At once again; and what was refused was not charged.
    for _ in range(3):
        stage.receive(connection, REQUEST)
    told = [error for _, _, error in (await stage.links.wait_answers(connection, 7))[4:]]
    assert told == ["", "", "rate_limited"]


async def test_while_devices_wait_for_codes_nothing_is_started_and_all_is_judged(
    autojump_clock: MockClock, make_stage: MakeStage, nursery: trio.Nursery
) -> None:
    load = Load()
    stage, hot = await make_stage(load=load), HotStage(load)
    await nursery.start(hot.face.run)
    connections = [await stage.connect((await stage.device())[1]) for _ in range(2)]
    stage.store.open = trio.Event()
    for connection in connections:  # one is with the store, one waits
        stage.receive(connection, REQUEST)
        await trio.testing.wait_all_tasks_blocked()
    early = [*hot.ask("judge"), *hot.ask("start"), *hot.ask("foresee")]
    await trio.sleep(BEHIND_S)
    late = [*hot.ask("judge"), *hot.ask("start"), *hot.ask("foresee")]
    stage.receive(connections[0], REQUEST)  # its own do not shed it
    await trio.testing.wait_all_tasks_blocked()
    assert hot.statuses(early + late) == [200, 200, 200, 200, 503, 503]
    stage.store.open.set()
    answers = [*await stage.links.wait_answers(connections[0], 2)]
    answers += await stage.links.wait_answers(connections[1], 1)
    assert [error for _, _, error in answers] == [""] * 3
    recovered = [*hot.ask("start"), *hot.ask("foresee")]
    await trio.testing.wait_all_tasks_blocked()
    assert hot.statuses(recovered) == [200, 200]


async def test_a_panic_in_issuing_is_answered_and_survived(
    autojump_clock: MockClock,
    make_stage: MakeStage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = await make_stage()
    connection = await stage.connect((await stage.device())[1])

    async def crash(_batch: object) -> list[object]:
        panic_on_purpose()

    with monkeypatch.context() as patch:
        patch.setattr(stage.store, "issue_device_codes", crash)
        stage.receive(connection, REQUEST)
        assert await stage.links.wait_answers(connection, 1) == [("", 0, "internal")]
    stage.receive(connection, REQUEST)
    assert (await stage.links.wait_answers(connection, 2))[1][2] == ""


@pytest.mark.parametrize("frame_type", [1, 2])
async def test_a_first_frame_with_auth(
    autojump_clock: MockClock, make_stage: MakeStage, frame_type: int
) -> None:
    stage = await make_stage()
    _, token = await stage.device()
    connection, verdict = await stage.upgrade()
    assert verdict is None
    stage.receive(connection, auth(token, frame_type) + REQUEST)  # at once: the request waits
    [(otp, _, _)] = await stage.links.wait_answers(connection, 1)
    assert otp
    await trio.sleep(10)
    assert connection not in stage.links.closed


async def test_no_auth_in_time(autojump_clock: MockClock, make_stage: MakeStage) -> None:
    stage = await make_stage()
    started = trio.current_time()
    connection, _ = await stage.upgrade()
    assert await stage.links.wait_closed(connection) is ErrorKind.UNAUTHORIZED
    assert trio.current_time() - started == pytest.approx(5, abs=0.1)


async def test_a_request_before_auth_is_answered_then_closed(
    autojump_clock: MockClock, make_stage: MakeStage
) -> None:
    stage = await make_stage()
    connection, _ = await stage.upgrade()
    stage.receive(connection, REQUEST)
    assert stage.links.answers(connection) == [("", 0, "unauthorized")]
    assert stage.links.closed == {connection: ErrorKind.UNAUTHORIZED}


async def test_a_wrong_token_in_auth(autojump_clock: MockClock, make_stage: MakeStage) -> None:
    stage = await make_stage()
    silent, asking, garbage = [(await stage.upgrade())[0] for _ in range(3)]
    stage.receive(silent, auth("wrong-1-token"))
    stage.receive(asking, auth("wrong-1-token") + REQUEST)
    stage.receive(garbage, encode_frame(1, b"\xff"))
    for connection in (silent, asking, garbage):
        assert await stage.links.wait_closed(connection) is ErrorKind.UNAUTHORIZED
    assert stage.links.answers(silent) == stage.links.answers(garbage) == []
    assert stage.links.answers(asking) == [("", 0, "unauthorized")]


async def test_a_token_that_cannot_be_checked(
    autojump_clock: MockClock, make_stage: MakeStage
) -> None:
    stage = await make_stage()
    _, token = await stage.device()
    connection, _ = await stage.upgrade()
    slow, _ = await stage.upgrade()
    stage.store.broken = True
    assert (await stage.upgrade(authorization=f"Bearer {token}"))[1] is ErrorKind.UNAVAILABLE
    stage.receive(connection, auth(token))
    assert await stage.links.wait_closed(connection) is ErrorKind.UNAVAILABLE
    stage.store.open = trio.Event()
    stage.receive(slow, auth(token))
    assert await stage.links.wait_closed(slow) is ErrorKind.UNAVAILABLE


async def test_a_request_held_for_a_token_hears_why(
    autojump_clock: MockClock, make_stage: MakeStage
) -> None:
    """A good token during a store outage is not called wrong: firmware would drop it."""
    stage = await make_stage()
    _, token = await stage.device()
    connection, _ = await stage.upgrade()
    stage.store.broken = True
    stage.receive(connection, auth(token) + REQUEST)
    assert await stage.links.wait_closed(connection) is ErrorKind.UNAVAILABLE
    assert stage.links.answers(connection) == [("", 0, "unavailable")]


async def test_nothing_is_begun_for_a_closing_connection(
    autojump_clock: MockClock, make_stage: MakeStage
) -> None:
    """A check that ends too late must not void what the device's other connection shows."""
    stage = await make_stage(requests=PLENTY)
    _, token = await stage.device()
    other = await stage.connect(token)
    slow, _ = await stage.upgrade()
    stage.receive(other, REQUEST)
    [(otp, _, _)] = await stage.links.wait_answers(other, 1)
    stage.store.open = trio.Event()
    stage.receive(slow, auth(token) + REQUEST)
    assert await stage.links.wait_closed(slow) is ErrorKind.UNAVAILABLE
    stage.store.open.set()
    await trio.sleep(1)
    stage.receive(slow, REQUEST)
    await trio.sleep(1)
    assert stage.links.answers(slow) == []
    assert await stage.confirm(otp)


async def test_a_late_auth_has_its_own_time(
    autojump_clock: MockClock, make_stage: MakeStage
) -> None:
    stage = await make_stage()
    _, token = await stage.device()
    connection, _ = await stage.upgrade()
    await trio.sleep(4.9)
    stage.store.open = trio.Event()
    stage.receive(connection, auth(token) + REQUEST)
    await trio.sleep(1)
    assert stage.links.closed == {}
    stage.store.open.set()
    [(otp, _, _)] = await stage.links.wait_answers(connection, 1)
    assert otp


async def test_a_replaced_connection_may_not_ask_any_more(
    autojump_clock: MockClock, make_stage: MakeStage
) -> None:
    stage = await make_stage()
    _, token = await stage.device()
    first = await stage.connect(token)
    for _ in range(2):
        await stage.connect(token)
    stage.receive(first, REQUEST)
    await trio.sleep(1)
    assert stage.links.closed == {first: ErrorKind.REPLACED}
    assert stage.links.answers(first) == []


async def test_a_bug_in_answering_costs_that_connection_only(
    autojump_clock: MockClock, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await make_stage()
    a, b = [await stage.connect((await stage.device())[1]) for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr("otp_server.api.device.face.encode_otp_code", lambda *_: panic_on_purpose())
        stage.receive(a, REQUEST)
        assert await stage.links.wait_closed(a) is ErrorKind.INTERNAL
    stage.receive(b, REQUEST)
    assert (await stage.links.wait_answers(b, 1))[0][2] == ""


@pytest.mark.parametrize(
    "header", ["Bearer wrong", "Basic abc", "Bearer", "", "Bearer a-1-" + "0" * 64]
)
async def test_a_wrong_token_at_the_upgrade(
    autojump_clock: MockClock, make_stage: MakeStage, header: str
) -> None:
    stage = await make_stage()
    assert (await stage.upgrade(authorization=header))[1] is ErrorKind.UNAUTHORIZED


async def test_origins_are_matched_exactly(
    autojump_clock: MockClock, make_stage: MakeStage
) -> None:
    stage = await make_stage()
    assert (await stage.upgrade(origin="https://app.example"))[1] is None
    for origin in ("https://app.example.evil", "https://app", "null", "", "http://app.example"):
        assert (await stage.upgrade(origin=origin))[1] is ErrorKind.FORBIDDEN_ORIGIN


async def test_connections_of_one_address(autojump_clock: MockClock, make_stage: MakeStage) -> None:
    stage = await make_stage(replace(OPTIONS, connections_per_address=2))
    first, _ = await stage.upgrade()
    assert (await stage.upgrade())[1] is None
    assert (await stage.upgrade())[1] is ErrorKind.OVERLOADED
    assert (await stage.upgrade())[1] is ErrorKind.OVERLOADED  # a refusal takes no place
    stage.face.closed([first])
    assert (await stage.upgrade())[1] is None


async def test_the_newest_connections_of_a_device_stay(
    autojump_clock: MockClock, make_stage: MakeStage
) -> None:
    stage = await make_stage()
    _, token = await stage.device()
    first, second, third = [await stage.connect(token) for _ in range(3)]
    assert stage.links.closed == {first: ErrorKind.REPLACED}
    stage.face.closed([first])
    stage.receive(second, REQUEST)
    stage.receive(third, REQUEST)
    await stage.links.wait_answers(second, 1)
    await stage.links.wait_answers(third, 1)


async def test_revocation_closes_within_a_second(
    autojump_clock: MockClock, make_stage: MakeStage
) -> None:
    stage = await make_stage()
    device_id, token = await stage.device()
    connection = await stage.connect(token)
    stage.receive(connection, REQUEST)
    [(otp, _, _)] = await stage.links.wait_answers(connection, 1)
    revoked_at = trio.current_time()
    await stage.world.devices.revoke(device_id)
    stage.receive(connection, REQUEST)  # before the watch has seen it: the store refuses
    answers = await stage.links.wait_answers(connection, 2)
    assert answers[1] == ("", 0, "unauthorized")
    assert await stage.links.wait_closed(connection) is ErrorKind.UNAUTHORIZED
    assert trio.current_time() - revoked_at < 1
    assert not await stage.confirm(otp)


async def test_an_idle_revoked_device_is_closed(
    autojump_clock: MockClock, make_stage: MakeStage
) -> None:
    stage = await make_stage()
    device_id, token = await stage.device()
    connection = await stage.connect(token)
    await stage.world.devices.revoke(device_id)
    revoked_at = trio.current_time()
    assert await stage.links.wait_closed(connection) is ErrorKind.UNAUTHORIZED
    assert trio.current_time() - revoked_at < 1


async def test_other_frames_are_ignored(autojump_clock: MockClock, make_stage: MakeStage) -> None:
    stage = await make_stage()
    connection = await stage.connect((await stage.device())[1])
    for frame_type in {*range(256)} - {19}:
        stage.receive(connection, encode_frame(frame_type, b"\xff"))
    await trio.sleep(1)
    assert stage.links.sent == {}
    assert stage.links.closed == {}
    rendered = stage.world.metrics.render().decode()
    assert 'otp_device_frames_total{kind="unknown"} 252.0' in rendered
    assert 'otp_device_frames_total{kind="otp_response"} 1.0' in rendered


async def test_requests_refused_at_once_are_not_unanswered(
    autojump_clock: MockClock, make_stage: MakeStage
) -> None:
    stage = await make_stage(requests=[(1, 60_000)])
    _, token = await stage.device()
    connection = await stage.connect(token)
    stage.receive(connection, REQUEST)
    await stage.links.wait_answers(connection, 1)
    stage.receive(connection, 100 * REQUEST)  # more than may be unanswered, in one batch
    answers = stage.links.answers(connection)[1:]
    assert [error for _, _, error in answers] == 100 * ["rate_limited"]


async def test_too_many_unanswered_requests(
    autojump_clock: MockClock, make_stage: MakeStage
) -> None:
    stage = await make_stage()
    connection = await stage.connect((await stage.device())[1])
    stage.store.open = trio.Event()
    stage.receive(connection, REQUEST * (SLOTS_MAX + 1))
    assert stage.links.closed == {connection: ErrorKind.FLOODED}


@pytest.mark.parametrize("void", [False, True])
async def test_a_code_after_its_connection(
    autojump_clock: MockClock, make_stage: MakeStage, void: bool
) -> None:
    """Both policies (requirement 48)."""
    stage = await make_stage(replace(OPTIONS, void_on_disconnect=void), requests=PLENTY)
    _, token = await stage.device()
    connection = await stage.connect(token)
    stage.receive(connection, REQUEST)
    [(otp, _, _)] = await stage.links.wait_answers(connection, 1)
    stage.face.closed([connection])
    await trio.sleep(1)
    assert await stage.confirm(otp) is not void
    # and a code that is made after its connection went
    connection = await stage.connect(token)
    stage.store.open = trio.Event()
    stage.receive(connection, REQUEST)
    await trio.testing.wait_all_tasks_blocked()
    stage.face.closed([connection])
    stage.store.open.set()
    await trio.sleep(1)
    live = await stage.store.live_device_codes(stage.world.clock.now_ms())
    assert live == ({} if void else {6: 1})


async def test_draining_lets_nobody_in_and_begins_nothing(
    autojump_clock: MockClock, make_stage: MakeStage
) -> None:
    stage = await make_stage()
    connection = await stage.connect((await stage.device())[1])
    stage.face.drain()
    assert (await stage.upgrade())[1] is ErrorKind.DRAINING
    stage.receive(connection, REQUEST)
    assert await stage.links.wait_answers(connection, 1) == [("", 0, "unavailable")]
    assert stage.store.batches == []


async def test_a_batch_of_upgrades_is_one_read(
    autojump_clock: MockClock, make_stage: MakeStage
) -> None:
    stage = await make_stage()
    tokens = [(await stage.device())[1] for _ in range(3)]
    upgrades = [
        Upgrade(100 + n, "192.0.2.1", [(b"authorization", f"Bearer {token}".encode())])
        for n, token in enumerate([tokens[0], "wrong", tokens[1], tokens[2]])
    ]
    anonymous = Upgrade(200, "192.0.2.1", [])
    verdicts = await stage.face.admit([*upgrades, anonymous])
    assert verdicts == [None, ErrorKind.UNAUTHORIZED, None, None, None]
