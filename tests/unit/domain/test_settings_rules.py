"""What may be configured: bounds, kinds, unknown fields (requirements 2, 64, 67, 68, 70)."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_server.domain.challenge_type import Channel, CodeType
from otp_server.domain.settings_rules import (
    CODE_LENGTH_MIN,
    TTL_STRICT_MAX_S,
    SettingsBounds,
    check_route,
    check_template,
    check_type,
)

BOUNDS = SettingsBounds()
STRICT = SettingsBounds(ttl_max_s=TTL_STRICT_MAX_S)
SYMBOLS = {
    CodeType.NUMERIC: 10,
    CodeType.ALPHANUMERIC: 36,
    CodeType.ALPHABETIC: 26,
    CodeType.UNAMBIGUOUS: 20,
}


def test_a_type_has_the_defaults_of_the_source() -> None:
    assert check_type({"name": "login"}, BOUNDS) == (
        {
            "name": "login",
            "code_type": CodeType.NUMERIC,
            "code_length": 6,
            "ttl": 3600,
            "max_attempts": 5,
        },
        {},
    )


def test_a_route_and_a_template_have_theirs() -> None:
    route = {"challenge_type_id": 1, "channel": "sms", "template_id": 2}
    assert check_route(route, BOUNDS) == (
        {**route, "channel": Channel.SMS, "order": None, "attempts": 1},
        {},
    )
    template = {"name": "t", "channel": "sms", "text": "${answer}"}
    assert check_template(template, BOUNDS) == (
        {**template, "channel": Channel.SMS, "subject": ""},
        {},
    )


def test_the_strict_default_lifetime_is_the_strict_longest() -> None:
    checked, problems = check_type({"name": "login"}, STRICT)
    assert (checked["ttl"], problems) == (600, {})


@pytest.mark.parametrize("code_type", CodeType)
def test_codes_are_hard_enough_to_guess(code_type: CodeType) -> None:
    shortest = CODE_LENGTH_MIN[code_type]
    bits = shortest * math.log2(SYMBOLS[code_type])
    assert bits >= 20 or (code_type is CodeType.NUMERIC and shortest >= 6)
    for length, fits in ((shortest - 1, False), (shortest, True), (32, True), (33, False)):
        fields = {"name": "t", "code_type": code_type.value, "code_length": length}
        assert ("code_length" not in check_type(fields, BOUNDS)[1]) is fits


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 64}, "name"),
        ({"name": "handshake"}, "name"),
        ({"name": "Init"}, "name"),
        ({"name": "CRUD"}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "-a"}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "a\n"}, "name"),
        ({"name": "ä"}, "name"),
        ({"name": 5}, "name"),
        ({"name": None}, "name"),
        ({}, "name"),
        ({"code_type": "digits"}, "code_type"),
        ({"code_type": None}, "code_type"),
        ({"code_type": ["numeric"]}, "code_type"),
        ({"code_length": 6.0}, "code_length"),
        ({"code_length": "6"}, "code_length"),
        ({"code_length": True}, "code_length"),
        ({"code_length": None}, "code_length"),
        ({"ttl": 29}, "ttl"),
        ({"ttl": 86_401}, "ttl"),
        ({"ttl": 10**30}, "ttl"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": 21}, "max_attempts"),
        ({"max_attempts": -1}, "max_attempts"),
        ({"id": 5}, "id"),
        ({"tenant": "other"}, "tenant"),
        ({"version": 9}, "version"),
        ({"codeType": "numeric"}, "codeType"),
    ],
)
def test_unfit_types(fields: dict[str, Any], field: str) -> None:
    whole = {**({} if fields == {} else {"name": "t"}), **fields}
    checked, problems = check_type(whole, BOUNDS)
    assert list(problems) == [field]
    assert all(problems[field])
    assert field not in checked


@pytest.mark.parametrize(
    ("fields", "bounds"),
    [
        ({"ttl": 30}, BOUNDS),
        ({"ttl": 86_400}, BOUNDS),
        ({"ttl": 600}, STRICT),
        ({"max_attempts": 1}, BOUNDS),
        ({"max_attempts": 20}, BOUNDS),
        ({"name": "x" * 63}, BOUNDS),
        ({"name": "E-mail_v2.0"}, BOUNDS),
        ({"name": "initial"}, BOUNDS),
        ({"name": "crud.2"}, BOUNDS),
        ({"name": "0"}, BOUNDS),
    ],
)
def test_fit_types(fields: dict[str, Any], bounds: SettingsBounds) -> None:
    checked, problems = check_type({"name": "t", **fields}, bounds)
    assert not problems
    assert checked.items() >= fields.items()


def test_the_strict_profile_bounds_the_lifetime() -> None:
    assert list(check_type({"name": "t", "ttl": 601}, STRICT)[1]) == ["ttl"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"challenge_type_id": 0}, "challenge_type_id"),
        ({"challenge_type_id": "1"}, "challenge_type_id"),
        ({"challenge_type_id": 2**63}, "challenge_type_id"),
        ({"template_id": -1}, "template_id"),
        ({"channel": "fax"}, "channel"),
        ({"channel": "SMS"}, "channel"),
        ({"order": -1}, "order"),
        ({"order": 1_000_001}, "order"),
        ({"order": False}, "order"),
        ({"attempts": 0}, "attempts"),
        ({"attempts": 21}, "attempts"),
        ({"attempts": None}, "attempts"),
        ({"tenant": "x"}, "tenant"),
    ],
)
def test_unfit_routes(fields: dict[str, Any], field: str) -> None:
    whole = {"challenge_type_id": 1, "channel": "sms", "template_id": 2, **fields}
    assert list(check_route(whole, BOUNDS)[1]) == [field]


def test_every_missing_field_of_a_route_is_named_at_once() -> None:
    problems = check_route({}, BOUNDS)[1]
    assert list(problems) == ["challenge_type_id", "channel", "template_id"]
    assert {tuple(why) for why in problems.values()} == {("is required",)}


def test_a_route_needs_a_provider_of_its_channel() -> None:
    bounds = SettingsBounds(channels=frozenset({Channel.EMAIL}))
    route = {"challenge_type_id": 1, "channel": "sms", "template_id": 2}
    assert list(check_route(route, bounds)[1]) == ["channel"]
    assert not check_route({**route, "channel": "email"}, bounds)[1]


@pytest.mark.parametrize(
    ("fields", "fields_named"),
    [
        ({"name": ""}, ["name"]),
        ({"name": " "}, ["name"]),
        ({"name": "a\nb"}, ["name"]),
        ({"name": "x" * 101}, ["name"]),
        ({"channel": 1}, ["channel"]),
        ({"text": None}, ["text"]),
        ({"text": "none"}, ["text"]),
        ({"subject": "x"}, ["subject"]),
        ({"subject": 1}, ["subject"]),
        ({"channel": "email"}, ["subject"]),
        ({"channel": "email", "subject": "a\nb", "text": "x"}, ["subject", "text"]),
        ({"html": "<b>"}, ["html"]),
    ],
)
def test_unfit_templates(fields: dict[str, Any], fields_named: list[str]) -> None:
    whole = {"name": "t", "channel": "sms", "text": "${answer}", **fields}
    assert list(check_template(whole, BOUNDS)[1]) == fields_named


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
KNOWN = [
    *("name", "code_type", "code_length", "ttl", "max_attempts", "challenge_type_id", "order"),
    *("channel", "template_id", "attempts", "subject", "text", "tenant"),
]


@given(st.dictionaries(st.sampled_from(KNOWN), JSON), st.sampled_from([BOUNDS, STRICT]))
def test_the_rules_answer_to_any_json(fields: dict[str, object], bounds: SettingsBounds) -> None:
    for check in (check_type, check_route, check_template):
        checked, problems = check(fields, bounds)
        assert problems.keys() | checked.keys() >= fields.keys()
        assert "tenant" not in checked
        if not problems:
            assert check({**checked}, bounds) == (checked, {})
