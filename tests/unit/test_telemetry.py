"""Logs without secrets (requirement 86), metrics of bounded cardinality (requirement 90)."""

from __future__ import annotations

import base64
import json
import logging
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from otp_server.core import Passcode
from otp_server.domain.challenge import Route
from otp_server.domain.device import new_device_token, new_org_key
from otp_server.domain.outcome import Reason
from otp_server.errors import ErrorKind
from otp_server.telemetry import HIDDEN, Metrics, get_logger, hide_secrets
from tests.support.served import captured_logs

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJkZXZpY2UtMSJ9.c2lnbmF0dXJl"
TOKEN = new_device_token("device-1")
ORG_KEY = new_org_key()
KEY = base64.b64encode(bytes(range(32))).decode()

SHAPES = {
    "six digits": "482910",
    "ten digits": "4829104829",
    "digits with blanks": "482 910",
    "digits with dashes": "48-29-10",
    "digits with long dashes": "482\u2013910",
    "digits after a colon": "otp:482910",
    "digits before a dash": "482910-x",
    "digits after a dot": "x.482910",
    "digits before a colon": "482910:bad",
    "a token": JWT,
    "a device token": TOKEN,
    "a device token of kind 2": new_device_token("lobby.door:3", "2"),
    "an organisation's key": ORG_KEY,
    "a key": KEY,
    "a key in hexadecimal": bytes(range(32)).hex(),
    "a key in base64 for URLs": base64.urlsafe_b64encode(bytes(range(200, 232))).decode(),
    "a bearer header": "Bearer abc",
    "a mail address": "ada@example.org",
    "a phone number": "+44 20 7946 0958",
}
NAMES = [
    "otp",
    "code",
    "passcode",
    "token",
    "device_token",
    "secret",
    "password",
    "authorization",
    "Authorisation",
    "cookie",
    "org_key",
    "jwt",
    "body",
    "payload",
]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    with captured_logs() as stream:
        yield stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("secret", SHAPES.values(), ids=SHAPES)
def test_hides_by_shape_wherever_it_stands(secret: str, stream: io.StringIO) -> None:
    log = get_logger("a.module")
    log.info("seen %s here" % secret)  # noqa: G002, UP031 - on purpose
    log.info("seen", why=f"it was {secret}.")
    log.debug("seen", deep={"list": [secret, {"inner": (secret,)}], secret: 1})
    log.warning("seen %s", secret)
    log.error("seen", thing=ValueError(secret))
    logging.getLogger("a.library").warning("seen %r", secret)
    logging.getLogger("a.library").debug("seen", extra={"what": secret})
    assert secret not in stream.getvalue()
    assert len(lines(stream)) == 7
    assert stream.getvalue().count(HIDDEN) >= 6


@pytest.mark.parametrize("name", NAMES)
def test_hides_by_name(name: str, stream: io.StringIO) -> None:
    get_logger("a.module").info("seen", **{name: "tiny", "deep": {name: ["tiny"]}})
    assert "tiny" not in stream.getvalue()


@pytest.mark.parametrize("secret", SHAPES.values(), ids=SHAPES)
def test_hides_in_tracebacks(secret: str, stream: io.StringIO) -> None:
    def fail() -> None:
        inner = ValueError(f"with {secret}")
        inner.add_note(f"note {secret}")
        raise RuntimeError(secret) from inner

    for log in (get_logger("a.module"), logging.getLogger("a.library")):
        try:
            fail()
        except RuntimeError:
            log.exception("failed")
    assert secret not in stream.getvalue()
    ours, foreign = lines(stream)
    for line in (ours, foreign):
        assert "Traceback" in line["exception"]
        assert "RuntimeError" in line["exception"]
        assert line["level"] == "error"


def test_tracebacks_still_name_their_files(stream: io.StringIO) -> None:
    try:
        json.loads("not json")
    except ValueError:
        get_logger("a.module").exception("failed")
    [line] = lines(stream)
    assert __file__ in line["exception"]


def test_hides_in_exception_groups(stream: io.StringIO) -> None:
    group = ExceptionGroup("482910", [ValueError(TOKEN)])
    get_logger("a.module").error("failed", exc_info=group)
    assert "ExceptionGroup" in stream.getvalue()
    assert "482910" not in stream.getvalue()
    assert TOKEN not in stream.getvalue()


def test_a_passcode_and_bytes_are_silent(stream: io.StringIO) -> None:
    passcode = Passcode.from_text("482910", "numeric")
    get_logger("a.module").info("seen", thing=passcode, raw=b"482910", more=[bytearray(b"482910")])
    assert "482910" not in stream.getvalue()
    assert lines(stream)[0]["raw"] == "<6 bytes>"


def test_every_line_is_one_json_object_with_who_when_and_what(stream: io.StringIO) -> None:
    get_logger("a.module").info("two\nlines", count=3, within_s=0.5, done=True, nothing=None)
    [line] = lines(stream)
    assert line["event"] == "two\nlines"
    assert line["logger"] == "a.module"
    assert line["level"] == "info"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["timestamp"])
    assert (line["count"], line["within_s"], line["done"]) == (3, 0.5, True)


