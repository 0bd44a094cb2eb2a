"""The index of contacts, as stores keep it: known answers, and Python's own HMAC beside it."""

from __future__ import annotations

import copy
import hmac
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_server.core import ContactIndex

KEY = bytes(range(32))


def field(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(8) + data


@given(st.binary(min_size=32, max_size=200), st.text(), st.text(), st.text(max_size=300))
def test_it_is_hmac_over_length_prefixed_fields(
    key: bytes, tenant: str, channel: str, contact: str
) -> None:
    row = field(tenant) + field(channel) + field(contact)
    assert ContactIndex(key).of(tenant, channel, contact) == hmac.digest(key, row, "sha256")


def test_known_answers() -> None:
    """What stores hold already must be found for ever."""
    index = ContactIndex(KEY)
    assert (
        index.of("acme", "sms", "+12025550123").hex()
        == "1f747cc30511e465ded4eaa62ae66f184073acba69a4f34c93989cfe565e3e2c"
    )
    assert (
        index.of("", "email", "jürgen@exämple.org").hex()
        == "3fd918319f44f7e632035fd64b7a00305b0632fdd3294358b187e1bf64233c8e"
    )


def test_short_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        ContactIndex(bytes(31))


def test_it_shows_nothing_and_cannot_be_copied() -> None:
    index = ContactIndex(KEY)
    assert repr(index) == "<ContactIndex>"
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leave(index)
