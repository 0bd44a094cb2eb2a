"""An e-mail as bytes for SMTP: built by the standard library's policy, ASCII throughout."""

from __future__ import annotations

import datetime as dt
import re
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, getaddresses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otp_server.services.ports.delivery import Message

_POLICY = SMTP.clone(cte_type="7bit")  # a server without 8BITMIME takes it too
_UNFIT_IN_HEADERS = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_ADDRESS = re.compile(r"[\x21-\x7e]+@[\x21-\x7e]+")
_LEADING_DOT = re.compile(rb"(?m)^\.")


class UnfitMessage(ValueError):
    """It would not be one mail to one address. The text quotes nothing of it."""


def checked_address(address: str) -> str:
    """The same, when it is one bare ASCII address; UnfitMessage otherwise (requirement 82)."""
    if not _ADDRESS.fullmatch(address) or set(address) & set('<>",;:\\()[]'):
        raise UnfitMessage("the recipient is not one plain address")
    return address


def sender_address(sender: str) -> str:
    """The bare address of ``Name <address>``; UnfitMessage when there is none."""
    if _UNFIT_IN_HEADERS.search(sender):
        raise UnfitMessage("the sender holds control characters")
    found = getaddresses([sender])
    if len(found) != 1:
        raise UnfitMessage("the sender is not one address")
    return checked_address(found[0][1])


def mail_bytes(message: Message, *, sender: str, now_ms: int) -> bytes:
    """The mail with CRLF line ends, not dot-stuffed. UnfitMessage instead of a bad one.

    ``Message-ID`` is made of ``message.id``: each try of a message has the same.
    """
    if _UNFIT_IN_HEADERS.search(message.subject):
        raise UnfitMessage("the subject holds control characters")
    if "\x00" in message.text or "\x00" in (message.html or ""):
        raise UnfitMessage("the text holds a NUL")
    domain = sender_address(sender).rpartition("@")[2]
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = sender
    mail["To"] = checked_address(message.to)
    mail["Subject"] = message.subject
    mail["Date"] = format_datetime(dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC))
    mail["Message-ID"] = f"<{message.id}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notes, please
    mail.set_content(message.text)
    if message.html is not None:
        mail.add_alternative(message.html, subtype="html")
    return mail.as_bytes()


def dot_stuffed(mail: bytes) -> bytes:
    """The mail as it stands between 354 and the reply, the final dot included (RFC 5321 4.5.2)."""
    body = _LEADING_DOT.sub(b"..", mail)
    return body + (b".\r\n" if body.endswith(b"\r\n") else b"\r\n.\r\n")
