"""The code of a process: derived when it is sent and when it is compared, stored nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from otp_server.domain.code_entry import parse_answer

if TYPE_CHECKING:
    from otp_server.core import Keyring, Passcode
    from otp_server.domain.challenge_type import Plan

CODE_DOMAIN = "rest"
"""The domain of ``Keyring.derive`` for the codes of OTP processes."""


class Coded(Protocol):
    """What a code is derived from: a process, or what the store tells of one."""

    @property
    def key_id(self) -> str:
        """The key of ``keys.code`` that it began with."""

    @property
    def tenant(self) -> str:
        """Whose it is."""

    @property
    def uuid(self) -> bytes:
        """Its 16 bytes."""

    @property
    def generation(self) -> int:
        """Which of its codes."""

    @property
    def plan(self) -> Plan:
        """The alphabet and the length."""


def derive_code(keyring: Keyring, of: Coded) -> Passcode:
    """The code. KeyError when its key is not configured any more."""
    plan = of.plan
    return keyring.derive(
        of.key_id,
        domain=CODE_DOMAIN,
        tenant=of.tenant,
        challenge=of.uuid,
        generation=of.generation,
        alphabet=plan.code_type,
        length=plan.code_length,
    )


def is_code(keyring: Keyring, of: Coded, text: str) -> bool:
    """Whether what somebody typed is the code, in constant time. KeyError as above."""
    code = derive_code(keyring, of)
    typed = parse_answer(text, of.plan.code_type, of.plan.code_length)
    return typed is not None and typed.matches(code)
