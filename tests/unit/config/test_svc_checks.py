"""The svc face's keys, as they must hold together."""

from pathlib import Path

import pytest
from msgspec import structs

from otp_server.config import load_config, svc_warnings
from otp_server.config.checks import check_config
from otp_server.config.finding import Finding
from otp_server.config.schema import Config


def svc(*, keep_days: int | None = None, profile: str = "development", **values: object) -> Config:
    """The defaults with keys of ``svc`` changed; nothing is delivered."""
    config = Config()
    rest = config.rest if keep_days is None else structs.replace(config.rest, keep_days=keep_days)
    return structs.replace(
        config,
        server=structs.replace(config.server, profile=profile),
        rest=rest,
        svc=structs.replace(config.svc, **values),
        delivery=structs.replace(
            config.delivery,
            email=structs.replace(config.delivery.email, kind="none"),
            sms=structs.replace(config.delivery.sms, kind="none"),
        ),
    )


def only(config: Config) -> Finding:
    (finding,) = check_config(config)
    return finding


@pytest.mark.parametrize(
    "host",
    ["localhost", "a.example", "xn--bcher-kva.example", "a-1.b2", "127.0.0.1", "[::1]", "a" * 63],
)
def test_hosts(host: str) -> None:
    assert check_config(svc(hubs=((host, "acme"), ("b.example", "acme")))) == []


@pytest.mark.parametrize(
    "host",
    [
        "",
        "A.example",
        "a.example:8700",
        "https://a.example",
        "a.example/",
        "a..example",
        "-a.example",
        "a-.example",
        "*.example",
        "bücher.example",
        "a b",
        "a.example\n",
        "a.example.",
        "::1",
        "a" * 64,
        ".".join(["a" * 63] * 4),
    ],
)
def test_what_is_no_host(host: str) -> None:
    finding = only(svc(hubs=(("b.example", "acme"), (host, "acme"))))
    assert finding.where == "svc.hubs[1][0]"
    assert finding.reason == f"{host!r} is no host name"


def test_a_host_is_one_hub() -> None:
    finding = only(svc(hubs=(("a.example", "acme"), ("b.example", "b"), ("a.example", "acme"))))
    assert finding.where == "svc.hubs[2][0]"
    assert finding.reason == "a.example is the hub of [0] already"


@pytest.mark.parametrize("organisation", ["", "Acme", "a/b", "a b", "-a", "a" * 64, "a\n"])
def test_what_is_no_organisation(organisation: str) -> None:
    finding = only(svc(hubs=(("a.example", organisation),)))
    assert finding.where == "svc.hubs[0][1]"


@pytest.mark.parametrize("origin", ["https://a.example", "http://a:8080", "capacitor://localhost"])
def test_origins(origin: str) -> None:
    assert check_config(svc(allowed_origins=(origin,))) == []


@pytest.mark.parametrize(
    "origin",
    ["", "null", "*", "https://*.a", "https://a/", "https://A", "a.example", "https://a\n", "//a"],
)
def test_what_is_no_origin(origin: str) -> None:
    finding = only(svc(allowed_origins=("https://a", origin)))
    assert finding.where == "svc.allowed_origins[1]"


def test_production_refuses_a_cookie_that_travels_in_the_clear() -> None:
    assert check_config(svc(cookie_secure=False)) == []
    assert check_config(svc(cookie_secure=True, profile="production")) == []
    finding = only(svc(cookie_secure=False, profile="production"))
    assert finding.paths == ("svc.cookie_secure", "server.profile")


def test_sent_codes_are_kept_as_long_as_they_are_counted() -> None:
    two_days = ((1, 60), (9, 2 * 86400))
    assert check_config(svc(keep_days=2, limits=two_days)) == []
    finding = only(svc(keep_days=1, limits=two_days, sends_per_address=((1, 9 * 86400),)))
    assert finding.where == "rest.keep_days"
    assert finding.mend == "give 2 or more, or a shorter window"


def test_a_call_does_not_end_before_it_has_waited() -> None:
    assert check_config(svc(delivery_wait_s=5, answer_s=5.5)) == []
    assert only(svc(delivery_wait_s=5, answer_s=5)).where == "svc.delivery_wait_s"


def test_the_breached_file_is_there(tmp_path: Path) -> None:
    file = tmp_path / "breached.txt"
    finding = only(svc(breached_passwords=str(file)))
    assert finding.where == "svc.breached_passwords"
    assert only(svc(breached_passwords=str(tmp_path))).where == "svc.breached_passwords"
    assert only(svc(breached_passwords="a\0b")).where == "svc.breached_passwords"
    file.write_text("")
    assert check_config(svc(breached_passwords=str(file))) == []


def test_the_breached_file_starts_at_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "breached.txt").write_text("")
    config = tmp_path / "otp.toml"
    config.write_text('[svc]\nbreached_passwords = "breached.txt"\n')
    assert load_config(config, {}).svc.breached_passwords == str(tmp_path / "breached.txt")


@pytest.mark.parametrize("reveal_accounts", [True, False])
@pytest.mark.parametrize("get_calls", [True, False])
def test_what_must_be_known_in_production(reveal_accounts: bool, get_calls: bool) -> None:
    """One line for each key that is as the contract has it (requirement 32)."""
    keys: dict[str, object] = {"reveal_accounts": reveal_accounts, "get_calls": get_calls}
    config = svc(profile="production", **keys)
    wanted = [f"svc.{key}" for key, value in keys.items() if value]
    assert [key for key, _ in svc_warnings(config)] == wanted
    assert list(svc_warnings(svc(**keys))) == []
