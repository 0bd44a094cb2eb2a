"""The REST face's keys and deliveries, as they must hold together."""

from pathlib import Path

import pytest
from msgspec import structs

from otp_server.config import provider_checks, provider_options
from otp_server.config.checks import check_config
from otp_server.config.finding import Finding
from otp_server.config.schema import Config
from otp_server.config.secret import Secret
from tests.support.certificates import make_certificate

SECRET = Secret("0123456789abcdef" * 2)
SMTP: dict[str, object] = {
    "kind": "smtp",
    "host": "mail.example",
    "sender": "Example <otp@example.com>",
}
TWILIO: dict[str, object] = {
    "kind": "twilio",
    "account": "AC1",
    "token": Secret("t"),
    "sender": "+4930123456",
}
WEBHOOK: dict[str, object] = {
    "kind": "webhook",
    "url": "https://sms.example/otp",
    "secret": SECRET,
}
NONE: dict[str, object] = {"kind": "none"}
PROFILES = ["development", "production"]


def rest(**values: object) -> Config:
    config = Config()
    return structs.replace(config, rest=structs.replace(config.rest, **values))


def delivery(
    email: dict[str, object] = NONE, sms: dict[str, object] = NONE, profile: str = "development"
) -> Config:
    config = Config()
    return structs.replace(
        config,
        server=structs.replace(config.server, profile=profile),
        delivery=structs.replace(
            config.delivery,
            email=structs.replace(config.delivery.email, **email),
            sms=structs.replace(config.delivery.sms, **sms),
        ),
    )


def only(config: Config) -> Finding:
    (finding,) = check_config(config)
    return finding


def wheres(config: Config) -> list[str]:
    return [finding.where for finding in check_config(config)]


# The face.


@pytest.mark.parametrize("name", ["limits", "starts_per_tenant", "starts_in_all", "prefix_limit"])
def test_processes_are_kept_as_long_as_starts_are_counted(name: str) -> None:
    two_days = ((1, 60), (9, 2 * 86400))
    assert check_config(rest(keep_days=2, **{name: two_days})) == []
    finding = only(rest(keep_days=1, **{name: two_days}))
    assert finding.where == "rest.keep_days"
    assert finding.reason == f"1 days are shorter than a window of rest.{name} (172800 s)"
    assert finding.mend == "give 2 or more, or a shorter window"


def test_wrong_codes_are_not_counted_from_processes() -> None:
    long = ((1, 90 * 86400),)
    assert check_config(rest(attempts_per_address=long, attempts_per_client=long)) == []


def test_a_claim_does_not_outlive_its_process() -> None:
    assert check_config(rest(keep_days=1, idempotency_hours=24)) == []
    finding = only(rest(keep_days=1, idempotency_hours=25))
    assert finding.where == "rest.idempotency_hours"
    assert finding.mend == "give a whole number from 1 to 24"


def test_countries_have_phone_numbers() -> None:
    assert check_config(rest(default_country="DE", countries=("DE", "AT", "US"))) == []
    assert only(rest(default_country="QQ")).where == "rest.default_country"
    finding = only(rest(countries=("DE", "ZZ")))
    assert finding.where == "rest.countries[1]"
    assert finding.reason == "'ZZ' is no country with phone numbers"


# Deliveries.


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("sms", [TWILIO, WEBHOOK, NONE], ids=lambda sms: str(sms["kind"]))
def test_what_is_complete_is_fit_for_both_profiles(sms: dict[str, object], profile: str) -> None:
    assert check_config(delivery(SMTP, sms, profile)) == []


def test_production_refuses_the_outbox() -> None:
    found = check_config(delivery({"kind": "outbox"}, {"kind": "outbox"}, "production"))
    assert [finding.where for finding in found] == ["delivery.email.kind", "delivery.sms.kind"]
    assert {finding.reason for finding in found} == {
        "outbox writes codes into a file; production refuses it"
    }


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    ("email", "sms", "where"),
    [
        (SMTP | {"host": ""}, NONE, "delivery.email.host"),
        (SMTP | {"sender": ""}, NONE, "delivery.email.from"),
        (SMTP | {"sender": "nobody"}, NONE, "delivery.email.from"),
        (SMTP | {"sender": "a@b.example, c@d.example"}, NONE, "delivery.email.from"),
        (SMTP | {"user": "otp"}, NONE, "delivery.email.password"),
        (SMTP | {"password": SECRET}, NONE, "delivery.email.user"),
        (NONE, TWILIO | {"account": ""}, "delivery.sms.account"),
        (NONE, TWILIO | {"token": Secret()}, "delivery.sms.token"),
        (NONE, TWILIO | {"sender": ""}, "delivery.sms.from"),
        (NONE, WEBHOOK | {"url": ""}, "delivery.sms.url"),
        (NONE, WEBHOOK | {"secret": Secret()}, "delivery.sms.secret"),
        (NONE, WEBHOOK | {"url": "https://:1/a"}, "delivery.sms.url"),
        (NONE, WEBHOOK | {"url": "https://[::1/a"}, "delivery.sms.url"),
        (NONE, WEBHOOK | {"url": "https://a.example:99999/"}, "delivery.sms.url"),
        (NONE, WEBHOOK | {"url": "https://u:hunter2@a.example/"}, "delivery.sms.url"),
        (NONE, TWILIO | {"url": "https://a.example/#hunter2"}, "delivery.sms.url"),
    ],
)
def test_what_is_missing_or_wrong_is_refused_in_every_profile(
    email: dict[str, object], sms: dict[str, object], where: str, profile: str
) -> None:
    finding = only(delivery(email, sms, profile))
    assert finding.where == where
    assert "hunter2" not in f"{finding}"


