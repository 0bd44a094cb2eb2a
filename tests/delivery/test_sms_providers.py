"""SMS over HTTP against a real server: what is asked, and what each fault means."""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
from base64 import b64encode
from collections import deque
from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest
import trio

from otp_server.delivery import HttpOptions, TwilioOptions, WebhookOptions
from otp_server.delivery.twilio import TwilioSender
from otp_server.delivery.webhook import WebhookSender
from otp_server.domain.challenge_type import Channel
from otp_server.services.ports.delivery import NotSent, SendOutcome, SendProblem, Sent, Uncertain
from tests.support.certificates import make_certificate
from tests.support.observe import until
from tests.support.scripted_http import RESET, STALL, ScriptedHttp, answer
from tests.support.served import captured_logs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.delivery.conftest import Letters
    from tests.support.certificates import CertificatePair

LOOPBACK = (ip_network("127.0.0.0/8"),)
KEY = b"the signing key of tests"
TOKEN = "the token of tests"
OK = answer(201, json.dumps({"sid": "SM1", "status": "queued"}))


async def serving(
    nursery: trio.Nursery,
    *answers: bytes | Sequence[bytes],
    context: ssl.SSLContext | None = None,
) -> ScriptedHttp:
    server = ScriptedHttp(deque(answers), context)
    await server.start(nursery)
    return server


def http_options(server: ScriptedHttp, **changes: object) -> HttpOptions:
    fine = HttpOptions(f"http://127.0.0.1:{server.port}/base/", allowed=LOOPBACK, deadline_s=10)
    return replace(fine, **changes)


def twilio(server: ScriptedHttp, letters: Letters, **changes: object) -> TwilioSender:
    options = TwilioOptions(http_options(server, **changes), "AC1", TOKEN, "+420910000000")
    return letters.closing(TwilioSender(options, letters.clock))


def webhook(server: ScriptedHttp, letters: Letters, **changes: object) -> WebhookSender:
    options = WebhookOptions(http_options(server, **changes), KEY)
    return letters.closing(WebhookSender(options, letters.clock))


async def test_what_twilio_is_asked(nursery: trio.Nursery, letters: Letters) -> None:
    server = await serving(nursery, OK)
    assert await twilio(server, letters).send(letters.message(Channel.SMS)) == Sent("SM1")
    [request] = server.requests
    assert request.line == "POST /base/2010-04-01/Accounts/AC1/Messages.json HTTP/1.1"
    assert parse_qs(request.body.decode()) == {
        "To": ["+420600000001"],
        "From": ["+420910000000"],
        "Body": ["Kód 123456\n.\nkonec"],
    }
    assert request.header("Authorization") == f"Basic {b64encode(f'AC1:{TOKEN}'.encode()).decode()}"
    assert request.header("Host") == f"127.0.0.1:{server.port}"


async def test_a_messaging_service_is_named_as_one(nursery: trio.Nursery, letters: Letters) -> None:
    server = await serving(nursery, OK)
    service = "MG" + "0f" * 16
    options = TwilioOptions(http_options(server), "AC1", TOKEN, service)
    sender = letters.closing(TwilioSender(options, letters.clock))
    await sender.send(letters.message(Channel.SMS))
    form = parse_qs(server.requests[0].body.decode())
    assert form["MessagingServiceSid"] == [service]
    assert "From" not in form


