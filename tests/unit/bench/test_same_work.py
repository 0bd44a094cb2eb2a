"""``go-http-same`` answers as our server does: the proof, and that it sees what differs."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest

from bench.rest_installation import EMAIL_TYPE, PHONE_TYPE, contact
from bench.run import PRESETS
from bench.suite import servers
from bench.suite.http_servers import GO_SAME, OURS, Servers
from bench.suite.rounds import Ledger
from bench.suite.same_work import differing, unlike
from bench.suite.scenarios import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.suite.http_servers import Example

PATH = "/otp/handshake"
LEFT = '"contact-60";r=5;t=31, "calls-60";r=999;t=60'
HEADERS = [("Content-Type", "application/json"), ("RateLimit", LEFT), ("Date", "now")]
BODY = '{"status":"ok","timestamp":1657524075000,"data":{"availableIn":120}}'


def test_the_time_may_differ_and_a_second_of_calls() -> None:
    later = [("ratelimit", LEFT.replace("t=60", "t=59")), *HEADERS[:1]]
    assert unlike((HEADERS, BODY), (later, BODY.replace("75000", "75001"))) == ""


@pytest.mark.parametrize(
    "other",
    [
        (HEADERS, BODY.replace("120", "121")),
        (HEADERS, BODY.replace("1657524075000", "16575240750000")),
        (HEADERS, f"{BODY} "),
        (HEADERS[:1], BODY),
        ([*HEADERS, ("X-More", "1")], BODY),
        ([HEADERS[0], ("RateLimit", LEFT.replace("r=5", "r=4"))], BODY),
        ([HEADERS[0], ("RateLimit", LEFT.replace("t=31", "t=30"))], BODY),
        ([HEADERS[0], ("RateLimit", LEFT.replace("t=60", "t=58"))], BODY),
        ([HEADERS[0], ("RateLimit", LEFT.replace(", ", ","))], BODY),
    ],
)
def test_all_else_may_not(other: Example) -> None:
    assert unlike((HEADERS, BODY), other) != ""


def test_what_is_another_by_chance_is_asked_again() -> None:
    ours = HEADERS, BODY
    later = [("RateLimit", LEFT.replace("t=31", "t=30")), *HEADERS[:1]], BODY
    told = [(ours, later), (ours, ours)]
    assert differing(lambda: told.pop(0)) == ""
    assert differing(lambda: (ours, later)) == "contact-60 t=31 and t=30"


@dataclass
class Both:
    """Our server and the peer, with a keep-alive connection to each."""

    token: str
    each: list[HTTPConnection] = field(default_factory=list)

    def ask(self, body: str, **headers: str) -> list[tuple[int, Example]]:
        """What both answer to the same request."""
        sent = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        answers = []
        for http in self.each:
            http.request("POST", PATH, body, sent)
            answer = http.getresponse()
            text = answer.read().decode()
            answers.append((answer.status, (answer.getheaders(), text)))
        return answers

    def differ(self, asked: dict[str, Any]) -> str:
        """What differs between the good answers to this."""

        def good() -> tuple[Example, Example]:
            (status, ours), (other_status, other) = self.ask(json.dumps(asked))
            assert (status, other_status) == (200, 200), (asked, ours, other)
            return ours, other

        return differing(good)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    if shutil.which("go") is None:
        pytest.skip("Go is not installed")
    servers.OUT.mkdir(exist_ok=True)
    ledger = Ledger()
    bench = Bench(PRESETS["quick"], servers.Workplace(tmp_path_factory.mktemp("same")), ledger)
    kinds = ("handshake",)
    with Servers(bench, [OURS, GO_SAME], kinds, attempts={}, devices={}) as up:
        assert ledger.skipped == {}
        found = Both(up.installed[OURS].token_file.read_text())
        for name in (OURS, GO_SAME):
            port = up.running[name].port
            found.each.append(HTTPConnection("127.0.0.1", port, timeout=30))
        try:
            yield found
        finally:
            for http in found.each:
                http.close()


def questions() -> list[dict[str, Any]]:
    """Contacts of both kinds: new ones, ones that have started processes, and repeated ones."""
    asked: list[dict[str, Any]] = []
    for n in range(150):
        asked += [
            {"type": EMAIL_TYPE, "email": contact(n % 60)},
            {"type": EMAIL_TYPE, "email": f"New+{n % 40}.a_b@Some-Mail.Example.COM"},
            {"type": PHONE_TYPE, "mobilePhone": f"+49171{1_000_000 + n % 70}"},
        ]
    entities = [{"type": "client", "id": 338}, {"type": "order", "id": "ä 1"}]
    return [
        *asked,
        {"type": PHONE_TYPE, "mobilePhone": "0044 (7400) 123-456", "entities": entities},
        {"type": PHONE_TYPE, "mobilePhone": "+44 07400.123457"},
        {"type": PHONE_TYPE, "mobilePhone": "+1 201-555/0123", "email": None},
        {"type": PHONE_TYPE, "email": contact(3)},
        {"type": PHONE_TYPE, "email": contact(3), "mobilePhone": "+491711000000"},
        {"type": EMAIL_TYPE, "email": contact(4), "mobilePhone": "+491711000000"},
        {"type": EMAIL_TYPE, "email": contact(4), "mobilePhone": "+493012345678"},
    ]


@pytest.mark.timeout(300)  # a first build may take long
def test_every_good_answer_is_ours(both: Both) -> None:
    assert [why for asked in questions() if (why := both.differ(asked))] == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ("{}", {}, 422),
        ("", {}, 400),
        ('{"type": "x"', {}, 400),
        ('{"type": EMAIL, "email": "a@example.com"} {}', {}, 400),
        ('{"type": EMAIL}', {}, 422),
        ('{"type": "none", "email": "a@example.com"}', {}, 404),
        ('{"type": EMAIL, "email": "a@b@example.com"}', {}, 422),
        ('{"type": EMAIL, "email": "a@example.local"}', {}, 422),
        ('{"type": EMAIL, "email": "a..b@example.com"}', {}, 422),
        ('{"type": EMAIL, "mobilePhone": "+491711000000"}', {}, 422),
        ('{"type": PHONE, "mobilePhone": "+493012345678"}', {}, 422),
        ('{"type": PHONE, "mobilePhone": "01711000000"}', {}, 422),
        ('{"type": PHONE, "mobilePhone": "+4917110"}', {}, 422),
        ("{}", {"Content_Type": "text/plain"}, 415),
        ("{}", {"Authorization": "Bearer wrong"}, 401),
        ("{}", {"Authorization": "Basic wrong"}, 401),
        ("{}", {"bsauth": "wrong"}, 401),
    ],
)
def test_what_is_refused_is_refused_by_both(
    both: Both, body: str, headers: dict[str, str], status: int
) -> None:
    """The words stand for the types' names."""
    whole = body.replace("EMAIL", f'"{EMAIL_TYPE}"').replace("PHONE", f'"{PHONE_TYPE}"')
    assert [answered for answered, _ in both.ask(whole, **headers)] == [status, status]
    counted = {"type": EMAIL_TYPE, "email": contact(5)}
    assert both.differ(counted) == ""
