"""The OTP processes of the svc face: a code in the mail, and the notice of a changed password.

Both are ordinary processes of the organisation's tenant, so the outbox delivers them as any other.
Nobody is told their uuids: a client of the rest face cannot even name the tenant. The words are in
the plan, in the language of whoever asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otp_server.domain.challenge_type import Channel, CodeType, Plan, PlanRoute
from otp_server.domain.process_id import new_uuid
from otp_server.domain.reset_words import LANGUAGES, choose_language, code_words, notice_words
from otp_server.services.ports.processes import NewProcess

if TYPE_CHECKING:
    from otp_server.core import Keyring
    from otp_server.domain.audit import Actor
    from otp_server.services.contacts import ContactVault

CODE_TYPE_ID = 0
"""The ``type_id`` of codes, and the next one of notices: no configured type has them."""
NOTICE_TYPE_ID = -1
CODE_LENGTH = 6
_NOTICE_LIFE_S = 86_400
_NO_SETTINGS = 0  # the version: an organisation configures no types
_MS = 1000


class ResetProcesses:
    """Makes them, to be stored."""

    def __init__(
        self, keyring: Keyring, vault: ContactVault, *, code_ttl_s: int, attempts_max: int
    ) -> None:
        self._vault = vault
        self._key_id = keyring.key_ids[0]
        # The store knows plans again by identity, so each language's is made once.
        self._codes = {
            language: Plan(
                type_id=CODE_TYPE_ID,
                type_name="svc-code",
                code_type=CodeType.NUMERIC,
                code_length=CODE_LENGTH,
                ttl=code_ttl_s,
                max_attempts=attempts_max,
                routes=(_by_mail(*code_words(language), attempts_max),),
            )
            for language in LANGUAGES
        }
        self._notices = {
            language: Plan(
                type_id=NOTICE_TYPE_ID,
                type_name="svc-notice",
                code_type=CodeType.NUMERIC,
                code_length=CODE_LENGTH,
                ttl=_NOTICE_LIFE_S,
                max_attempts=0,  # its code is in no mail, and is never right
                routes=(_by_mail(*notice_words(language), 0),),
            )
            for language in LANGUAGES
        }

    def code(
        self, tenant: str, email: str, accept_language: str, *, actor: Actor, now_ms: int
    ) -> NewProcess:
        """A code for an e-mail in normal form, charged to the limits of its account."""
        plan = self._codes[choose_language(accept_language)]
        return self._process(tenant, email, plan, actor, now_ms)

    def notice(
        self, tenant: str, email: str, accept_language: str, *, actor: Actor, now_ms: int
    ) -> NewProcess:
        """The notice to an e-mail in normal form, charged to nothing."""
        plan = self._notices[choose_language(accept_language)]
        return self._process(tenant, email, plan, actor, now_ms)

    def _process(
        self, tenant: str, email: str, plan: Plan, actor: Actor, now_ms: int
    ) -> NewProcess:
        sealed = self._vault.seal(tenant, Channel.EMAIL, email)
        return NewProcess(
            uuid=new_uuid(),
            tenant=tenant,
            plan=plan,
            settings_version=_NO_SETTINGS,
            phone=None,
            email=sealed,
            counted_indexes=(sealed.index,) if plan.type_id == CODE_TYPE_ID else (),
            entities=(),
            route=0,
            key_id=self._key_id,
            created_at_ms=now_ms,
            expires_at_ms=now_ms + plan.ttl * _MS,
            actor=actor,
            supersedes=False,
        )


def _by_mail(subject: str, text: str, attempts: int) -> PlanRoute:
    return PlanRoute(Channel.EMAIL, 0, attempts, subject, text)