async def test_what_a_webhook_is_asked(nursery: trio.Nursery, letters: Letters) -> None:
    server = await serving(nursery, answer(204))
    message = letters.message(Channel.SMS)
    assert await webhook(server, letters).send(message) == Sent()
    [request] = server.requests
    assert request.line == "POST /base HTTP/1.1"
    assert json.loads(request.body) == {
        "id": message.id,
        "channel": "sms",
        "to": "+420600000001",
        "subject": "",
        "text": "Kód 123456\n.\nkonec",
        "process": message.process,
        "expires_at": message.expires_at_ms,
    }
    timestamp = request.header("X-Otp-Timestamp")
    assert abs(int(timestamp) - letters.clock.now_ms() // 1000) <= 10
    expected = hmac.digest(KEY, timestamp.encode() + b"." + request.body, hashlib.sha256).hex()
    assert request.header("X-Otp-Signature") == f"v1={expected}"
    assert request.header("Idempotency-Key") == message.id


def failed(status: int, code: int | None = None, **headers: str) -> bytes:
    return answer(status, json.dumps({"code": code, "message": "+420600000001"}), **headers)


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        (failed(400, 21211), NotSent(SendProblem.INVALID_RECIPIENT)),
        (failed(400, 21614), NotSent(SendProblem.INVALID_RECIPIENT)),
        (failed(400, 21610), NotSent(SendProblem.OPTED_OUT)),
        (failed(401, 20003), NotSent(SendProblem.AUTH)),
        (failed(404, 20404), NotSent(SendProblem.AUTH)),
        (failed(429, 20429), NotSent(SendProblem.RATE_LIMITED, 1000)),
        (failed(429, 20429, Retry_After="7"), NotSent(SendProblem.RATE_LIMITED, 7000)),
        (failed(400, 99999), NotSent(SendProblem.REJECTED)),
        (failed(500, 20500), Uncertain(SendProblem.UNKNOWN)),
        (failed(500, 21211), Uncertain(SendProblem.UNKNOWN)),
        (answer(201, "<html>a portal</html>"), Uncertain(SendProblem.UNKNOWN)),
        (answer(200, "{}"), Uncertain(SendProblem.UNKNOWN)),
        (answer(200, '{"sid": 7}'), Uncertain(SendProblem.UNKNOWN)),
        (answer(201, b"x" * 1_000_000), Uncertain(SendProblem.UNKNOWN)),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, bytes) else "",
)
async def test_what_twilio_answers(
    nursery: trio.Nursery, letters: Letters, told: bytes, outcome: SendOutcome
) -> None:
    server = await serving(nursery, told)
    assert await twilio(server, letters).send(letters.message(Channel.SMS)) == outcome
    assert len(server.requests) == 1


_AT = "Fri, 15 Jan 2027 08:00:00 GMT"
_LATER = "Fri, 15 Jan 2027 08:00:30 GMT"


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        (answer(200, "anything"), Sent()),
        (answer(202, b"x" * 1_000_000), Sent()),
        (answer(301, Location="http://127.0.0.1:1/"), NotSent(SendProblem.UNKNOWN)),
        (answer(307, Location="/elsewhere"), NotSent(SendProblem.UNKNOWN)),
        (answer(400), NotSent(SendProblem.REJECTED)),
        (answer(401), NotSent(SendProblem.AUTH)),
        (answer(403), NotSent(SendProblem.AUTH)),
        (answer(408), NotSent(SendProblem.TIMEOUT, 1000)),
        (answer(422), NotSent(SendProblem.REJECTED)),
        (answer(429), NotSent(SendProblem.RATE_LIMITED, 1000)),
        (answer(429, Retry_After="3"), NotSent(SendProblem.RATE_LIMITED, 3000)),
        (answer(429, Retry_After="99999999999"), NotSent(SendProblem.RATE_LIMITED, 3_600_000)),
        (answer(429, Retry_After="-3"), NotSent(SendProblem.RATE_LIMITED, 1000)),
        (answer(429, Retry_After="soon"), NotSent(SendProblem.RATE_LIMITED, 1000)),
        (answer(429, Retry_After=_LATER, Date=_AT), NotSent(SendProblem.RATE_LIMITED, 30_000)),
        (answer(429, Retry_After=_LATER), NotSent(SendProblem.RATE_LIMITED, 1000)),
        (answer(500), Uncertain(SendProblem.UNKNOWN)),
        (answer(501), NotSent(SendProblem.UNKNOWN)),
        (answer(502), Uncertain(SendProblem.UNKNOWN)),
        (answer(503), NotSent(SendProblem.PROVIDER_DOWN, 1000)),
        (answer(503, Retry_After="5"), NotSent(SendProblem.PROVIDER_DOWN, 5000)),
        (answer(504), Uncertain(SendProblem.TIMEOUT)),
        (answer(524), Uncertain(SendProblem.UNKNOWN)),
        (b"what is this\r\n\r\n", Uncertain(SendProblem.UNKNOWN)),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000, Uncertain(SendProblem.UNKNOWN)),
        (RESET, Uncertain(SendProblem.UNKNOWN)),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, bytes) else "",
)
async def test_what_a_webhook_answers(
    nursery: trio.Nursery, letters: Letters, told: bytes, outcome: SendOutcome
) -> None:
    server = await serving(nursery, told)
    assert await webhook(server, letters).send(letters.message(Channel.SMS)) == outcome
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        (STALL, Uncertain(SendProblem.TIMEOUT)),
        ([b"HTTP/1.1 200 OK\r\nContent-Le"], Uncertain(SendProblem.TIMEOUT)),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"], Sent()),
        ([b"HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\nhalf"], Uncertain(SendProblem.UNKNOWN)),
    ],
    ids=["no answer", "half a head", "half a body", "half a refusal"],
)
async def test_a_slow_answer_ends_at_the_deadline(
    nursery: trio.Nursery, letters: Letters, told: bytes | list[bytes], outcome: SendOutcome
) -> None:
    server = await serving(nursery, told)
    begun = trio.current_time()
    sender = webhook(server, letters, deadline_s=1)
    assert await sender.send(letters.message(Channel.SMS)) == outcome
    assert 0.99 <= trio.current_time() - begun < 5
    assert len(server.requests) == 1


