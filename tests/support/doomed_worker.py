"""A delivery worker in a process of its own, to be killed: ``doomed_worker FOLDER PORT``."""

from __future__ import annotations

import sys
from ipaddress import ip_network
from pathlib import Path

import trio

from otp_server.delivery import HttpOptions, WebhookOptions
from otp_server.domain.challenge_type import Channel
from otp_server.stores import open_store
from tests.support.sent_processes import SentProcesses

KEY = b"the signing key of tests"


def webhook_to(port: int, deadline_s: float = 10) -> WebhookOptions:
    url, allowed = f"http://127.0.0.1:{port}", (ip_network("127.0.0.0/8"),)
    return WebhookOptions(HttpOptions(url, allowed=allowed, deadline_s=deadline_s), KEY)


async def main(folder: Path, port: int) -> None:
    store = await open_store("sqlite:otp.db", folder)
    await SentProcesses(store, {Channel.SMS: webhook_to(port)}).service.run()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
