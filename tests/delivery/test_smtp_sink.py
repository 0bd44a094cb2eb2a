"""Against Postfix's smtp-sink: each fault, what is reported, and how many mails it saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from otp_server.delivery import Security, SmtpOptions
from otp_server.delivery.smtp import SmtpSender
from otp_server.services.ports.delivery import NotSent, SendOutcome, SendProblem, Sent, Uncertain
from tests.support.smtp_sink import SmtpSink, smtp_sink

if TYPE_CHECKING:
    from pathlib import Path

    from tests.delivery.conftest import Letters

AGAIN = 1000


@pytest.fixture(scope="module")
def program() -> str:
    return smtp_sink()


def sender_to(sink: SmtpSink, letters: Letters, deadline_s: float = 10) -> SmtpSender:
    options = SmtpOptions(
        "127.0.0.1", sink.port, Security.NONE, "no-reply@bank.example", deadline_s=deadline_s
    )
    return letters.closing(SmtpSender(options, letters.clock))


async def test_mails_arrive_once_each(program: str, tmp_path: Path, letters: Letters) -> None:
    with SmtpSink(program, tmp_path) as sink:
        sender = sender_to(sink, letters)
        messages = [letters.message() for _ in range(40)]
        async with trio.open_nursery() as nursery:
            for message in messages:
                nursery.start_soon(sender.send, message)
        mails = sink.mails()
        await sender.aclose()
    assert len(mails) == 40
    for message in messages:
        assert sum(f"Message-ID: <{message.id}@bank.example>" in mail for mail in mails) == 1


@pytest.mark.parametrize(
    ("options", "outcome", "seen"),
    [
        (["-r", "CONNECT"], NotSent(SendProblem.PROVIDER_DOWN, AGAIN), 0),
        (["-f", "CONNECT"], NotSent(SendProblem.PROVIDER_DOWN), 0),
        (["-q", "CONNECT"], NotSent(SendProblem.UNREACHABLE, AGAIN), 0),
        (["-r", "MAIL"], NotSent(SendProblem.REJECTED, AGAIN), 0),
        (["-Q", "MAIL"], NotSent(SendProblem.PROVIDER_DOWN, AGAIN), 0),
        (["-r", "RCPT"], NotSent(SendProblem.REJECTED, AGAIN), 0),
        (["-f", "RCPT", "-B", "550 5.1.1 none"], NotSent(SendProblem.INVALID_RECIPIENT), 0),
        (["-r", "DATA"], NotSent(SendProblem.REJECTED, AGAIN), 0),
        (["-f", "DATA"], NotSent(SendProblem.REJECTED), 0),
        (["-q", "DATA"], NotSent(SendProblem.UNREACHABLE, AGAIN), 0),
        (["-r", "."], NotSent(SendProblem.REJECTED, AGAIN), 1),
        (["-f", "."], NotSent(SendProblem.REJECTED), 1),
        (["-q", "."], Uncertain(SendProblem.UNKNOWN), 1),
        (["-Q", "."], NotSent(SendProblem.PROVIDER_DOWN, AGAIN), 1),
        (["-e"], Sent(), 1),
        (["-8"], Sent(), 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_what_a_fault_means(
    program: str,
    tmp_path: Path,
    letters: Letters,
    options: list[str],
    outcome: SendOutcome,
    seen: int,
) -> None:
    with SmtpSink(program, tmp_path, *options) as sink:
        sender = sender_to(sink, letters)
        assert await sender.send(letters.message()) == outcome
        await sender.aclose()
        assert len(sink.mails()) == seen


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        (["-w", "60"], NotSent(SendProblem.TIMEOUT, AGAIN)),  # before its 354
        (["-W", "RCPT:60"], NotSent(SendProblem.TIMEOUT, AGAIN)),
        (["-W", ".:60"], Uncertain(SendProblem.TIMEOUT)),
    ],
    ids=["DATA", "RCPT", "dot"],
)
async def test_a_stall_ends_at_the_deadline(
    program: str, tmp_path: Path, letters: Letters, options: list[str], outcome: SendOutcome
) -> None:
    with SmtpSink(program, tmp_path, *options) as sink:
        begun = trio.current_time()
        sender = sender_to(sink, letters, deadline_s=1.5)
        assert await sender.send(letters.message()) == outcome
        assert trio.current_time() - begun < 10
