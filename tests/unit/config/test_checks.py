import sys
from pathlib import Path

import pytest
from msgspec import structs

from otp_server.config.checks import check_config
from otp_server.config.endpoint import Endpoint
from otp_server.config.finding import Finding
from otp_server.config.schema import Config

EVERYWHERE = Endpoint.parse("0.0.0.0:8700")
TLS_MEND = "give tls_certificate and tls_key, or listen on a loopback address behind a TLS proxy"


def changed(**values: object) -> Config:
    """The defaults with ``section__key`` changed."""
    config = Config()
    for name, value in values.items():
        section, _, key = name.partition("__")
        part = structs.replace(getattr(config, section), **{key: value})
        config = structs.replace(config, **{section: part})
    return config


def in_production(**values: object) -> Config:
    """As ``changed``, of a production that delivers nothing."""
    config = changed(server__profile="production", **values)
    delivery = structs.replace(
        config.delivery,
        email=structs.replace(config.delivery.email, kind="none"),
        sms=structs.replace(config.delivery.sms, kind="none"),
    )
    return structs.replace(config, delivery=delivery)


def only(**values: object) -> Finding:
    (finding,) = check_config(changed(**values))
    return finding


def only_in_production(**values: object) -> Finding:
    (finding,) = check_config(in_production(**values))
    return finding


def test_the_defaults_are_fit_and_in_production_but_for_delivery() -> None:
    assert check_config(Config()) == []
    assert check_config(in_production()) == []
    refused = check_config(changed(server__profile="production"))
    assert [finding.where for finding in refused] == ["delivery.email.kind", "delivery.sms.kind"]


OTHER_TRANSPORT = {"device": "trio-websocket", "http": "hypercorn"}
NO_NATIVE = {f"{section}__transport": other for section, other in OTHER_TRANSPORT.items()}


@pytest.mark.parametrize("section", ["device", "http"])
def test_the_native_transport_needs_linux(section: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = NO_NATIVE | {f"{section}__transport": "native"}
    assert check_config(changed(**values)) == []
    monkeypatch.setattr(sys, "platform", "darwin")
    finding = only(**values)
    assert finding.where == f"{section}.transport"
    assert finding.mend == f"use {OTHER_TRANSPORT[section]}"
    assert check_config(changed(**NO_NATIVE)) == []


@pytest.mark.parametrize("section", ["device", "http"])
def test_the_native_transport_speaks_no_tls(section: str, tmp_path: Path) -> None:
    pem = tmp_path / "a.pem"
    pem.write_text("")
    tls = {f"{section}__tls_certificate": str(pem), f"{section}__tls_key": str(pem)}
    finding = only(**{f"{section}__transport": "native"}, **tls)
    assert finding.where == f"{section}.transport"
    assert finding.reason == "the native transport does not speak TLS"
    assert check_config(changed(**NO_NATIVE, **tls)) == []


def test_the_longest_code_is_not_shorter_than_the_shortest() -> None:
    finding = only(device__code_length=9, device__code_length_max=8)
    assert finding.where == "device.code_length_max"
    assert finding.reason == "8 is less than device.code_length (9)"
    assert check_config(changed(device__code_length=9, device__code_length_max=9)) == []


@pytest.mark.parametrize(
    "values",
    [
        {"device__guess_risk": 1e-9},
        {"device__guess_risk": 1e-4, "device__code_length_max": 6},
        {"confirm__in_all": ((10**9, 1),)},
    ],
)
def test_a_risk_that_leaves_no_room_for_a_code(values: dict[str, object]) -> None:
    assert "leaves no room for a single code" in only(**values).reason


def test_a_bad_proxy_is_named_by_its_place() -> None:
    finding = only(http__trusted_proxies=("10.0.0.0/8", "10.0.0.0/33"))
    assert finding.where == "http.trusted_proxies[1]"
    assert finding.reason == "'10.0.0.0/33' is no address or network"


def test_two_listeners_on_one_port() -> None:
    finding = only(device__listen=Endpoint("127.0.0.1", 8700))
    assert finding.where == "device.listen"
    assert finding.reason == "127.0.0.1:8700 is taken by http.listen"


def test_any_number_of_listeners_on_port_0() -> None:
    free = Endpoint("127.0.0.1", 0)
    assert check_config(changed(device__listen=free, http__listen=free, ops__listen=free)) == []


@pytest.mark.parametrize("section", ["device", "http"])
def test_tls_files_come_in_pairs_and_can_be_read(section: str, tmp_path: Path) -> None:
    here, there = tmp_path / "a.pem", tmp_path / "b.pem"
    here.write_text("")
    speaks = NO_NATIVE
    finding = only(**speaks, **{f"{section}__tls_certificate": str(here)})
    assert (finding.where, finding.mend) == (f"{section}.tls_key", "give both or neither")
    finding = only(**speaks, **{f"{section}__tls_key": str(here)})
    assert finding.where == f"{section}.tls_certificate"
    pair = {f"{section}__tls_certificate": str(here), f"{section}__tls_key": str(there)}
    finding = only(**speaks, **pair)
    assert (finding.where, finding.reason) == (f"{section}.tls_key", f"{there} cannot be read")
    there.write_text("")
    assert check_config(changed(**speaks, **pair)) == []


def test_production_refuses_the_memory_store() -> None:
    assert check_config(changed(store__url="memory:")) == []
    finding = only_in_production(store__url="memory:")
    assert finding.where == "store.url"
    assert finding.reason == "the memory store forgets everything at exit; production refuses it"


@pytest.mark.parametrize("everybody", ["0.0.0.0/0", "::/0"])
def test_production_refuses_to_believe_everybody(everybody: str) -> None:
    proxies = ("10.0.0.0/8", everybody)
    assert check_config(changed(http__trusted_proxies=proxies)) == []
    finding = only_in_production(http__trusted_proxies=proxies)
    assert finding.where == "http.trusted_proxies[1]"
    assert "everybody" in finding.reason


@pytest.mark.parametrize("section", ["device", "http"])
def test_production_refuses_open_listeners_without_tls(section: str, tmp_path: Path) -> None:
    pem = tmp_path / "a.pem"
    pem.write_text("")
    values: dict[str, object] = {
        f"{section}__listen": Endpoint("0.0.0.0", 1),  # noqa: S104 - refused
        **NO_NATIVE,
    }
    assert check_config(changed(**values)) == []
    finding = only_in_production(**values)
    assert finding.where == f"{section}.listen"
    assert finding.mend == TLS_MEND
    values |= {f"{section}__tls_certificate": str(pem), f"{section}__tls_key": str(pem)}
    assert check_config(in_production(**values)) == []


def test_production_lets_operators_listen_anywhere_and_debug() -> None:
    config = in_production(ops__listen=EVERYWHERE, server__log_level="debug")
    assert check_config(config) == []


def test_all_findings_at_once() -> None:
    config = changed(
        server__profile="production",
        store__url="memory:",
        device__code_length=9,
        device__code_length_max=8,
        device__listen=EVERYWHERE,
        http__listen=EVERYWHERE,
    )
    assert [finding.where for finding in check_config(config)] == [
        "device.code_length_max",
        "device.listen",
        "delivery.email.kind",
        "delivery.sms.kind",
        "store.url",
        "device.listen",
        "http.listen",
    ]
