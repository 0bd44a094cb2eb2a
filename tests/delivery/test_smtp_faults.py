"""What SMTP faults mean: certainly not sent, or nobody knows (requirement 77), and when it ends."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from otp_server.delivery import Security, SmtpOptions
from otp_server.delivery.smtp import SmtpSender
from otp_server.services.ports.delivery import NotSent, SendOutcome, SendProblem, Sent, Uncertain
from tests.support.changed_values import replace
from tests.support.scripted_smtp import HANG_UP, STALL, ScriptedSmtp

if TYPE_CHECKING:
    from tests.delivery.conftest import Letters

AGAIN = 1000


async def serving(nursery: trio.Nursery, **script: str) -> ScriptedSmtp:
    server = ScriptedSmtp(
        {"." if point == "dot" else point: told for point, told in script.items()}
    )
    await server.start(nursery)
    return server


def sender_to(server: ScriptedSmtp, letters: Letters, deadline_s: float = 10.0) -> SmtpSender:
    options = SmtpOptions(
        "127.0.0.1",
        server.port,
        Security.NONE,
        "Bank <no-reply@bank.example>",
        deadline_s=deadline_s,
        concurrency=2,
    )
    return letters.closing(SmtpSender(options, letters.clock))


async def test_a_mail_that_was_taken(nursery: trio.Nursery, letters: Letters) -> None:
    server = await serving(nursery)
    message = letters.message()
    assert await sender_to(server, letters).send(message) == Sent()
    [mail] = server.taken
    assert f"Message-ID: <{message.id}@bank.example>".encode() in mail
    assert mail.count(b"\r\n.\r\n") == 1  # the dot of the text arrived as one


@pytest.mark.parametrize(
    ("point", "reply", "outcome"),
    [
        ("connect", "421 busy", NotSent(SendProblem.PROVIDER_DOWN, AGAIN)),
        ("connect", "554 go away", NotSent(SendProblem.PROVIDER_DOWN)),
        ("connect", HANG_UP, NotSent(SendProblem.UNREACHABLE, AGAIN)),
        ("EHLO", HANG_UP, NotSent(SendProblem.UNREACHABLE, AGAIN)),
        ("MAIL", "450 later", NotSent(SendProblem.REJECTED, AGAIN)),
        ("MAIL", "421 closing", NotSent(SendProblem.PROVIDER_DOWN, AGAIN)),
        ("MAIL", "530 log in first", NotSent(SendProblem.AUTH)),
        ("MAIL", "550 no such sender", NotSent(SendProblem.REJECTED)),
        ("MAIL", HANG_UP, NotSent(SendProblem.UNREACHABLE, AGAIN)),
        ("RCPT", "450 greylisted", NotSent(SendProblem.REJECTED, AGAIN)),
        ("RCPT", "550 no such user", NotSent(SendProblem.INVALID_RECIPIENT)),
        ("RCPT", "553 bad mailbox", NotSent(SendProblem.INVALID_RECIPIENT)),
        ("RCPT", "554 refused", NotSent(SendProblem.REJECTED)),
        ("RCPT", "what", NotSent(SendProblem.REJECTED)),
        ("DATA", "451 later", NotSent(SendProblem.REJECTED, AGAIN)),
        ("DATA", "554 no", NotSent(SendProblem.REJECTED)),
        ("DATA", HANG_UP, NotSent(SendProblem.UNREACHABLE, AGAIN)),
        (".", "451 local error", NotSent(SendProblem.REJECTED, AGAIN)),
        (".", "554 spam", NotSent(SendProblem.REJECTED)),
        (".", "421 closing", NotSent(SendProblem.PROVIDER_DOWN, AGAIN)),
        (".", HANG_UP, Uncertain(SendProblem.UNKNOWN)),
        (".", "what", Uncertain(SendProblem.UNKNOWN)),
        (".", "354 go on", Uncertain(SendProblem.UNKNOWN)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_a_fault_means(
    nursery: trio.Nursery, letters: Letters, point: str, reply: str, outcome: SendOutcome
) -> None:
    server = ScriptedSmtp({point: reply})
    await server.start(nursery)
    assert await sender_to(server, letters).send(letters.message()) == outcome
    assert server.connections == 1
    assert server.taken == []
    assert len(server.seen) == (point == ".")


@pytest.mark.parametrize(
    ("point", "outcome"),
    [
        ("connect", NotSent(SendProblem.TIMEOUT, AGAIN)),
        ("RCPT", NotSent(SendProblem.TIMEOUT, AGAIN)),
        ("DATA", NotSent(SendProblem.TIMEOUT, AGAIN)),
        (".", Uncertain(SendProblem.TIMEOUT)),
    ],
    ids=["connect", "RCPT", "DATA", "dot"],
)
async def test_a_stall_ends_at_the_deadline(
    nursery: trio.Nursery, letters: Letters, point: str, outcome: SendOutcome
) -> None:
    server = ScriptedSmtp({point: STALL})
    await server.start(nursery)
    begun = trio.current_time()
    sender = sender_to(server, letters, deadline_s=1)
    assert await sender.send(letters.message()) == outcome
    assert 0.99 <= trio.current_time() - begun < 5


async def test_replies_that_drip_do_not_outstay_the_deadline(
    nursery: trio.Nursery, letters: Letters
) -> None:
    """Each piece comes within any timeout of a single read."""

    async def drip(stream: trio.SocketStream) -> None:
        try:
            while True:
                await stream.send_all(b"220-still here\r\n")
                with trio.move_on_after(0.02):
                    await stream.receive_some(100)
        except trio.BrokenResourceError:
            pass

    listeners = await nursery.start(partial(trio.serve_tcp, drip, 0, host="127.0.0.1"))
    server = ScriptedSmtp(port=listeners[0].socket.getsockname()[1])
    begun = trio.current_time()
    sender = sender_to(server, letters, deadline_s=0.3)
    assert await sender.send(letters.message()) == NotSent(SendProblem.TIMEOUT, AGAIN)
    assert trio.current_time() - begun < 5


async def test_no_dot_leaves_after_the_codes_end(nursery: trio.Nursery, letters: Letters) -> None:
    """The deadline of a send is cut to the code's end (requirement 78)."""
    server = await serving(nursery, DATA=STALL)
    outcome = await sender_to(server, letters).send(letters.message(good_s=0.3))
    assert outcome == NotSent(SendProblem.TIMEOUT, AGAIN)
    assert server.seen == []


