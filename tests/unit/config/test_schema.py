from pathlib import Path

import msgspec
import pytest

from otp_server.config.endpoint import Endpoint
from otp_server.config.schema import (
    Config,
    DeviceSection,
    HttpSection,
    ServerSection,
    StoreSection,
    TlsFiles,
)
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
    "http.trusted_proxies": (),
    "http.max_body_bytes": 65536,
    "http.tls_certificate": "",
    "http.tls_key": "",
    "ops.listen": Endpoint("127.0.0.1", 8702),
    "store.url": "sqlite:otp.db",
}


def test_the_documented_defaults() -> None:
    actual = {path: s.default for path, s in SETTINGS.items() if s.section != "keys"}
    assert actual == DEFAULTS
    assert not any(SETTINGS[f"keys.{name}"].default for name in ("code", "token", "device_key"))


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
