"""What is said on a client's web socket."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_server.api.svc import socket_messages
from otp_server.api.svc.socket_messages import NOT_KNOWN, NOT_READ, Asked, read_message
from otp_server.domain.account_outcome import UserView

JANE = UserView("5f0c1e7a9b3d2846", "main", "jane.doe@example.com", "Jane", 'D"oë')
NOW_MS = 1_800_000_000_123


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ('{"service": "sys.hello"}', Asked.HELLO),
        ('{"service": "sys.bind", "data": {"socket_id": "x"}, "more": [1]}', Asked.BIND),
        ('{"service": "sys.ping"}', Asked.PING),
        ('{"service": "ping"}', Asked.PING),
        ('{"service": "a.b.ping"}', Asked.PING),
        (' {"other": {"service": "x"}, "service": "push.hello"} ', Asked.HELLO),
        ('{"service": "sys.other"}', NOT_KNOWN),
        ('{"service": "sys.Ping"}', NOT_KNOWN),
        ('{"service": "ping.sys"}', NOT_KNOWN),
        ('{"service": "sys.ping "}', NOT_KNOWN),
        ('{"service": ""}', NOT_KNOWN),
        ('{"service": 1}', NOT_READ),
        ('{"service": null}', NOT_READ),
        ("{}", NOT_READ),
        ("[]", NOT_READ),
        ('"sys.ping"', NOT_READ),
        ("", NOT_READ),
        ("sys.ping", NOT_READ),
        ('{"service": "sys.ping"', NOT_READ),
        ('{"service": "sys.ping"} more', NOT_READ),
        ('{"service": "sys.ping", "data": ' + 2000 * "[" + 2000 * "]" + "}", NOT_READ),
        ('{"service": "sys.ping\ud800"}', NOT_READ),
    ],
)
def test_what_a_client_says(text: str, asked: Asked | str) -> None:
    assert read_message(text) == asked


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_answered(text: str) -> None:
    assert read_message(text) in {NOT_READ, NOT_KNOWN, *Asked}


def test_the_words_to_the_client() -> None:
    """Byte for byte as existing clients read them (contracts B4)."""
    shown = {
        "id": JANE.uid,
        "uid": JANE.uid,
        "email": JANE.email,
        "firstname": "Jane",
        "lastname": 'D"oë',
        "signed_in": 1,
    }
    said = [
        (
            socket_messages.hello("id", "a.example", None),
            "sys.hello",
            {"socket_id": "id", "main_domain": "a.example", "user": None},
        ),
        (
            socket_messages.hello("id", "a.example", JANE),
            "sys.hello",
            {"socket_id": "id", "main_domain": "a.example", "user": shown},
        ),
        (socket_messages.bound("id"), "sys.socket_bound", {"socket_id": "id"}),
        (socket_messages.ping(NOW_MS), "sys.ping", {"timestamp": NOW_MS}),
        (socket_messages.keep_alive(NOW_MS), "sys.keepalive", {"timestamp": NOW_MS}),
        (socket_messages.handshake("why"), "sys.handshake", {"error": "why"}),
    ]
    for text, service, data in said:
        assert json.loads(text) == {"service": service, "data": data}