def test_all_that_is_missing_at_once() -> None:
    assert wheres(delivery({"kind": "smtp"}, {"kind": "twilio"})) == [
        "delivery.email.host",
        "delivery.email.from",
        "delivery.sms.account",
        "delivery.sms.token",
        "delivery.sms.from",
    ]
    assert wheres(delivery(sms={"kind": "webhook"})) == ["delivery.sms.url", "delivery.sms.secret"]


def test_what_is_not_chosen_is_not_asked_for() -> None:
    unused = {"kind": "none", "url": "https://u:p@a.example", "sender": "x"}
    assert check_config(delivery({"kind": "none", "sender": "nobody", "user": "x"}, unused)) == []


@pytest.mark.parametrize("host", ["mail.example", "10.0.0.1"])
def test_production_sends_no_mail_unencrypted_to_others(host: str) -> None:
    email = SMTP | {"security": "none", "host": host}
    assert check_config(delivery(email)) == []
    finding = only(delivery(email, profile="production"))
    assert finding.where == "delivery.email.security"
    assert finding.mend == "give starttls or tls"


@pytest.mark.parametrize("sms", [TWILIO, WEBHOOK], ids=lambda sms: str(sms["kind"]))
def test_production_sends_no_sms_unencrypted_to_others(sms: dict[str, object]) -> None:
    plain = sms | {"url": "http://sms.example/a"}
    assert check_config(delivery(sms=plain)) == []
    finding = only(delivery(sms=plain, profile="production"))
    assert finding.where == "delivery.sms.url"
    assert finding.reason == (
        "codes would travel to sms.example unencrypted; production refuses it"
    )


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_production_may_be_plain_inside_the_machine(host: str) -> None:
    email = SMTP | {"security": "none", "host": host.strip("[]")}
    sms = WEBHOOK | {"url": f"http://{host}:1/a"}
    assert check_config(delivery(email, sms, "production")) == []


def test_production_refuses_a_short_webhook_secret() -> None:
    short = WEBHOOK | {"secret": Secret("hunter2" * 4)}
    assert check_config(delivery(sms=short)) == []
    finding = only(delivery(sms=short, profile="production"))
    assert finding.where == "delivery.sms.secret"
    assert "hunter2" not in f"{finding}"


@pytest.mark.parametrize("channel", ["email", "sms"])
def test_a_file_of_authorities_can_be_read(channel: str, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    config = delivery(**{channel: {"kind": "none", "ca_file": str(file)}})
    finding = only(config)
    assert finding.where == f"delivery.{channel}.ca_file"
    assert finding.reason == f"{file} cannot be read"
    file.write_text("no certificate")
    assert only(config).reason == f"{file} holds no certificate"
    good = structs.replace(
        getattr(config.delivery, channel), ca_file=str(make_certificate(tmp_path).certificate)
    )
    mended = structs.replace(config.delivery, **{channel: good})
    assert check_config(structs.replace(config, delivery=mended)) == []


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    ("email", "sms", "where"),
    [
        (SMTP | {"security": "none", "user": "u", "password": SECRET}, NONE, "email.security"),
        (SMTP | {"user": "u", "password": Secret("pässwort")}, NONE, "email.password"),
        (SMTP | {"user": "jäna", "password": SECRET}, NONE, "email.user"),
        (SMTP | {"sender": "a@exämple.com"}, NONE, "email.from"),
        (NONE, WEBHOOK | {"secret": Secret("short")}, "sms.secret"),
        (NONE, WEBHOOK | {"url": "https://sms.example/otp?route=1"}, "sms.url"),
    ],
)
def test_what_a_provider_would_refuse_at_its_start_is_found_before(
    email: dict[str, object], sms: dict[str, object], where: str, profile: str
) -> None:
    config = delivery(email | {"host": "127.0.0.1"} if email is not NONE else NONE, sms, profile)
    with pytest.raises(ValueError, match=r"\w"):
        provider_options(config)
    finding = only(config)
    assert finding.where == f"delivery.{where}"
    assert "short" not in finding.reason + finding.mend


def test_a_refusal_that_no_check_foresees_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(config: Config) -> None:
        raise ValueError("a new rule of the provider")

    monkeypatch.setattr(provider_checks, "provider_options", refuse)
    assert only(Config()).reason == "a new rule of the provider"
