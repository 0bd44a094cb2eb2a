"""Devices and organisations: registering, authenticating, revoking.

Device keys are four words of the 2048-word English list, taken from the first 44 bits of
HMAC-SHA-256(installation key, device id): the same device always gets the same key (contracts A6).
On a clash with another device a counter is hashed in; the outcome is stored with the device.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import cache
from typing import TYPE_CHECKING

from mnemonic import Mnemonic

from otp_server.domain.device import (
    DEVICE_ID,
    ORG_KEY_CHARACTERS_MAX,
    Device,
    Organisation,
    device_id_of_token,
    new_device_id,
    new_device_token,
    new_org_key,
    secret_digest,
)
from otp_server.errors import AlreadyExists, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otp_server.clock import Clock
    from otp_server.services.ports import DeviceStore

_WORDS = 4
_BITS_A_WORD = 11
_NAME_CHARACTERS_MAX = 200


@cache
def _words() -> Sequence[str]:
    words: list[str] = Mnemonic("english").wordlist
    return words


def device_key(key: bytes, device_id: str, counter: int = 0) -> str:
    """Four words, as ``^[a-z]+-[a-z]+-[a-z]+-[a-z]+$``."""
    message = f"device-key\x00{counter}\x00{device_id}".encode()
    bits = int.from_bytes(hmac.digest(key, message, hashlib.sha256), "big")
    top = bits >> (256 - _WORDS * _BITS_A_WORD)
    mask = (1 << _BITS_A_WORD) - 1
    picked = [(top >> (_BITS_A_WORD * n)) & mask for n in reversed(range(_WORDS))]
    return "-".join(_words()[n] for n in picked)


class DeviceService:
    """The device registry and the organisations."""

    def __init__(self, store: DeviceStore, *, clock: Clock, key: bytes) -> None:
        self._store = store
        self._clock = clock
        self._key = key

    async def add(self, device_id: str | None, name: str) -> tuple[Device, str]:
        """Register a device; the token in the answer is shown nowhere else.

        Raises AlreadyExists for a taken id, ConfigError for an id or name that cannot be one.
        """
        device_id = new_device_id() if device_id is None else device_id
        if DEVICE_ID.fullmatch(device_id) is None:
            raise ConfigError(
                f"device id {device_id!r} cannot be used: give 1 to 64 of A-Z a-z 0-9 _ . : -"
            )
        _check_name(name)
        token = new_device_token(device_id)
        counter = 0
        while True:
            device = Device(
                device_id=device_id,
                name=name,
                device_key=device_key(self._key, device_id, counter),
                token_digest=secret_digest(token),
                created_at_ms=self._clock.now_ms(),
            )
            try:
                await self._store.add_device(device)
            except AlreadyExists as error:
                if error.what != "device_key":
                    raise
                counter += 1
            else:
                return device, token

    async def list_all(self) -> list[Device]:
        """All devices, revoked ones too, oldest first."""
        return await self._store.list_devices()

    async def revoke(self, device_id: str) -> bool:
        """Revoke for ever; False when there is no such device."""
        return await self._store.revoke_device(device_id, self._clock.now_ms())

    async def authenticate_many(self, tokens: Sequence[str]) -> list[Device | None]:
        """The device each token belongs to; None for a wrong token or a revoked device.

        One read for the batch. Digests of 256-bit tokens are compared in constant time.
        Raises StoreUnavailable.
        """
        ids = [device_id_of_token(token) for token in tokens]
        known = await self._store.get_devices([i if i is not None else "" for i in ids])
        return [
            device
            if device is not None
            and not device.revoked
            and hmac.compare_digest(device.token_digest, secret_digest(token))
            else None
            for token, device in zip(tokens, known, strict=True)
        ]

    async def get(self, device_id: str) -> Device | None:
        """The device unless it is unknown or revoked. Raises StoreUnavailable."""
        [device] = await self._store.get_devices([device_id])
        return None if device is None or device.revoked else device

    async def add_organisation(self, name: str) -> tuple[Organisation, str]:
        """Register an organisation; the key in the answer is shown nowhere else."""
        _check_name(name)
        if not name:
            raise ConfigError("an organisation needs a name")
        now_ms = self._clock.now_ms()
        org_key = new_org_key()
        digest = secret_digest(org_key)
        org_id = await self._store.add_organisation(name, digest, now_ms)
        return Organisation(org_id, name, digest, now_ms), org_key

    async def organisation_of_key(self, org_key: str) -> Organisation | None:
        """The organisation a key belongs to, None for a wrong one. Raises StoreUnavailable."""
        if len(org_key) > ORG_KEY_CHARACTERS_MAX:
            return None
        return await self._store.find_organisation(secret_digest(org_key))


def _check_name(name: str) -> None:
    if len(name) > _NAME_CHARACTERS_MAX or not name.isprintable():
        raise ConfigError(f"the name must be at most {_NAME_CHARACTERS_MAX} printable characters")
