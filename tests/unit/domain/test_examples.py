"""The examples are what the rules would let anybody save."""

from __future__ import annotations

from otp_server.domain.challenge_type import Channel
from otp_server.domain.examples import examples
from otp_server.domain.settings_rules import (
    TTL_STRICT_MAX_S,
    SettingsBounds,
    check_template,
    check_type,
    fields_of,
)


def test_the_examples_keep_the_strict_rules() -> None:
    bounds = SettingsBounds(ttl_max_s=TTL_STRICT_MAX_S, domain="login.example-bank.com")
    made = examples("default", 5)
    for challenge_type, templates in made:
        assert check_type(fields_of(challenge_type), bounds)[1] == {}
        for template in templates:
            assert check_template(fields_of(template), bounds)[1] == {}
            assert template.tenant == challenge_type.tenant == "default"
    assert [(t.name, [w.channel for w in words]) for t, words in made] == [
        ("email-verification", [Channel.EMAIL]),
        ("phone-verification", [Channel.SMS, Channel.EMAIL]),
    ]


def test_template_names_are_unique() -> None:
    names = [template.name for _, templates in examples("t", 0) for template in templates]
    assert len(set(names)) == len(names) == 3
