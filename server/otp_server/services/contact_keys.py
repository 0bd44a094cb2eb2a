"""At start: the keys of contacts are those that the store's contacts were sealed and indexed by.

Under another index key every contact would be a stranger: its limits start anew, its wrong codes
and locks are forgotten, and search does not find it. That must not happen by a slip in the
configuration, so the store remembers the fingerprint of the key (requirements 10 and 20).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from otp_server.errors import ConfigError
from otp_server.services.ports import AccountStore, ProcessStore
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from otp_server.services.contacts import ContactVault

INDEX_PURPOSE = "contact.index"

log = get_logger(__name__)


class ContactStore(ProcessStore, AccountStore, Protocol):
    """The ports of those who store contacts."""


async def check_contact_keys(
    store: ContactStore, vault: ContactVault, *, now_ms: int, accepted: str
) -> None:
    """Compare, and remember the index key of a new store.

    ``accepted`` is the fingerprint of an index key that may take the place of the store's
    (``rest.contact_index``), unless there are accounts. Raises ConfigError, which says what to do,
    and StoreUnavailable.
    """
    ours = vault.index_fingerprint
    known = await store.mark_key(INDEX_PURPOSE, ours)
    if known != ours:
        if accepted != ours:
            raise ConfigError(
                "the last key of keys.contact is not the one that this store finds its contacts "
                "by: limits, wrong codes and locks of every contact would be forgotten. Put the "
                "old key back as the last one; new keys go before it. To forget them on purpose, "
                f'set rest.contact_index = "{ours}"'
            )
        if await store.list_users(limit=1):
            raise ConfigError(
                "the last key of keys.contact is not the one that accounts are found by: none "
                "would be found, whatever rest.contact_index says. Put the old key back as the "
                "last one; new keys go before it"
            )
        await store.mark_key(INDEX_PURPOSE, ours, anew=True)
        log.warning("contacts are found by another key now", before=known, now=ours)
    missing = sorted(await store.sealing_key_ids_in_use(now_ms) - vault.key_ids)
    if missing:
        names = ", ".join(repr(key_id) for key_id in missing)
        raise ConfigError(
            f"keys.contact has no {names}, and contacts of open OTP processes or of accounts are "
            "sealed under it: put it back, between the first and the last key, for as long as "
            "those are there"
        )