HARMLESS = {
    "event": "codes not issued",
    "count": 123456,
    "why": "disk full: free space on the volume of /var/lib/otp/otp.db (FullError: 13)",
    "url": "http://127.0.0.1:45473/ws/device",
    "device_id": "0123456789abcdef0123456789abcdef",
    "address": "192.0.2.15",
}


def test_leaves_what_operators_need() -> None:
    assert hide_secrets(None, "", dict(HARMLESS)) == HARMLESS


@given(st.integers(5, 11).flatmap(lambda n: st.text("0123456789", min_size=n + 1, max_size=n + 1)))
def test_no_code_of_any_length_passes(code: str) -> None:
    shown = hide_secrets(None, "", {"event": f"got {code}", "why": f"({code})", "x": [code]})
    assert code not in repr(shown)


# --- metrics ----------------------------------------------------------------------------------

CLOSED_LABELS: dict[str, set[str]] = {
    "route": {route.value for route in Route},
    "outcome": {kind.token for kind in ErrorKind} | {reason.value for reason in Reason},
}


def test_every_label_is_of_a_closed_set() -> None:
    """A label not named here would be one more dimension nobody has bounded."""
    labels = {
        metric._name: metric._labelnames
        for metric in vars(Metrics()).values()
        if hasattr(metric, "_labelnames")
    }
    assert labels == {
        "otp_device_connections": (),
        "otp_device_upgrades": ("outcome",),
        "otp_device_frames": ("kind",),
        "otp_device_closes": ("kind",),
        "otp_device_issues": ("outcome",),
        "otp_device_confirms": ("route", "outcome"),
        "otp_device_live_codes": ("length",),
        "otp_client_sockets": (),
        "otp_client_upgrades": ("outcome",),
        "otp_client_closes": ("kind",),
        "otp_http_responses": ("status",),
        "otp_http_shed": ("priority",),
        "otp_process_limit_hits": ("policy", "outcome"),
        "otp_deliveries": ("channel", "outcome", "problem"),
        "otp_delivery_seconds": ("channel",),
        "otp_delivery_provider_down": ("channel",),
        "otp_handler_crashes": ("where",),
    }


def test_durations_are_counted_up_to_each_bound() -> None:
    metrics = Metrics()
    metrics.issue_seconds.observe(0.0005, 2)
    metrics.issue_seconds.observe_since([4.0, 4.5, 4.0], now=5.0)
    metrics.issue_seconds.observe(10.5)
    lines = metrics.render().decode().splitlines()
    name = "otp_device_issue_seconds"
    shown = {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith(name)}
    bounds = ["0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5"]
    bounds += ["1.0", "2.5", "5.0", "10.0", "+Inf"]
    counts = [2.0, *[2.0] * 7, 3.0, 5.0, 5.0, 5.0, 5.0, 6.0]
    assert shown == {
        **{f'{name}_bucket{{le="{bound}"}}': n for bound, n in zip(bounds, counts, strict=True)},
        f"{name}_count": 6.0,
        f"{name}_sum": pytest.approx(13.001),
    }


def test_durations_of_a_channel_read_as_the_librarys_do() -> None:
    """What dashboards ask for is the same: names, labels, bounds and the instants of birth."""
    ours, theirs = Metrics(), CollectorRegistry()
    library = Histogram(
        "otp_delivery_seconds",
        "How long a provider took for a message.",
        ["channel"],
        buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30),
        registry=theirs,
    )
    for channel, seconds, count in [("sms", 0.005, 3), ("email", 31.0, 1), ("sms", 0.25, 2)]:
        ours.delivery_seconds.labels(channel=channel).observe_alike(seconds, count)
        for _ in range(count):
            library.labels(channel=channel).observe(seconds)
    ours.delivery_seconds.labels(channel="other")
    library.labels(channel="other")

    def shown(page: str) -> list[str]:
        lines = [line for line in page.splitlines() if "otp_delivery_seconds" in line]
        return [re.sub(r"(_created\{.*\}) [\d.e+]+$", r"\1", line) for line in lines]

    expected = shown(generate_latest(theirs).decode())
    assert shown(ours.render().decode()) == expected
    assert len(expected) == 4 + 3 * (14 + 2 + 1)


def test_the_size_of_the_page_is_bounded() -> None:
    metrics = Metrics()
    for route in Route:
        for outcome in CLOSED_LABELS["outcome"]:
            metrics.confirms.labels(route=route.value, outcome=outcome).inc()
    for kind in ErrorKind:
        metrics.closes.labels(kind=kind.token).inc()
        metrics.issues.labels(outcome=kind.token).inc()
        metrics.upgrades.labels(outcome=kind.token).inc()
        metrics.http.labels(status=str(kind.http_status)).inc()
    for length in range(6, 11):
        metrics.live_codes.labels(length=str(length)).set(1)
    assert len(metrics.render()) < 64 * 1024


def test_two_servers_in_one_process_do_not_share() -> None:
    first, second = Metrics(), Metrics()
    first.connections.set(3)
    assert b"otp_device_connections 3.0" in first.render()
    assert b"otp_device_connections 0.0" in second.render()
