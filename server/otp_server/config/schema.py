"""Every key of the configuration, once: name, type, range, default, and the sentence about it.

The keys of the REST face and of its deliveries stand in ``rest_schema`` and ``delivery_schema``.

Loading, the environment, messages and the default file are all made from these structs, so they
cannot drift apart. ``Meta.extra`` may hold ``wanted``, the words for what would be right, and
``quoted = False`` where a message must not repeat the value.

Annotations are read while the program runs, so this module does not postpone them.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from otp_server.config.delivery_schema import DeliverySection
from otp_server.config.endpoint import Endpoint
from otp_server.config.ranges import DAY_S, NUMBER_MAX, TlsFile, Windows
from otp_server.config.rest_schema import RestSection
from otp_server.config.secret import SecretKeys
from otp_server.config.svc_schema import SvcSection


class TlsFiles(NamedTuple):
    """The PEM files of a listener that speaks TLS itself."""

    certificate: Path
    key: Path


def _tls_files(certificate: str, key: str) -> TlsFiles | None:
    return TlsFiles(Path(certificate), Path(key)) if certificate and key else None


class ServerSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The process."""

    data_dir: Annotated[
        Path,
        Meta(
            description="The folder of the database and the keys, created with mode 0700. "
            "A relative path starts at the folder of this file."
        ),
    ] = Path("otp-data")
    profile: Annotated[
        Literal["development", "production"],
        Meta(
            description="production makes no keys by itself and refuses weak ones, unencrypted "
            "listeners other machines can reach, unencrypted providers, outbox delivery, and the "
            "memory store."
        ),
    ] = "development"
    drain_s: Annotated[
        float,
        Meta(ge=0, le=3600, description="How long a stopping server finishes what it began."),
    ] = 10
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The least severe log line that is written."),
    ] = "info"


class KeysSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The secrets of the installation: lists of "id:base64", 32 bytes or more each.

    The first key is current, the others still check what they once made. Better kept out of this
    file: in <data_dir>/keys/<name>.key, or in a file named by OTP_SERVER_KEYS__<NAME>_FILE, one
    "id:base64" per line.
    """

    code: Annotated[
        SecretKeys,
        Meta(
            description="Under these the digests of devices' live codes are kept, and the codes of "
            "OTP processes are derived."
        ),
    ] = SecretKeys()
    token: Annotated[
        SecretKeys, Meta(description="These sign the tokens a confirmation gives.")
    ] = SecretKeys()
    device_key: Annotated[
        SecretKeys, Meta(description="Under these a device's four words are made.")
    ] = SecretKeys()
    contact: Annotated[
        SecretKeys,
        Meta(
            description="The first seals phone numbers and e-mail addresses. Under the last they "
            "are found and counted: it must stay the last for ever, or limits and failures are "
            "forgotten."
        ),
    ] = SecretKeys()


class DeviceSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The devices' WebSocket listener, and the codes devices get."""

    listen: Annotated[
        Endpoint, Meta(description="Where devices connect. Port 0 picks a free one.")
    ] = Endpoint("127.0.0.1", 8701)
    path: Annotated[
        str,
        Meta(
            pattern=r"\A/[A-Za-z0-9._~/-]*\Z",
            extra={"wanted": "a path that starts with /, of letters, digits and . _ ~ / -"},
            description="The path of the WebSocket.",
        ),
    ] = "/ws/device"
    transport: Annotated[
        Literal["native", "trio-websocket"],
        Meta(
            extra={"wanted": "native or trio-websocket"},
            description='What owns the sockets: "native" (Linux, without TLS) for very many '
            'devices, or "trio-websocket".',
        ),
    ] = "native" if sys.platform == "linux" else "trio-websocket"
    code_length: Annotated[
        int, Meta(ge=6, le=10, description="Digits of a code while few codes are live.")
    ] = 6
    code_length_max: Annotated[
        int,
        Meta(
            ge=6,
            le=12,
            description="Codes grow up to this length, as many live codes make guessing easier; "
            "then requests are refused as crowded.",
        ),
    ] = 10
    code_ttl_s: Annotated[int, Meta(ge=30, le=600, description="How long a code is good.")] = 300
    guess_risk: Annotated[
        float,
        Meta(
            gt=0,
            lt=1,
            description="How many hits an attacker who uses up confirm.in_all may expect in one "
            "code lifetime; it decides when codes grow longer.",
        ),
    ] = 0.1
    deadline_s: Annotated[
        float,
        Meta(ge=1, le=10, description="A request not answered by then is answered with an error."),
    ] = 10
    requests_per_minute: Annotated[
        int, Meta(ge=1, le=NUMBER_MAX, description="Code requests of one device in a minute.")
    ] = 6
    void_on_disconnect: Annotated[
        bool, Meta(description="Whether a code dies with its device's connection.")
    ] = False
    ping_interval_s: Annotated[
        float, Meta(ge=0.1, le=3600, description="A silent connection is pinged this often.")
    ] = 20
    ping_misses: Annotated[
        int, Meta(ge=1, le=100, description="Unanswered pings that end a connection.")
    ] = 2
    max_connections: Annotated[
        int, Meta(ge=1, le=NUMBER_MAX, description="Open device connections in all.")
    ] = 1_000_000
    max_connections_per_address: Annotated[
        int,
        Meta(ge=1, le=NUMBER_MAX, description="Open connections of one address (IPv6: one /64)."),
    ] = 10_000
    max_connections_per_device: Annotated[
        int, Meta(ge=1, le=1000, description="Open connections of one device.")
    ] = 2
    max_frame_bytes: Annotated[
        int, Meta(ge=3, le=65535, description="The largest frame of a device, header included.")
    ] = 1024
    allowed_origins: Annotated[
        tuple[Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9+.-]*://[^/?#*\sA-Z]+\Z")], ...],
        Meta(
            extra={"wanted": "origins as browsers send them, such as https://app.example, no path"},
            description="Web origins that may open a device connection, compared exactly. "
            "Devices send none and are let in by their token.",
        ),
    ] = ()
    tls_certificate: Annotated[
        TlsFile, Meta(description="A PEM file with the certificate chain; empty speaks no TLS.")
    ] = ""
    tls_key: Annotated[TlsFile, Meta(description="The PEM file of the certificate's key.")] = ""

    @property
    def tls(self) -> TlsFiles | None:
        """The TLS files, or None when this listener speaks no TLS."""
        return _tls_files(self.tls_certificate, self.tls_key)


class ConfirmSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often apps may guess wrong: [count, seconds] pairs, all of them enforced at once."""

    per_address: Annotated[
        Windows, Meta(description="Wrong codes of one address (IPv6: one /64).")
    ] = ((10, 60), (100, 3600))
    per_organisation: Annotated[Windows, Meta(description="Wrong codes of one organisation.")] = (
        (60, 60),
    )
    in_all: Annotated[Windows, Meta(description="Wrong codes of everybody together.")] = (
        (100, 60),
    )
    quick_session_s: Annotated[
        int, Meta(ge=60, le=400 * DAY_S, description="How long a token of a quick session lives.")
    ] = 172800


class HttpSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP listener of the apps."""

    listen: Annotated[
        Endpoint, Meta(description="Where apps connect. Port 0 picks a free one.")
    ] = Endpoint("127.0.0.1", 8700)
    transport: Annotated[
        Literal["native", "hypercorn"],
        Meta(
            extra={"wanted": "native or hypercorn"},
            description='What answers the calls that come most often: "native" (Linux, without '
            'TLS) for very many of them, or "hypercorn", which answers all others in either case.',
        ),
    ] = "native" if sys.platform == "linux" else "hypercorn"
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            extra={"wanted": 'addresses or networks, such as ["10.0.0.0/8", "::1"]'},
            description="Networks whose X-Forwarded-For counts; read from the right.",
        ),
    ] = ()
    max_body_bytes: Annotated[
        int, Meta(ge=1, le=16 * 1024 * 1024, description="The largest request body.")
    ] = 65536
    tls_certificate: Annotated[
        TlsFile, Meta(description="A PEM file with the certificate chain; empty speaks no TLS.")
    ] = ""
    tls_key: Annotated[TlsFile, Meta(description="The PEM file of the certificate's key.")] = ""

    @property
    def tls(self) -> TlsFiles | None:
        """The TLS files, or None when this listener speaks no TLS."""
        return _tls_files(self.tls_certificate, self.tls_key)


class OpsSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The listener of the operators: health and metrics. It asks nobody who they are."""

    listen: Annotated[
        Endpoint, Meta(description="Where operators connect. Port 0 picks a free one.")
    ] = Endpoint("127.0.0.1", 8702)


class StoreSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where devices, codes and counts are kept."""

    url: Annotated[
        str,
        Meta(
            pattern=r"\A(memory:|sqlite:(?!//)[^:?#\x00-\x1f]+)\Z",
            extra={"wanted": "sqlite:FILE, or memory: in development", "quoted": False},
            description="sqlite:FILE (relative to server.data_dir), or memory: (forgets everything "
            "at exit; development only).",
        ),
    ] = "sqlite:otp.db"


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration, checked. Paths are absolute."""

    server: ServerSection = ServerSection()
    keys: KeysSection = KeysSection()
    device: DeviceSection = DeviceSection()
    confirm: ConfirmSection = ConfirmSection()
    http: HttpSection = HttpSection()
    rest: RestSection = RestSection()
    svc: SvcSection = SvcSection()
    delivery: DeliverySection = DeliverySection()
    ops: OpsSection = OpsSection()
    store: StoreSection = StoreSection()

    @property
    def database(self) -> Path | None:
        """The SQLite file; None for the memory store."""
        kind, _, file = self.store.url.partition(":")
        return self.server.data_dir / file if kind == "sqlite" else None
