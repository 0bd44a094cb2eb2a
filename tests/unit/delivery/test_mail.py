"""The bytes of a mail: headers, alternatives, injection (requirement 82)."""

from __future__ import annotations

import email
from email.policy import default

import pytest

from otp_server.delivery.mail import (
    UnfitMessage,
    checked_address,
    dot_stuffed,
    mail_bytes,
    sender_address,
)
from otp_server.domain.challenge_type import Channel
from otp_server.services.ports.delivery import Message
from tests.support.changed_values import replace

NOW_MS = 1_800_000_000_000
MESSAGE = Message(
    id="00ff-1",
    process="00000000-0000-0000-0000-0000000000ff",
    channel=Channel.EMAIL,
    to="jana@example.org",
    subject="Váš kód",
    text="Kód: 123456\n.tečka\n",
    html="<p>Kód: <strong>123456</strong></p>",
    expires_at_ms=NOW_MS + 60_000,
)


def built(message: Message = MESSAGE, sender: str = "Banka č. 1 <no-reply@bank.example>") -> bytes:
    return mail_bytes(message, sender=sender, now_ms=NOW_MS)


def test_a_mail_reads_back_as_it_was_meant() -> None:
    mail = email.message_from_bytes(built(), policy=default)
    assert mail["From"].addresses[0].display_name == "Banka č. 1"
    assert mail["From"].addresses[0].addr_spec == "no-reply@bank.example"
    assert mail["To"] == "jana@example.org"
    assert mail["Subject"] == "Váš kód"
    assert mail["Message-ID"] == "<00ff-1@bank.example>"
    assert mail["Date"] == "Fri, 15 Jan 2027 08:00:00 +0000"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content_type() == "multipart/alternative"
    text, html = mail.iter_parts()
    assert text.get_content_type() == "text/plain"
    assert text.get_content().splitlines() == ["Kód: 123456", ".tečka"]
    assert html.get_content_type() == "text/html"
    assert html.get_content().strip() == MESSAGE.html


def test_it_is_ascii_with_crlf_and_short_lines() -> None:
    long = replace(MESSAGE, text="ž" * 5000, subject="ž" * 200)
    data = built(long)
    assert data.isascii()
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert max(map(len, data.split(b"\r\n"))) <= 998


def test_without_html_it_is_one_part() -> None:
    mail = email.message_from_bytes(built(replace(MESSAGE, html=None)), policy=default)
    assert mail.get_content_type() == "text/plain"


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "a\r\nBcc: evil@example.org"},
        {"subject": "a\nb"},
        {"subject": "a\x00b"},
        {"subject": "a\u2028b"},
        {"to": "a@example.org\r\nBcc: evil@example.org"},
        {"to": "a@example.org, b@example.org"},
        {"to": "<a@example.org>"},
        {"to": "a b@example.org"},
        {"to": "jána@example.org"},
        {"to": "a@example.org\x00"},
        {"to": ""},
        {"text": "a\x00b"},
        {"html": "a\x00b"},
    ],
    ids=repr,
)
def test_what_could_become_another_mail_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(UnfitMessage) as caught:
        built(replace(MESSAGE, **change))
    assert "evil" not in str(caught.value)


@pytest.mark.parametrize("sender", ["", "Name", "Name <>", "a@b\r\nX: y", "a@b, c@d <e@f>, g@h"])
def test_a_sender_without_one_address_is_refused(sender: str) -> None:
    with pytest.raises(UnfitMessage):
        sender_address(sender)


def test_a_plain_address_stays_as_it_is() -> None:
    assert checked_address("o'brien+otp@example.org") == "o'brien+otp@example.org"


@pytest.mark.parametrize(
    ("mail", "wire"),
    [
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"..a\r\n.b\r\n", b"...a\r\n..b\r\n.\r\n"),
        (b"a.\r\n", b"a.\r\n.\r\n"),
    ],
)
def test_dots_at_the_start_of_lines_are_doubled(mail: bytes, wire: bytes) -> None:
    assert dot_stuffed(mail) == wire
