from pathlib import Path

import msgspec
import pytest

from otp_server.config.endpoint import Endpoint
from otp_server.config.schema import (
    Config,
    DeviceSection,
    HttpSection,
    KeysSection,
    ServerSection,
    StoreSection,
    TlsFiles,
)
from otp_server.config.secret import Secret
from otp_server.config.settings import SETTINGS

DEFAULTS = {
    "server.data_dir": Path("otp-data"),
    "server.profile": "development",
    "server.drain_s": 10,
    "server.log_level": "info",
    "device.listen": Endpoint("127.0.0.1", 8701),
    "device.path": "/ws/device",
    "device.transport": "native",
    "device.code_length": 6,
    "device.code_length_max": 10,
    "device.code_ttl_s": 300,
    "device.guess_risk": 0.1,
    "device.deadline_s": 10,
    "device.requests_per_minute": 6,
    "device.void_on_disconnect": False,
    "device.ping_interval_s": 20,
    "device.ping_misses": 2,
    "device.max_connections": 1_000_000,
    "device.max_connections_per_address": 10_000,
    "device.max_connections_per_device": 2,
    "device.max_frame_bytes": 1024,
    "device.allowed_origins": (),
    "device.tls_certificate": "",
    "device.tls_key": "",
    "confirm.per_address": ((10, 60), (100, 3600)),
    "confirm.per_organisation": ((60, 60),),
    "confirm.in_all": ((100, 60),),
    "confirm.quick_session_s": 172800,
    "http.listen": Endpoint("127.0.0.1", 8700),
    "http.transport": "native",
    "http.trusted_proxies": (),
    "http.max_body_bytes": 65536,
    "http.tls_certificate": "",
    "http.tls_key": "",
    "rest.limits": ((6, 60), (18, 3600), (24, 86400)),
    "rest.contacts_max": 1_000_000,
    "rest.starts_per_tenant": ((60_000, 60),),
    "rest.starts_in_all": ((100_000, 60),),
    "rest.attempts_per_address": ((30, 60),),
    "rest.attempts_per_client": ((600, 60),),
    "rest.requests_per_client": ((6000, 60),),
    "rest.prefix_limit": ((1000, 3600),),
    "rest.unverified_ratio": 0.0,
    "rest.guards_record_only": True,
    "rest.default_country": "",
    "rest.countries": (),
    "rest.sms_origin": "",
    "rest.strict": False,
    "rest.mask_contacts": False,
    "rest.keep_days": 30,
    "rest.idempotency_hours": 24,
    "rest.contact_index": "",
    "rest.token_s": 3600,
    "rest.answer_s": 10,
    "svc.reveal_accounts": True,
    "svc.get_calls": True,
    "svc.hubs": (),
    "svc.allowed_origins": (),
    "svc.cookie_secure": True,
    "svc.session_days": 30,
    "svc.code_ttl_s": 600,
    "svc.attempts_max": 5,
    "svc.limits": ((6, 60), (18, 3600), (24, 86400)),
    "svc.calls_per_address": ((300, 60),),
    "svc.sends_per_address": ((30, 60), (300, 3600)),
    "svc.sends_in_all": ((6000, 60),),
    "svc.attempts_per_address": ((30, 60),),
    "svc.sign_ins_per_account": ((5, 60), (50, 3600)),
    "svc.sign_ins_per_address": ((30, 60),),
    "svc.sessions_per_address": ((120, 60),),
    "svc.sessions_in_all": ((12_000, 60),),
    "svc.keys_max": 1_000_000,
    "svc.sockets_max": 10000,
    "svc.sockets_per_address": 200,
    "svc.delivery_wait_s": 5,
    "svc.answer_s": 20,
    "svc.breached_passwords": "",
    "delivery.email.kind": "outbox",
    "delivery.email.host": "",
    "delivery.email.port": 587,
    "delivery.email.security": "starttls",
    "delivery.email.user": "",
    "delivery.email.password": Secret(),
    "delivery.email.from": "",
    "delivery.email.ca_file": "",
    "delivery.email.timeout_s": 20,
    "delivery.email.concurrency": 4,
    "delivery.sms.kind": "outbox",
    "delivery.sms.url": "",
    "delivery.sms.account": "",
    "delivery.sms.token": Secret(),
    "delivery.sms.secret": Secret(),
    "delivery.sms.from": "",
    "delivery.sms.ca_file": "",
    "delivery.sms.allow_private": False,
    "delivery.sms.timeout_s": 10,
    "delivery.sms.concurrency": 8,
    "ops.listen": Endpoint("127.0.0.1", 8702),
    "store.url": "sqlite:otp.db",
}


def test_the_documented_defaults() -> None:
    actual = {path: s.default for path, s in SETTINGS.items() if s.section != "keys"}
    assert actual == DEFAULTS
    assert not any(SETTINGS[f"keys.{name}"].default for name in KeysSection.__struct_fields__)


def test_frozen() -> None:
    with pytest.raises(AttributeError):
        Config().device.code_length = 7  # type: ignore[misc]


@pytest.mark.parametrize("section", [DeviceSection, HttpSection])
def test_tls_files_come_in_pairs(section: type[DeviceSection | HttpSection]) -> None:
    assert section().tls is None
    assert section(tls_certificate="/a").tls is None
    both = section(tls_certificate="/a", tls_key="/b")
    assert both.tls == TlsFiles(Path("/a"), Path("/b"))


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("sqlite:otp.db", Path("/data/otp.db")),
        ("sqlite:/srv/otp.db", Path("/srv/otp.db")),
        ("memory:", None),
    ],
)
def test_the_database_lies_in_the_data_folder(url: str, database: Path | None) -> None:
    server = ServerSection(data_dir=Path("/data"))
    assert Config(server=server, store=StoreSection(url=url)).database == database


def test_no_encoder_prints_the_keys() -> None:
    with pytest.raises(TypeError):
        msgspec.json.encode(Config())
