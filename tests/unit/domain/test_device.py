"""Tokens and organisation keys: what they look like and whose they claim to be."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_server.domain.device import (
    DEVICE_ID,
    device_id_of_token,
    new_device_id,
    new_device_token,
    new_org_key,
    org_id_of_key,
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


@given(st.integers(1, 10**18 - 1))
def test_an_organisation_key_names_its_organisation(org_id: int) -> None:
    assert org_id_of_key(new_org_key(org_id)) == org_id


@pytest.mark.parametrize(
    "key",
    [
        "",
        "!!!!",
        base64.b64encode(b"no colon").decode(),
        base64.b64encode(b"x:uuid").decode(),
        base64.b64encode(b"9999999999999999999:uuid").decode(),
        base64.b64encode(b"\xff\xfe:uuid").decode(),
        "A" * 1000,
        "\u00e4",
    ],
)
def test_not_an_organisation_key(key: str) -> None:
    assert org_id_of_key(key) is None


@given(st.text(max_size=200))
def test_no_text_breaks_the_parsers(text: str) -> None:
    device_id_of_token(text)
    org_id_of_key(text)
