"""The svc face, from the configuration: accounts, sessions, codes, web sockets, the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from otp_server.api.svc.operations import SvcOptions, SvcServices, svc_operations
from otp_server.api.svc.origins import Origins
from otp_server.api.svc.page import reset_page_operations
from otp_server.api.svc.socket_face import SocketFace, SocketServices
from otp_server.config import windows_ms
from otp_server.domain.address import parse_networks
from otp_server.errors import ConfigError, LimiterFull
from otp_server.services.account_upkeep import AccountUpkeep
from otp_server.services.accounts import AccountService
from otp_server.services.address_calls import AddressCalls
from otp_server.services.breached import BreachedPasswords
from otp_server.services.password_policy import PasswordPolicy
from otp_server.services.passwords import PasswordHasher
from otp_server.services.quiet_wake import QuietWake
from otp_server.services.reset_limits import ResetLimits, ResetWindows
from otp_server.services.resets import PasswordParts, ResetParts, ResetRules, ResetService
from otp_server.services.session_limits import SessionLimits, SessionWindows
from otp_server.services.sessions import SessionRules, SessionService
from otp_server.services.sockets import SocketRegistry
from otp_server.transport.client_socket import ClientSocketOptions, ClientSockets
from otp_server.transport.sockets import client_sockets_possible

if TYPE_CHECKING:
    from otp_server.api.operation import Operation
    from otp_server.app.base import Base
    from otp_server.app.engine import Engine
    from otp_server.config import Config

_DAY_MS = 86_400_000


class SvcFace:
    """Everything of the svc face. Make it inside Trio; ``restore``, then ``run``."""

    def __init__(self, config: Config, base: Base, engine: Engine, descriptors: int) -> None:
        """``descriptors``: how many this process may have open."""
        svc, store, clock = config.svc, base.store, base.clock
        bound = SocketRegistry()
        self._wake = QuietWake(engine.delivery.notify)
        hasher = PasswordHasher()
        policy = PasswordPolicy(BreachedPasswords(svc.breached_passwords))
        accounts = AccountService(
            store, vault=engine.vault, clock=clock, hasher=hasher, policy=policy
        )
        sessions = SessionService(
            store,
            clock=clock,
            accounts=accounts,
            limits=SessionLimits(_session_windows(config), hits=engine.hits, clock=clock),
            sockets=bound,
            rules=SessionRules(signed_in_ms=svc.session_days * _DAY_MS),
        )
        self._resets = ResetService(
            ResetParts(
                store=store,
                clock=clock,
                keyring=engine.keyring,
                vault=engine.vault,
                accounts=accounts,
                sockets=bound,
                limits=ResetLimits(_reset_windows(config), hits=engine.hits),
                rules=ResetRules(
                    message_stored=engine.delivery.notify if svc.reveal_accounts else self._wake,
                    reveal_accounts=svc.reveal_accounts,
                    code_ttl_s=svc.code_ttl_s,
                    attempts_max=svc.attempts_max,
                    delivery_wait_s=svc.delivery_wait_s,
                    channels=engine.channels,
                ),
            ),
            passwords=PasswordParts(hasher, policy, sessions),
            watch=engine.watch,
        )
        calls = AddressCalls(
            windows_ms(svc.calls_per_address), svc.keys_max, hits=engine.hits, clock=clock
        )
        self._upkeep = AccountUpkeep(store, clock, base.metrics)
        self._services = SvcServices(self._resets, sessions, accounts, bound, calls, clock)
        self._options = SvcOptions(
            hubs=svc.hubs,
            allowed_origins=svc.allowed_origins,
            cookie_secure=svc.cookie_secure,
            session_days=svc.session_days,
            get_calls=svc.get_calls,
            answer_s=svc.answer_s,
        )
        self.sockets = ClientSockets(
            SocketFace(
                SocketServices(sessions, accounts, bound, clock),
                Origins(svc.allowed_origins, tls_only=svc.cookie_secure),
            ),
            ClientSocketOptions(
                sockets_max=client_sockets_possible(descriptors, svc.sockets_max),
                per_address=svc.sockets_per_address,
                trusted=parse_networks(config.http.trusted_proxies),
            ),
            base.metrics,
        )

    def operations(self) -> list[Operation[Any, Any]]:
        """Every service, and the page."""
        services = svc_operations(self._services, self._options)
        return [*services, *reset_page_operations(services[0].error_style)]

    async def restore(self) -> int:
        """Before anybody is served: charge the limits; how many codes they remember.

        Raises ConfigError when they do not fit, and StoreUnavailable.
        """
        try:
            return await self._resets.restore()
        except LimiterFull:
            raise ConfigError(
                "more e-mails were sent codes lately than svc.keys_max allows: raise it"
            ) from None

    async def run(self) -> None:
        """Forget what is over, and wake who delivers, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._upkeep.run)
            nursery.start_soon(self._wake.run)


def _session_windows(config: Config) -> SessionWindows:
    svc = config.svc
    return SessionWindows(
        account=windows_ms(svc.sign_ins_per_account),
        address=windows_ms(svc.sign_ins_per_address),
        sessions=windows_ms(svc.sessions_per_address),
        sessions_in_all=windows_ms(svc.sessions_in_all),
        keys_max=svc.keys_max,
    )


def _reset_windows(config: Config) -> ResetWindows:
    svc = config.svc
    return ResetWindows(
        account=windows_ms(svc.limits),
        sends_address=windows_ms(svc.sends_per_address),
        wrong_address=windows_ms(svc.attempts_per_address),
        sends_in_all=windows_ms(svc.sends_in_all),
        keys_max=svc.keys_max,
    )