async def test_a_send_ends_with_the_code(nursery: trio.Nursery, letters: Letters) -> None:
    server = await serving(nursery, STALL)
    sender = webhook(server, letters)
    outcome = await sender.send(letters.message(Channel.SMS, good_s=1))
    assert outcome == Uncertain(SendProblem.TIMEOUT)
    assert await sender.send(letters.message(Channel.SMS, good_s=0)) == NotSent(SendProblem.EXPIRED)
    assert len(server.requests) == 1


async def test_a_provider_that_stops_in_the_tls_handshake_has_nothing(
    nursery: trio.Nursery, letters: Letters
) -> None:
    async def silent(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    listeners = await nursery.start(trio.serve_tcp, silent, 0)
    port = listeners[0].socket.getsockname()[1]
    options = HttpOptions(f"https://localhost:{port}", allowed=LOOPBACK, deadline_s=0.3)
    sender = letters.closing(WebhookSender(WebhookOptions(options, KEY), letters.clock))
    outcome = await sender.send(letters.message(Channel.SMS))
    assert outcome == NotSent(SendProblem.TIMEOUT, 1000)
    nursery.cancel_scope.cancel()


async def test_nobody_listens(nursery: trio.Nursery, letters: Letters) -> None:
    server = ScriptedHttp()
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        server.port = unused.getsockname()[1]
        outcome = await webhook(server, letters).send(letters.message(Channel.SMS))
    assert outcome == NotSent(SendProblem.UNREACHABLE, 1000)


async def test_a_private_address_is_not_connected_to(
    nursery: trio.Nursery, letters: Letters
) -> None:
    server = await serving(nursery, answer(200))
    outcome = await webhook(server, letters, allowed=()).send(letters.message(Channel.SMS))
    assert outcome == NotSent(SendProblem.UNREACHABLE)
    assert server.connections == 0


async def test_the_address_that_was_checked_is_the_one_connected_to(
    nursery: trio.Nursery, letters: Letters
) -> None:
    """The name answers something else the second time: nobody asks a second time."""
    server = await serving(nursery, answer(200))
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    url = f"http://sms.example:{server.port}"
    sender = webhook(
        server, letters, url=url, lookup=rebinding, allowed=(ip_network("127.0.0.1/32"),)
    )
    assert await sender.send(letters.message(Channel.SMS)) == Sent()
    assert server.requests[0].header("Host") == f"sms.example:{server.port}"
    assert asked == ["sms.example"]
    assert await sender.send(letters.message(Channel.SMS)) == NotSent(SendProblem.UNREACHABLE)
    assert len(server.requests) == 1


async def test_the_next_address_is_tried_when_one_refuses(
    nursery: trio.Nursery, letters: Letters
) -> None:
    server = await serving(nursery, answer(200))

    async def lookup(host: str, port: int) -> list[str]:
        return ["127.0.0.9", "127.0.0.1"]

    url = f"http://sms.example:{server.port}"
    sender = webhook(server, letters, url=url, lookup=lookup)
    assert await sender.send(letters.message(Channel.SMS)) == Sent()


def server_context(pair: CertificatePair) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


async def test_tls_checks_the_name_of_the_url(
    nursery: trio.Nursery, letters: Letters, certificate: CertificatePair
) -> None:
    server = await serving(nursery, answer(200), context=server_context(certificate))

    async def lookup(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    ours = {"ca_file": certificate.certificate, "lookup": lookup}
    right = webhook(server, letters, url=f"https://localhost:{server.port}", **ours)
    assert await right.send(letters.message(Channel.SMS)) == Sent()
    wrong = webhook(server, letters, url=f"https://sms.example:{server.port}", **ours)
    outcome = await wrong.send(letters.message(Channel.SMS))
    assert outcome == NotSent(SendProblem.UNREACHABLE, 1000)
    assert len(server.requests) == 1


async def test_a_certificate_of_nobody_we_know(
    nursery: trio.Nursery, letters: Letters, certificate: CertificatePair, tmp_path: Path
) -> None:
    server = await serving(nursery, answer(200), context=server_context(certificate))
    other = make_certificate(tmp_path)
    url = f"https://localhost:{server.port}"
    sender = webhook(server, letters, url=url, ca_file=other.certificate)
    outcome = await sender.send(letters.message(Channel.SMS))
    assert outcome == NotSent(SendProblem.UNREACHABLE, 1000)
    assert server.requests == []


async def test_the_environments_proxy_is_not_used(
    nursery: trio.Nursery, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serving(nursery, answer(200))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert await webhook(server, letters).send(letters.message(Channel.SMS)) == Sent()


async def test_cookies_are_not_kept(nursery: trio.Nursery, letters: Letters) -> None:
    server = await serving(nursery, answer(200, Set_Cookie="a=b; Path=/"))
    sender = webhook(server, letters)
    for _ in range(2):
        await sender.send(letters.message(Channel.SMS))
    with pytest.raises(KeyError):
        server.requests[1].header("Cookie")


async def test_a_connection_is_kept_for_the_next_message(
    nursery: trio.Nursery, letters: Letters
) -> None:
    server = await serving(nursery, answer(200))
    sender = webhook(server, letters)
    for _ in range(5):
        assert await sender.send(letters.message(Channel.SMS)) == Sent()
    assert server.connections == 1


async def test_a_cancelled_send_closes_its_connection(
    nursery: trio.Nursery, letters: Letters
) -> None:
    server = await serving(nursery, STALL, answer(200))
    sender = webhook(server, letters)
    async with trio.open_nursery() as sending:
        sending.start_soon(sender.send, letters.message(Channel.SMS))
        await until(lambda: len(server.requests) == 1)
        sending.cancel_scope.cancel()
    assert await sender.send(letters.message(Channel.SMS)) == Sent()
    assert server.connections == 2


async def test_logs_hold_the_status_alone(nursery: trio.Nursery, letters: Letters) -> None:
    with captured_logs() as stream:
        server = await serving(nursery, failed(400, 21211), OK, failed(500), STALL)
        sender = twilio(server, letters, deadline_s=1)
        for _ in range(4):
            await sender.send(letters.message(Channel.SMS))
    output = stream.getvalue()
    assert "400" in output
    assert "invalid_recipient" in output
    for secret in ("+420", "123456", TOKEN, "AC1", "Words of"):
        assert secret not in output


@pytest.mark.parametrize(
    "url",
    ["", "sms.example", "ftp://sms.example", "https://", "https://u:p@sms.example",
     "https://sms.example/?a=b", "https://sms.example/#a", "https://sms.example:99999"],
)  # fmt: skip
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any of its messages
        HttpOptions(url)


def test_secrets_are_not_shown_and_short_keys_are_refused() -> None:
    http = HttpOptions("https://sms.example")
    assert TOKEN not in repr(TwilioOptions(http, "AC1", TOKEN, "+420910000000"))
    assert "signing" not in repr(WebhookOptions(http, KEY))
    with pytest.raises(ValueError, match="16 bytes"):
        WebhookOptions(http, b"short")
