"""A person who forgot the password: a real server, a real mail server, and their mailbox."""

from __future__ import annotations

import itertools
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx2

from tests.support.mail_server import MailServer
from tests.support.observe import wait_until
from tests.support.server_process import ServerProcess
from tests.support.web_client import add_user

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage
    from pathlib import Path

WAIT_S = 30.0
OLD = "an old but good password"
NEW = "quite new and good as well"
CODE = re.compile(r"(?<![0-9])[0-9]{6}(?![0-9])")
FREE = """
[svc]
limits = [[100000, 60]]
calls_per_address = [[100000, 60]]
sends_per_address = [[100000, 60]]
attempts_per_address = [[100000, 60]]
sign_ins_per_account = [[100000, 60]]
sign_ins_per_address = [[100000, 60]]
sessions_per_address = [[100000, 60]]
{svc}
[delivery.email]
kind = "smtp"
host = "127.0.0.1"
port = {port}
security = "none"
from = "Accounts <no-reply@example.com>"
"""


@dataclass
class ResetStage:
    """``server`` is running and sends to ``mail``."""

    server: ServerProcess
    mail: MailServer
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def url(self) -> str:
        """The page."""
        return f"{self.server.http_url.rstrip('/')}/-/reset"

    def new_user(self) -> str:
        """The e-mail of a fresh account with the old password."""
        email = f"jana{next(self._numbers)}@example.com"
        add_user(self.server.config, email, OLD)
        return email

    def mails_to(self, email: str) -> list[EmailMessage]:
        """What arrived, oldest first."""
        box = self.mail.mailbox
        return [
            mail for mail, (_, to) in zip(box.mails, box.envelopes, strict=False) if to == [email]
        ]

    def mail_to(self, email: str, number: int) -> EmailMessage:
        """The mail of this number, the first is 1, as soon as it arrived."""
        wait_until(lambda: len(self.mails_to(email)) >= number, WAIT_S, f"mail {number} of {email}")
        return self.mails_to(email)[number - 1]

    def code_of(self, email: str, number: int = 1) -> str:
        """The code in the mail of this number."""
        body = self.mail_to(email, number).get_body(("plain",))
        assert body is not None
        found = CODE.search(body.get_content())
        assert found is not None, body.get_content()
        return found[0]

    def signs_in(self, email: str, password: str) -> bool:
        """Whether this password is let in."""
        asked = {"email": email, "password": password}
        answer = httpx2.post(
            f"{self.server.http_url.rstrip('/')}/-/svc/session.sign_in",
            json=asked,
            timeout=WAIT_S,
            trust_env=False,
        )
        assert answer.status_code in (200, 401), answer.text
        return answer.status_code == 200


@contextmanager
def open_reset_stage(folder: Path, svc: str = "") -> Iterator[ResetStage]:
    """Without limits; ``svc`` are further keys of ``[svc]``."""
    with MailServer() as mail:
        server = ServerProcess(folder, more=FREE.format(port=mail.port, svc=svc)).start()
        try:
            yield ResetStage(server, mail)
        except BaseException:
            server.kill()
            raise
        assert server.stop() == 0


def other_code(code: str) -> str:
    """A code of the same form that is another."""
    return f"{(int(code) + 1) % 1_000_000:06}"
