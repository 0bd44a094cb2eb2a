"""The bytes that an audit entry's hash is over never change: old trails must verify for ever."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from otp_server.core import hash_chain
from otp_server.domain.audit import GENESIS, AuditEntry, chained

WORDS = st.sampled_from(["", "otp.attempt", "counted", "client:ü", "192.0.2.1", "1", "\0", "€"])
ENTRIES = st.builds(AuditEntry, st.sampled_from([0, 1, -1, 1_784_000_000_000]), *[WORDS] * 6)


def hash_after(previous: bytes, entry: AuditEntry) -> bytes:
    """As the module says it, field by field."""
    digest = hashlib.sha256(previous)
    for value in astuple(entry):
        field = str(value).encode()
        digest.update(len(field).to_bytes(4) + field)
    return digest.digest()


@given(st.lists(ENTRIES, max_size=12))
def test_each_hash_covers_the_one_before_and_all_fields(entries: list[AuditEntry]) -> None:
    digests, previous = hash_chain(GENESIS, [astuple(each) for each in entries]), GENESIS
    assert len(digests) == len(entries)
    for entry, digest in zip(entries, digests, strict=True):
        assert digest == hash_after(previous, entry) == chained(previous, entry)
        previous = digest


def test_a_hash_of_an_old_trail() -> None:
    entry = AuditEntry(
        1_784_000_000_000, "svc", "client:ü", "192.0.2.1", "otp.attempt", "a-b", "counted"
    )
    assert chained(GENESIS, entry).hex() == (
        "efe6e8cd747cb48cfb0f685015d10ca78facf2a687ff85f3e04e777b459b0120"
    )
