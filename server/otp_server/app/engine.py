"""The engine of OTP processes: what the faces that deliver codes share."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from otp_server.config import provider_options
from otp_server.core import Keyring
from otp_server.delivery import open_senders
from otp_server.errors import StoreUnavailable
from otp_server.services.compose import MessageComposer
from otp_server.services.contact_keys import check_contact_keys
from otp_server.services.contacts import ContactVault
from otp_server.services.deliver import DeliveryOptions, DeliveryParts, DeliveryService
from otp_server.services.delivery_watch import DeliveryWatch
from otp_server.services.limit_hits import LimitHits
from otp_server.services.process_upkeep import ProcessUpkeep
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from otp_server.app.base import Base
    from otp_server.config import Config

log = get_logger(__name__)


class Engine:
    """Codes, contacts, deliveries, upkeep. Make it inside Trio; ``check``, then ``run``."""

    def __init__(self, config: Config, base: Base) -> None:
        rest, store, clock = config.rest, base.store, base.clock
        self.keyring = Keyring(base.keys.code)
        self.vault = ContactVault(base.keys.contact)
        self.hits = LimitHits(base.metrics)
        providers = open_senders(provider_options(config), clock)
        self.watch = DeliveryWatch()
        self.channels = frozenset(providers)
        """Those that have a provider."""
        self.delivery = DeliveryService(
            providers,
            DeliveryParts(
                store,
                MessageComposer(self.keyring, self.vault, rest.sms_origin),
                clock,
                base.metrics,
                DeliveryOptions(),
                self.watch,
            ),
        )
        self._upkeep = ProcessUpkeep(
            store, clock, self.hits, base.metrics, rest.keep_days, self.channels
        )
        self._check_contact_keys = partial(
            check_contact_keys,
            store,
            self.vault,
            now_ms=clock.now_ms(),
            accepted=rest.contact_index,
        )
        self._delivered = trio.Event()

    async def check(self) -> None:
        """Before anybody is served. Raises ConfigError for a key that the store needs."""
        await self._check_contact_keys()

    async def run(self) -> None:
        """Deliver and sweep until cancelled; drain first."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver)
            nursery.start_soon(self._upkeep.run)

    def drain(self) -> None:
        """Begin no further delivery."""
        self.delivery.drain()

    async def wait_delivered(self) -> None:
        """After :meth:`drain`: until the deliveries that had begun have ended."""
        await self._delivered.wait()

    async def flush(self) -> None:
        """Write down what only memory holds; at the end. A store that cannot is logged."""
        try:
            await self._upkeep.flush_hits()
        except StoreUnavailable as error:
            log.warning("limit hits are not in the audit trail", why=str(error))

    async def _deliver(self) -> None:
        await self.delivery.run()
        self._delivered.set()
