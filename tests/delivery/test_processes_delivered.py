"""Worker, store and real providers together: for each fault, what the process and search show.

No message is handed over twice, none after its end; what a killed worker did is uncertain.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from otp_server.delivery import OutboxFileOptions, Security, SmtpOptions
from otp_server.domain.challenge_type import Channel
from otp_server.domain.process import FailureReason, ProcessStatus, RouteStatus
from otp_server.services.deliver import DeliveryOptions
from otp_server.stores import open_store
from tests.support.doomed_worker import webhook_to
from tests.support.observe import until
from tests.support.queued_messages import EMAIL, SMS
from tests.support.scripted_http import RESET, STALL, ScriptedHttp, answer
from tests.support.scripted_smtp import HANG_UP, ScriptedSmtp
from tests.support.sent_processes import LaterClock, SentProcesses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from otp_server.services.ports import Store

ROOT = Path(__file__).resolve().parents[2]
QUICK = DeliveryOptions(backoff_ms=20, hold_s=0.2)


@pytest.fixture(params=["memory:", "sqlite:otp.db"], ids=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(request.param, tmp_path)
    yield store
    await store.aclose()


class Providers:
    """An SMS provider and a mail server, both scripted."""

    def __init__(self, *answers: bytes, **script: str) -> None:
        self.sms = ScriptedHttp(deque(answers or (answer(200),)))
        self.mail = ScriptedSmtp(
            {"." if key == "dot" else key: told for key, told in script.items()}
        )

    async def start(
        self, nursery: trio.Nursery, store: Store, *, deadline_s: float = 10
    ) -> SentProcesses:
        await self.sms.start(nursery)
        await self.mail.start(nursery)
        mail = SmtpOptions("127.0.0.1", self.mail.port, Security.NONE, "no-reply@bank.example")
        senders = {Channel.SMS: webhook_to(self.sms.port, deadline_s), Channel.EMAIL: mail}
        return SentProcesses(store, senders, options=QUICK)

    @property
    def asked(self) -> list[dict[str, str]]:
        return [json.loads(request.body) for request in self.sms.requests]


async def test_a_code_over_the_first_route(store: Store) -> None:
    providers = Providers()
    async with trio.open_nursery() as nursery:
        stage = await providers.start(nursery, store)
        nursery.start_soon(stage.service.run)
        uuid = await stage.start(1, SMS, EMAIL)
        process, [delivery] = await stage.settled(uuid)
        nursery.cancel_scope.cancel()
    assert (process.status, process.route_status) == (ProcessStatus.SENT, RouteStatus.SENT)
    assert (delivery.channel, delivery.state) == (Channel.SMS, "sent")
    [sms] = providers.asked
    assert sms["text"] == f"Code {stage.code(uuid, process.generation)}"
    assert sms["to"] == "+420600000001"
    assert providers.mail.connections == 0


async def test_a_failed_route_moves_on_with_a_new_code(store: Store) -> None:
    providers = Providers(answer(501))
    async with trio.open_nursery() as nursery:
        stage = await providers.start(nursery, store)
        nursery.start_soon(stage.service.run)
        begun = trio.current_time()
        uuid = await stage.start(1, SMS, EMAIL)
        await until(lambda: bool(providers.mail.taken))
        process, deliveries = await stage.settled(uuid)
        nursery.cancel_scope.cancel()
    assert (process.route, process.status) == (1, ProcessStatus.SENT)
    assert trio.current_time() - begun < 3  # the other worker was told, and did not have to look
    assert [(each.state, each.problem) for each in deliveries] == [
        ("failed", "unknown"),
        ("sent", None),
    ]
    [sms], [mail] = providers.asked, providers.mail.taken
    first, second = (sms["text"].split()[1], stage.code(uuid, process.generation))
    assert first != second
    assert f"Code {second}, good".encode() in mail
    assert first.encode() not in mail


@pytest.mark.parametrize(
    "told",
    [STALL, RESET, b"garbage\r\n\r\n", answer(502)],
    ids=["stall", "reset", "garbage", "502"],
)
async def test_an_uncertain_sms_is_not_sent_again_and_its_code_stays_good(
    store: Store, told: bytes
) -> None:
    providers = Providers(told, answer(200))
    async with trio.open_nursery() as nursery:
        stage = await providers.start(nursery, store, deadline_s=1)
        nursery.start_soon(stage.service.run)
        uuid = await stage.start(1, SMS, EMAIL)
        process, [delivery] = await stage.settled(uuid)
        _, [after] = await stage.settled(await stage.start(2, SMS))
        nursery.cancel_scope.cancel()
    assert after.state == "sent"
    assert delivery.state == "uncertain"
    assert (process.status, process.route_status) == (ProcessStatus.SENT, RouteStatus.UNCERTAIN)
    assert len(providers.asked) == len({asked["id"] for asked in providers.asked}) == 2
    assert providers.mail.connections == 0


async def test_a_mail_dropped_after_its_dot_is_uncertain(store: Store) -> None:
    providers = Providers(dot=HANG_UP)
    async with trio.open_nursery() as nursery:
        stage = await providers.start(nursery, store)
        nursery.start_soon(stage.service.run)
        uuid = await stage.start(1, EMAIL)
        process, [delivery] = await stage.settled(uuid)
        nursery.cancel_scope.cancel()
    assert (delivery.state, process.route_status) == ("uncertain", RouteStatus.UNCERTAIN)
    assert len(providers.mail.seen) == 1


async def test_limits_of_the_provider_are_waited_out(store: Store) -> None:
    providers = Providers(answer(429, Retry_After="0"), answer(429, Retry_After="0"), answer(200))
    async with trio.open_nursery() as nursery:
        stage = await providers.start(nursery, store)
        nursery.start_soon(stage.service.run)
        uuid = await stage.start(1, SMS)
        process, [delivery] = await stage.settled(uuid)
        nursery.cancel_scope.cancel()
    assert (delivery.state, process.status) == ("sent", ProcessStatus.SENT)
    assert len(providers.asked) == 3
    assert len({asked["id"] for asked in providers.asked}) == 1
    assert len({asked["text"] for asked in providers.asked}) == 1


async def test_without_another_route_the_process_is_undeliverable(store: Store) -> None:
    providers = Providers(RCPT="550 no such user")
    async with trio.open_nursery() as nursery:
        stage = await providers.start(nursery, store)
        nursery.start_soon(stage.service.run)
        uuid = await stage.start(1, EMAIL)
        process, [delivery] = await stage.settled(uuid)
        nursery.cancel_scope.cancel()
    assert (delivery.state, delivery.problem) == ("failed", "invalid_recipient")
    assert (process.status, process.failure) == (
        ProcessStatus.FAILED,
        FailureReason.UNDELIVERABLE,
    )


async def test_a_stalled_provider_gets_each_message_once_and_others_go_elsewhere(
    store: Store,
) -> None:
    """40 processes with a way out: those it never took arrive by mail, the others are uncertain."""
    providers = Providers(STALL)
    async with trio.open_nursery() as nursery:
        stage = await providers.start(nursery, store, deadline_s=0.3)
        nursery.start_soon(stage.service.run)
        uuids = [await stage.start(n, SMS, EMAIL) for n in range(1, 41)]
        shown = [await stage.settled(uuid) for uuid in uuids]
        nursery.cancel_scope.cancel()
    ids = [asked["id"] for asked in providers.asked]
    assert len(ids) == len(set(ids))
    by_mail = [deliveries for _, deliveries in shown if len(deliveries) == 2]
    assert all(
        [(each.state, each.problem) for each in deliveries]
        == [("failed", "provider_down"), ("sent", None)]
        for deliveries in by_mail
    )
    uncertain = [deliveries for _, deliveries in shown if len(deliveries) == 1]
    assert all(each.state == "uncertain" for [each] in uncertain)
    assert len(uncertain) == len(ids)
    assert len(by_mail) == len(providers.mail.taken) == 40 - len(ids)
    assert by_mail


async def test_nothing_is_handed_over_past_the_codes_end(store: Store) -> None:
    providers = Providers(answer(429, Retry_After="1"))
    async with trio.open_nursery() as nursery:
        stage = await providers.start(nursery, store)
        nursery.start_soon(stage.service.run)
        uuid = await stage.start(1, SMS, ttl_ms=10_000)
        await until(lambda: len(providers.asked) == 1)
        assert isinstance(stage.clock, LaterClock)
        stage.clock.shift_ms = 6_000  # less than the margin is left
        stage.service.notify()
        _, [delivery] = await stage.settled(uuid)
        nursery.cancel_scope.cancel()
    assert delivery.state in ("void", "failed")
    assert len(providers.asked) == 1


async def test_the_outbox_file_takes_both_channels(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "outbox.jsonl"
    stage = SentProcesses(
        store, dict.fromkeys((Channel.SMS, Channel.EMAIL), OutboxFileOptions(path))
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.service.run)
        uuids = [await stage.start(1, SMS), await stage.start(2, EMAIL)]
        for uuid in uuids:
            await stage.settled(uuid)
        stage.service.drain()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["channel"] for line in lines} == {"sms", "email"}
    assert {line["process"].replace("-", "") for line in lines} == {uuid.hex() for uuid in uuids}


async def test_a_worker_killed_between_claim_and_report_leaves_it_uncertain(tmp_path: Path) -> None:
    provider = ScriptedHttp(deque([STALL]))
    async with trio.open_nursery() as nursery:
        await provider.start(nursery)
        store = await open_store("sqlite:otp.db", tmp_path)
        senders = {Channel.SMS: webhook_to(provider.port)}
        before = SentProcesses(store, senders)
        uuid = await before.start(1, SMS)
        command = [sys.executable, "-m", "tests.support.doomed_worker", str(tmp_path)]
        doomed = await nursery.start(
            partial(trio.run_process, [*command, str(provider.port)], cwd=ROOT, check=False)
        )
        await until(lambda: len(provider.requests) == 1, 30)
        _, [delivery] = await before.shown(uuid)
        assert delivery.state == "leased"
        doomed.kill()
        await doomed.wait()
        after = SentProcesses(store, senders, clock=LaterClock(60_000))
        nursery.start_soon(after.service.run)
        process, [delivery] = await after.settled(uuid)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await store.aclose()
    assert delivery.state == "uncertain"
    assert (process.status, process.route_status) == (ProcessStatus.SENT, RouteStatus.UNCERTAIN)
    assert len(provider.requests) == 1
