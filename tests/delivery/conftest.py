"""What tests of delivery share: a message, and a clock beside Trio's real time."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import pytest

from otp_server.domain.challenge_type import Channel
from otp_server.services.ports.delivery import Message
from tests.support.certificates import CertificatePair, make_certificate
from tests.support.world import TrioClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from otp_server.clock import Clock
    from otp_server.services.ports.delivery import Sender


S = TypeVar("S", bound="Sender")


@dataclass
class Letters:
    """Makes messages that are good for ``good_s``, and closes what sent them."""

    clock: Clock = field(default_factory=TrioClock)
    senders: list[Sender] = field(default_factory=list)

    def closing(self, sender: S) -> S:
        self.senders.append(sender)
        return sender

    def message(self, channel: Channel = Channel.EMAIL, *, good_s: float = 60) -> Message:
        process = uuid.uuid4()
        return Message(
            id=f"{process.hex}-1",
            process=str(process),
            channel=channel,
            to="jana@example.org" if channel is Channel.EMAIL else "+420600000001",
            subject="Váš kód" if channel is Channel.EMAIL else "",
            text="Kód 123456\n.\nkonec",
            html="<p>Kód <strong>123456</strong></p>" if channel is Channel.EMAIL else None,
            expires_at_ms=self.clock.now_ms() + int(good_s * 1000),
        )


@pytest.fixture
async def letters() -> AsyncIterator[Letters]:
    letters = Letters()
    yield letters
    for sender in letters.senders:
        await sender.aclose()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> CertificatePair:
    """Of localhost and 127.0.0.1."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))
