"""The rest face, from the configuration: its services and its operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from otp_server.api.rest.oauth import oauth_operations
from otp_server.api.rest.operations import RestOptions, RestServices, rest_operations
from otp_server.config import windows_ms
from otp_server.domain.contact import PhoneRules
from otp_server.domain.settings_rules import TTL_MAX_S, TTL_STRICT_MAX_S, SettingsBounds
from otp_server.errors import ConfigError, LimiterFull, StoreUnavailable
from otp_server.services.attempts import AttemptRules, AttemptService
from otp_server.services.call_limits import CallLimits
from otp_server.services.clients import ClientDirectory
from otp_server.services.guards import GuardRules, SmsGuards
from otp_server.services.idempotency import Claims
from otp_server.services.search import SearchRules, SearchService
from otp_server.services.settings import PlanCache, SettingsService
from otp_server.services.signing import TokenSigner
from otp_server.services.start_limits import LimitWindows, ProcessLimits
from otp_server.services.starts import StartRules, StartService
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from otp_server.api.operation import Operation
    from otp_server.app.base import Base
    from otp_server.app.engine import Engine
    from otp_server.config import Config

_HOUR_MS = 3_600_000
_REFRESH_S = 0.5
"""How soon a client that was revoked by the command line is refused, at the latest."""

log = get_logger(__name__)


class RestFace:
    """Everything of the rest face. Make it inside Trio; ``restore``, then ``run``."""

    def __init__(self, config: Config, base: Base, engine: Engine) -> None:
        rest, store, clock = config.rest, base.store, base.clock
        vault, delivery = engine.vault, engine.delivery
        bounds = SettingsBounds(
            ttl_max_s=TTL_STRICT_MAX_S if rest.strict else TTL_MAX_S,
            channels=engine.channels,
            domain=rest.sms_origin,
        )
        plans = PlanCache(store, clock=clock)
        windows = _windows(config)
        limits = ProcessLimits(windows, hits=engine.hits, guards=_guards(config))
        self._calls = CallLimits(windows, hits=engine.hits, clock=clock)
        claims = Claims(base.keys.contact[-1][1], kept_ms=rest.idempotency_hours * _HOUR_MS)
        country = rest.default_country or None
        self._answer_s = rest.answer_s
        self._metrics = base.metrics
        self._directory = ClientDirectory(
            store, signer=TokenSigner(base.keys.token), clock=clock, token_ttl_s=rest.token_s
        )
        self._starts = StartService(
            store,
            clock=clock,
            plans=plans,
            vault=vault,
            limits=limits,
            rules=StartRules(
                key_id=engine.keyring.key_ids[0],
                claims=claims,
                phones=PhoneRules(frozenset(rest.countries)),
                default_country=country,
                can_send=delivery.can_try,
                message_stored=delivery.notify,
                first_messages=delivery.first_messages,
                ttl_max_s=bounds.ttl_max_s,
            ),
        )
        self._attempts = AttemptService(
            store,
            clock=clock,
            keyring=engine.keyring,
            limits=limits,
            rules=AttemptRules(claims, delivery.notify, engine.channels),
        )
        self._services = RestServices(
            starts=self._starts,
            attempts=self._attempts,
            searches=SearchService(
                store,
                clock=clock,
                plans=plans,
                vault=vault,
                rules=SearchRules(country, masked=rest.mask_contacts),
            ),
            settings=SettingsService(store, clock=clock, bounds=bounds, plans=plans),
            calls=self._calls,
            clock=clock,
        )

    @property
    def directory(self) -> ClientDirectory:
        """Who knows the API clients, and checks their tokens."""
        return self._directory

    def operations(self) -> list[Operation[Any, Any]]:
        """Every operation, the token endpoint's too."""
        options = RestOptions(answer_s=self._answer_s)
        return [
            *oauth_operations(self._directory, self._calls),
            *rest_operations(self._services, options),
        ]

    async def restore(self) -> int:
        """Before anybody is served: check keys, charge the limits; how many starts they remember.

        Raises ConfigError for a key that the store needs, or limits that the contacts of the last
        day do not fit into, and StoreUnavailable.
        """
        await self._attempts.check_keys()
        await self._directory.refresh()
        try:
            return await self._starts.restore()
        except LimiterFull:
            raise ConfigError(
                "more contacts started processes lately than rest.contacts_max allows: raise it"
            ) from None

    async def run(self) -> None:
        """Follow revocations of clients until cancelled."""
        while True:
            await trio.sleep(_REFRESH_S)
            try:
                await self._directory.refresh()
            except StoreUnavailable as error:
                log.warning("API clients not read", why=str(error))
            except Exception:
                self._metrics.crashes.labels(where="clients").inc()
                log.exception("API clients not read")


def _windows(config: Config) -> LimitWindows:
    rest = config.rest
    return LimitWindows(
        contact=windows_ms(rest.limits),
        tenant=windows_ms(rest.starts_per_tenant),
        everybody=windows_ms(rest.starts_in_all),
        calls=windows_ms(rest.requests_per_client),
        wrong_address=windows_ms(rest.attempts_per_address),
        wrong_client=windows_ms(rest.attempts_per_client),
        keys_max=rest.contacts_max,
    )


def _guards(config: Config) -> SmsGuards:
    rest = config.rest
    return SmsGuards(
        GuardRules(
            prefix=windows_ms(rest.prefix_limit),
            unverified_share=rest.unverified_ratio,
            enforce=not rest.guards_record_only,
        )
    )
