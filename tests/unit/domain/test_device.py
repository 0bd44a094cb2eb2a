"""Tokens and organisation keys: what they look like and whose they claim to be."""

from __future__ import annotations

import base64
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_server.domain.device import (
    DEVICE_ID,
    device_id_of_token,
    new_device_id,
    new_device_token,
    new_org_key,
    secret_digest,
)


@given(st.from_regex(DEVICE_ID, fullmatch=True), st.sampled_from("12"))
def test_a_token_names_its_device_even_with_dashes_in_the_id(device_id: str, kind: str) -> None:
    assert device_id_of_token(new_device_token(device_id, kind)) == device_id


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a",
        "a-1",
        "a-1-",
        "-1-ff",
        "a-3-ff",
        "a b-1-ff",
        "\u00e4-1-ff",
        "a" * 65 + "-1-ff",
        "x" * 300,
    ],
)
def test_not_a_token(token: str) -> None:
    assert device_id_of_token(token) is None


def test_tokens_and_ids_hold_enough_randomness() -> None:
    assert len({new_device_token("d") for _ in range(100)}) == 100
    assert len(new_device_token("d").rsplit("-", 1)[1]) == 64  # 256 bits
    assert len(new_device_id()) == 32  # 128 bits (requirement 5)
    assert len(secret_digest("x")) == 32


def test_an_organisation_key_looks_like_the_published_ones() -> None:
    key = new_org_key()
    kind, _, random = base64.b64decode(key + "==").decode().partition(":")
    assert (kind, str(uuid.UUID(random))) == ("1", random)
    assert "=" not in key
    assert new_org_key() != key


@given(st.text(max_size=200))
def test_no_text_breaks_the_parser(text: str) -> None:
    device_id_of_token(text)
