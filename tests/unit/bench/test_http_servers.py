"""The peers of our HTTP: what is compared of two answers, and Go with JSON in and out."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest

from bench.suite import servers
from bench.suite.http_servers import start_go, without_own

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMITS = '"client";r=999999999;t=60'
BODY = '{"status":"ok","timestamp":1657524075000,"data":{"type":"a","availableIn":120}}'
HEADERS = [("Content-Type", "application/json"), ("RateLimit", LIMITS), ("Date", "now")]
TOKEN = "A" * 43


def test_the_time_and_what_limits_have_left_is_an_answers_own() -> None:
    later = BODY.replace("1657524075000", "1657524075999")
    less = [("ratelimit", LIMITS.replace("999999999", "7")), ("content-type", "application/json")]
    assert without_own((HEADERS, BODY)) == without_own((less, later))


@pytest.mark.parametrize(
    "other",
    [
        (HEADERS, BODY.replace("120", "121")),
        (HEADERS, BODY + " "),
        (HEADERS[:1], BODY),
        ([("Content-Type", "text/plain"), *HEADERS[1:]], BODY),
        ([*HEADERS, ("X-More", "1")], BODY),
    ],
)
def test_all_else_is_compared(other: tuple[list[tuple[str, str]], str]) -> None:
    assert without_own(other) != without_own((HEADERS, BODY))


@dataclass
class Go:
    """The peer, and one keep-alive connection to it."""

    http: HTTPConnection

    def ask(self, body: str, token: str = TOKEN) -> tuple[int, dict[str, str], bytes]:
        self.http.request("POST", "/otp/handshake", body, {"Authorization": f"Bearer {token}"})
        answer = self.http.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read()


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Go]:
    if shutil.which("go") is None:
        pytest.skip("Go is not installed")
    folder = tmp_path_factory.mktemp("go")
    servers.OUT.mkdir(exist_ok=True)
    types = {"a-mail": "email", "a-phone": "sms"}
    rows = [
        {
            "method": "POST",
            "rule": "/otp/handshake",
            "headers": [["content-type", "application/json"], ["ratelimit", LIMITS]],
            "body": said(name, channel, 1),
        }
        for name, channel in types.items()
    ]
    answers, log, token = (folder / name for name in ("answers", "log", "token"))
    answers.write_text(json.dumps(rows))
    token.write_text(TOKEN)
    log.touch()
    peer = start_go(answers, log, {}, token)
    http = HTTPConnection("127.0.0.1", peer.port, timeout=30)
    try:
        yield Go(http)
    finally:
        http.close()
        peer.stop()


def said(name: str, channel: str, timestamp: int) -> str:
    data = {"type": name, "channel": channel, "availableIn": 120}
    whole = {"status": "ok", "timestamp": timestamp, "data": data}
    return json.dumps(whole, separators=(",", ":"))


@pytest.mark.timeout(300)  # a first build may take long
@pytest.mark.parametrize(
    ("asked", "channel"),
    [
        ({"type": "a-mail", "email": "a@example.com"}, "email"),
        (
            {
                "type": "a-phone",
                "mobilePhone": "+491701234567",
                "entities": [{"type": "b", "id": 1}],
            },
            "sms",
        ),
    ],
)
def test_go_answers_afresh_in_our_bytes(go: Go, asked: dict[str, Any], channel: str) -> None:
    stamps = []
    for _ in range(2):
        status, headers, body = go.ask(json.dumps(asked))
        assert (status, headers["content-type"], headers["ratelimit"]) == (
            *(200, "application/json"),
            LIMITS,
        )
        stamps.append(json.loads(body)["timestamp"])
        assert body.decode() == said(asked["type"], channel, stamps[-1])
    assert 1_600_000_000_000 < stamps[0] <= stamps[1]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"type": "a-mail", "email": "a@example.com", "more": 1}', 400),
        ('{"type": "a-mail", "email": 5}', 400),
        ('{"type": "a-mail", "email": "a@example.com"} {}', 400),
        ('{"type": "a-mail", "email": "a@example.com"', 400),
        ("", 400),
        ('{"type": "a-mail"}', 422),
        ('{"type": "none", "email": "a@example.com"}', 404),
        (f'{{"type": "a-mail", "email": "{70_000 * "a"}"}}', 413),
    ],
)
def test_go_reads_what_it_is_sent(go: Go, body: str, status: int) -> None:
    assert go.ask(body)[0] == status


@pytest.mark.timeout(300)
@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "A"])
def test_go_looks_at_the_token(go: Go, token: str) -> None:
    assert go.ask('{"type": "a-mail", "email": "a@example.com"}', token)[0] == 401