async def test_a_message_past_its_end_touches_no_server(
    nursery: trio.Nursery, letters: Letters
) -> None:
    server = await serving(nursery)
    outcome = await sender_to(server, letters).send(letters.message(good_s=0))
    assert outcome == NotSent(SendProblem.EXPIRED)
    assert server.connections == 0


async def test_nobody_listens(nursery: trio.Nursery, letters: Letters) -> None:
    server = ScriptedSmtp()
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        server.port = unused.getsockname()[1]
        outcome = await sender_to(server, letters).send(letters.message())
    assert outcome == NotSent(SendProblem.UNREACHABLE, AGAIN)


async def test_a_connection_that_does_not_come_about_ends_at_the_deadline(
    letters: Letters,
) -> None:
    """A full queue of connections, whose system answers no more of them."""
    with ExitStack() as sockets:
        full = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        begun = trio.current_time()
        server = ScriptedSmtp(port=full.getsockname()[1])
        outcome = await sender_to(server, letters, deadline_s=0.3).send(letters.message())
    assert outcome == NotSent(SendProblem.TIMEOUT, AGAIN)
    assert trio.current_time() - begun < 3


async def test_a_name_that_resolves_to_nothing(letters: Letters) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        raise OSError("no such host")

    options = SmtpOptions("mail.example", 25, Security.NONE, "a@b.example", lookup=lookup)
    outcome = await letters.closing(SmtpSender(options, letters.clock)).send(letters.message())
    assert outcome == NotSent(SendProblem.UNREACHABLE, AGAIN)


async def test_the_second_address_is_tried_when_the_first_refuses(
    nursery: trio.Nursery, letters: Letters
) -> None:
    server = await serving(nursery)

    async def lookup(host: str, port: int) -> list[str]:
        return ["::1", "127.0.0.1"]

    options = SmtpOptions("mail.example", server.port, Security.NONE, "a@b.example", lookup=lookup)
    assert (
        await letters.closing(SmtpSender(options, letters.clock)).send(letters.message()) == Sent()
    )


async def test_a_session_is_kept_for_the_next_mail(nursery: trio.Nursery, letters: Letters) -> None:
    server = await serving(nursery)
    sender = sender_to(server, letters)
    for _ in range(3):
        assert await sender.send(letters.message()) == Sent()
    assert server.connections == 1
    assert len(server.taken) == 3
    await sender.aclose()
    assert server.verbs[-1] == "QUIT"


@pytest.mark.parametrize("told", [HANG_UP, "421 idle for too long"])
async def test_a_kept_session_that_was_closed_is_replaced(
    nursery: trio.Nursery, letters: Letters, told: str
) -> None:
    server = await serving(nursery)
    sender = sender_to(server, letters)
    assert await sender.send(letters.message()) == Sent()
    server.script_once["MAIL"] = told
    assert await sender.send(letters.message()) == Sent()
    assert server.connections == 2
    assert len(server.taken) == 2


async def test_after_a_refusal_the_session_is_not_used_again(
    nursery: trio.Nursery, letters: Letters
) -> None:
    server = await serving(nursery)
    sender = sender_to(server, letters)
    server.script_once["RCPT"] = "550 no such user"
    assert isinstance(await sender.send(letters.message()), NotSent)
    assert await sender.send(letters.message()) == Sent()
    assert server.connections == 2


async def test_no_more_sessions_at_once_than_threads(
    nursery: trio.Nursery, letters: Letters
) -> None:
    server = await serving(nursery)
    sender = sender_to(server, letters)
    outcomes: list[SendOutcome] = []

    async def send_one() -> None:
        outcomes.append(await sender.send(letters.message()))

    async with trio.open_nursery() as sends:
        for _ in range(20):
            sends.start_soon(send_one)
    assert outcomes == [Sent()] * 20
    assert len(server.taken) == len(set(server.taken)) == 20
    await sender.aclose()


async def test_a_cancelled_send_ends_at_once_and_leaves_no_dot(
    nursery: trio.Nursery, letters: Letters
) -> None:
    server = await serving(nursery, DATA=STALL)
    sender = sender_to(server, letters, deadline_s=100)
    with trio.CancelScope() as scope:
        server.on_point = lambda point: scope.cancel() if point == "DATA" else None
        await sender.send(letters.message())
    assert scope.cancelled_caught
    assert server.seen == []


async def test_a_recipient_that_is_two_is_not_sent_to(
    nursery: trio.Nursery, letters: Letters
) -> None:
    server = await serving(nursery)
    message = replace(letters.message(), to="a@example.org\r\nRCPT TO:<evil@example.org>")
    outcome = await sender_to(server, letters).send(message)
    assert outcome == NotSent(SendProblem.REJECTED)
    assert server.connections == 0
