"""Makes an installation for the REST benches: a back end's client, and processes with their codes.

    python -m bench.rest_installation --config FILE --processes 2000 --out FILE

Writes one JSON object, mode 0600: ``client_id``, ``client_secret``, and ``processes``, each with
its ``uuid``, its ``code`` and a ``wrong`` one. Process ``n`` is of ``contact(n)``; its message
counts as sent, so that a server that opens the installation has nothing to deliver.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from otp_server.app.base import Base
from otp_server.app.engine import Engine
from otp_server.app.rest import RestFace
from otp_server.clock import SteadyClock
from otp_server.config import ensure_data_dir, load_config, resolve_keys
from otp_server.core import Keyring
from otp_server.domain.challenge_type import Channel
from otp_server.domain.examples import examples
from otp_server.domain.process_id import parse_uuid
from otp_server.domain.process_outcome import StartAnswer
from otp_server.services.clients import ClientService
from otp_server.services.ports.outbox import DeliveryReport, MessageState
from otp_server.services.process_code import CODE_DOMAIN
from otp_server.services.settings import SettingsService
from otp_server.services.starts import Start
from otp_server.stores import open_store
from otp_server.telemetry import Metrics, configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otp_server.config import Config, InstallationKeys
    from otp_server.domain.client import ApiClient
    from otp_server.services.ports import Store

EMAIL_TYPE, PHONE_TYPE = "email-verification", "phone-verification"
_BATCH = 64
_LEASE_MS = 30_000


def contact(number: int) -> str:
    """An address that is of this number only."""
    return f"person{number}@example.com"


async def install(config: Config, count: int) -> dict[str, Any]:
    """Everything, in the installation of this configuration."""
    ensure_data_dir(config.server.data_dir)
    keys = resolve_keys(config)
    store = await open_store(config.store.url, config.server.data_dir)
    try:
        clock = SteadyClock()
        base = Base(keys, store, clock, Metrics())
        settings = SettingsService(store, clock=clock)
        clients = ClientService(store, clock=clock, settings=settings)
        client, secret = await clients.add("bench")
        face = RestFace(config, base, Engine(config, base))
        starting = {each.name: each for each in face.operations()}["init"]
        uuids: list[str] = []
        for first in range(0, count, _BATCH):
            numbers = range(first, min(first + _BATCH, count))
            outcomes = await starting.call([_start(client, number) for number in numbers])
            uuids += _uuids(outcomes)
            await _hand_over(store, clock.now_ms())
        processes = [process_of(keys, client.tenant, uuid) for uuid in uuids]
    finally:
        await store.aclose()
    return {"client_id": client.client_id, "client_secret": secret, "processes": processes}


def _start(client: ApiClient, number: int) -> Start:
    return Start(
        tenant=client.tenant,
        client_id=client.client_id,
        address="127.0.0.1",
        type_name=EMAIL_TYPE,
        email=contact(number),
    )


def _uuids(outcomes: Iterable[object]) -> list[str]:
    started = [outcome for outcome in outcomes if isinstance(outcome, StartAnswer)]
    refused = [outcome for outcome in outcomes if not isinstance(outcome, StartAnswer)]
    if refused:
        raise SystemExit(f"a process was not started: {refused[0]}")
    return [outcome.uuid for outcome in started]


async def _hand_over(store: Store, now_ms: int) -> None:
    leased = await store.claim_messages(
        Channel.EMAIL, now_ms=now_ms, lease_until_ms=now_ms + _LEASE_MS, limit=_BATCH
    )
    reports = [
        DeliveryReport(each.message_id, each.lease, MessageState.SENT, now_ms, "bench")
        for each in leased
    ]
    await store.report_deliveries(reports)


def process_of(keys: InstallationKeys, tenant: str, uuid: str) -> dict[str, str]:
    """A process of the e-mail type, with its code as its message has it and a wrong one."""
    [(kind, _), *_] = examples(tenant, 0)
    code = (
        Keyring(keys.code)
        .derive(
            keys.code[0][0],
            domain=CODE_DOMAIN,
            tenant=tenant,
            challenge=parse_uuid(uuid) or b"",
            generation=1,
            alphabet=kind.code_type.value,
            length=kind.code_length,
        )
        .reveal()
    )
    wrong = code[:-1] + str((int(code[-1]) + 1) % 10)
    return {"uuid": uuid, "code": code, "wrong": wrong}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    configure_logging("warning")
    made = trio.run(install, load_config(arguments.config, os.environ), arguments.processes)
    arguments.out.touch(mode=0o600)
    arguments.out.write_text(json.dumps(made))


if __name__ == "__main__":
    main()
