"""Forgiving a contact, however it is written."""

from __future__ import annotations

import pytest

from otp_server.domain.audit import AuditEntry
from otp_server.domain.challenge_type import Channel
from otp_server.domain.process import SealedContact
from otp_server.errors import InvalidFields
from otp_server.services.contacts import ContactVault
from otp_server.services.lockouts import LockoutService
from otp_server.stores.memory import MemoryStore
from tests.contracts.rest_samples import TENANT, new_process, plan, start, wrong
from tests.support.changed_values import replace

PHONE, MAIL = "+4915112345678", "jane@example.com"
VAULT = ContactVault([("new", bytes(range(32))), ("old", bytes(range(1, 33)))])


NOW_MS = 1_800_000_000_000


class SetClock:
    def now_ms(self) -> int:
        return NOW_MS


def service(store: MemoryStore, default_country: str = "") -> LockoutService:
    return LockoutService(store, vault=VAULT, clock=SetClock(), default_country=default_country)


async def fail_once(store: MemoryStore, channel: Channel, contact: str) -> bytes:
    """A wrong code for this contact of TENANT; its index."""
    index = VAULT.index(TENANT, channel, contact)
    known = SealedContact(index, b"sealed")
    phone, email = (known, None) if channel is Channel.SMS else (None, known)
    item = replace(
        new_process(1, of=plan(channel), to=1 if phone else None, mail=1 if email else None),
        phone=phone,
        email=email,
        counted_indexes=(index,),
    )
    await start(store, item)
    await wrong(store, 1)
    assert await store.contact_failures(TENANT, index) == 1
    return index


@pytest.mark.parametrize(
    ("channel", "contact", "written"),
    [
        (Channel.SMS, PHONE, "0049 (0) 151-12345678".replace("(0) ", "")),
        (Channel.SMS, PHONE, "0151 12345678"),
        (Channel.EMAIL, MAIL, " Jane@EXAMPLE.com "),
    ],
)
async def test_wrong_codes_are_forgotten_once(channel: Channel, contact: str, written: str) -> None:
    store = MemoryStore()
    index = await fail_once(store, channel, contact)
    lockouts = service(store, "DE")
    assert await lockouts.forgive(TENANT, channel, written) is True
    assert await store.contact_failures(TENANT, index) == 0
    assert await lockouts.forgive(TENANT, channel, written) is False
    trail = [entry for _, entry, _, _ in await store.audit_after(0, 99)]
    [line] = [entry for entry in trail if entry.action == "contact.forgive"]
    subject = f"contact:{index.hex()}"
    assert line == AuditEntry(NOW_MS, TENANT, "operator", "", "contact.forgive", subject, "done")


async def test_another_tenants_contact_stays_as_it_was() -> None:
    store = MemoryStore()
    index = await fail_once(store, Channel.SMS, PHONE)
    assert await service(store).forgive("other", Channel.SMS, PHONE) is False
    assert await store.contact_failures(TENANT, index) == 1


@pytest.mark.parametrize(
    ("channel", "written", "field"),
    [
        (Channel.SMS, "0151 12345678", "mobilePhone"),
        (Channel.SMS, MAIL, "mobilePhone"),
        (Channel.EMAIL, PHONE, "email"),
    ],
)
async def test_what_is_no_contact_is_refused(channel: Channel, written: str, field: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        await service(MemoryStore()).forgive(TENANT, channel, written)
    assert list(caught.value.fields) == [field]
    assert written not in str(caught.value)
