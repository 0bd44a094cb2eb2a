"""Every key of the schema with values that are right and values that are wrong."""

import base64
from pathlib import Path
from typing import Literal

import pytest

from otp_server.config.endpoint import Endpoint
from otp_server.config.secret import Secret, SecretKeys
from otp_server.config.settings import SETTINGS
from otp_server.config.values import BadValue, value_of, value_of_text, wanted

# right values, wrong values, (text of a variable, what it means)
Row = tuple[list[object], list[object], tuple[str, object]]
KEYS = [f"{name}:{base64.b64encode(bytes(range(32))).decode()}" for name in "ab"]
LISTEN: Row = (["[::1]:0"], [8700, "x", "localhost", "*:1"], ("[::1]:0", Endpoint("::1", 0)))
TLS: Row = (["", "a.pem"], [1, "a\0b"], ("a.pem", "a.pem"))
COUNT: Row = ([1, 10**9], ["1", 1.5, True, 0, 10**9 + 1, 10**30], (" 7 ", 7))
SECRETS: Row = ([KEYS], ["x", ["x"], [1], 1, {}], (",".join(KEYS), SecretKeys.parse(KEYS)))
WINDOWS: Row = (
    [[[1, 1]], [[1, 60], [2, 3600]]],
    [1, [], [1, 60], [[1]], [[1, 2, 3]], [[0, 60]], [[1, 0]], [[1, "60"]], [[1.5, 60]]],
    ("[[1, 60], [2, 3600]]", ((1, 60), (2, 3600))),
)
LINE: Row = (["", "a b", "ä" * 320], [1, "a\nb", "\x7f", "a" * 321], (" x", " x"))
WORD: Row = (["", "a b", "x" * 4096], [1, "a\nb", "\0", "x" * 4097], (" x", Secret(" x")))
FLAG: Row = ([True, False], [0, 1, "true"], ("no", False))
SECONDS: Row = ([0.5, 20, 120], ["1", 0.4, 121], ("1.5", 1.5))
AT_ONCE: Row = ([1, 256], ["1", 0, 257, 1.5], ("2", 2))
TABLE: dict[str, Row] = {
    "server.data_dir": (["x", "/x"], [1, "", "a\0b"], ("/x", Path("/x"))),
    "server.profile": (["production"], ["prod", 1, True], ("production", "production")),
    "server.drain_s": ([0, 0.5, 3600], ["1", True, -1, 3601, float("nan")], ("0.5", 0.5)),
    "server.log_level": (["debug", "error"], ["trace", "INFO", 1], ("warning", "warning")),
    "keys.code": SECRETS,
    "keys.token": SECRETS,
    "keys.device_key": SECRETS,
    "keys.contact": SECRETS,
    "device.listen": LISTEN,
    "device.path": (["/", "/a/b"], [1, "", "ws", "/a?b", "/a b", "/a\n"], ("/x", "/x")),
    "device.transport": (["trio-websocket", "native"], ["tokio", 1], ("native", "native")),
    "device.code_length": ([6, 10], ["6", 6.5, True, 5, 11], ("8", 8)),
    "device.code_length_max": ([6, 12], ["6", 6.5, True, 5, 13], ("12", 12)),
    "device.code_ttl_s": ([30, 600], ["60", 60.5, 29, 601], ("60", 60)),
    "device.guess_risk": ([1e-6, 0.99], ["0.1", 0, 1, -1, float("nan")], ("0.2", 0.2)),
    "device.deadline_s": ([1, 2.5, 10], ["1", 0.9, 10.1, float("inf")], ("2.5", 2.5)),
    "device.requests_per_minute": COUNT,
    "device.void_on_disconnect": ([True, False], [0, 1, "true"], ("Yes", True)),
    "device.ping_interval_s": ([0.1, 3600], ["1", 0, 3601], ("1", 1.0)),
    "device.ping_misses": ([1, 100], ["1", 0, 101], ("3", 3)),
    "device.max_connections": COUNT,
    "device.max_connections_per_address": COUNT,
    "device.max_connections_per_device": ([1, 1000], ["1", 0, 1001], ("3", 3)),
    "device.max_frame_bytes": ([3, 65535], ["3", 2, 65536], ("4096", 4096)),
    "device.allowed_origins": (
        [[], ["https://a.example", "http://a:8080", "capacitor://localhost"]],
        [
            "https://a",
            [1],
            *([bad] for bad in ("*", "https://*.a", "https://a/", "https://A", "a.example")),
        ],
        ("https://a, https://b,", ("https://a", "https://b")),
    ),
    "device.tls_certificate": TLS,
    "device.tls_key": TLS,
    "confirm.per_address": WINDOWS,
    "confirm.per_organisation": WINDOWS,
    "confirm.in_all": WINDOWS,
    "confirm.quick_session_s": ([60, 86400], ["60", 59, 401 * 86400], ("3600", 3600)),
    "http.listen": LISTEN,
    "http.transport": (["hypercorn", "native"], ["uvicorn", 1], ("native", "native")),
    "http.trusted_proxies": (
        [[], ["::1"]],
        ["::1", [1]],
        ('["::1", "10.0.0.0/8"]', ("::1", "10.0.0.0/8")),
    ),
    "http.max_body_bytes": ([1, 2**24], ["1", 0, 2**24 + 1], ("1024", 1024)),
    "http.tls_certificate": TLS,
    "http.tls_key": TLS,
    "rest.limits": WINDOWS,
    "rest.contacts_max": ([1000, 100_000_000], ["1", 999, 100_000_001], ("5000", 5000)),
    "rest.starts_per_tenant": WINDOWS,
    "rest.starts_in_all": WINDOWS,
    "rest.attempts_per_address": WINDOWS,
    "rest.attempts_per_client": WINDOWS,
    "rest.requests_per_client": WINDOWS,
    "rest.prefix_limit": WINDOWS,
    "rest.unverified_ratio": ([0, 0.5, 1], ["0", -0.1, 1.1, float("nan")], ("0.9", 0.9)),
    "rest.guards_record_only": FLAG,
    "rest.default_country": (["", "DE"], ["de", "D", "DEU", 1, "DE\n"], ("DE", "DE")),
    "rest.countries": (
        [[], ["DE", "AT"]],
        ["DE", ["de"], ["D"], ["DEU"], [1]],
        ("DE, AT", ("DE", "AT")),
    ),
    "rest.sms_origin": (
        ["", "example.com", "a.b-c.example"],
        [1, "localhost", "https://a.example", "a.example/", "A.example", "-a.example", "a..b"],
        ("app.example", "app.example"),
    ),
    "rest.strict": FLAG,
    "rest.mask_contacts": FLAG,
    "rest.keep_days": ([1, 3650], ["1", 0, 3651], ("7", 7)),
    "rest.idempotency_hours": ([1, 720], ["1", 0, 721], ("2", 2)),
    "rest.contact_index": (
        ["", "0123456789abcdef"],
        [1, "0123", "0123456789ABCDEF", "0123456789abcdef\n"],
        ("00ff00ff00ff00ff", "00ff00ff00ff00ff"),
    ),
    "rest.token_s": ([60, 86400], ["60", 59, 86401], ("600", 600)),
    "rest.answer_s": ([1, 60], ["1", 0.9, 61, float("inf")], ("2.5", 2.5)),
    "svc.reveal_accounts": FLAG,
    "svc.get_calls": FLAG,
    "svc.hubs": (
        [[], [["a.example", "acme"], ["b.example", "acme"]]],
        ["a.example", ["a.example"], [["a.example"]], [["a", "b", "c"]], [["a", 1]], {"a": "b"}],
        ('[["a.example", "acme"]]', (("a.example", "acme"),)),
    ),
    "svc.allowed_origins": (
        [[], ["https://a.example", "http://a:8080"]],
        ["https://a", [1], {}],
        ("https://a, https://b,", ("https://a", "https://b")),
    ),
    "svc.cookie_secure": FLAG,
    "svc.session_days": ([1, 400], ["1", 0, 401, 1.5], ("7", 7)),
    "svc.code_ttl_s": ([30, 1800], ["60", 29, 1801, 60.5], ("60", 60)),
    "svc.attempts_max": ([1, 20], ["1", 0, 21, True], ("3", 3)),
    "svc.limits": WINDOWS,
    "svc.calls_per_address": WINDOWS,
    "svc.sends_per_address": WINDOWS,
    "svc.sends_in_all": WINDOWS,
    "svc.attempts_per_address": WINDOWS,
    "svc.sign_ins_per_account": WINDOWS,
    "svc.sign_ins_per_address": WINDOWS,
    "svc.sessions_per_address": WINDOWS,
    "svc.sessions_in_all": WINDOWS,
    "svc.keys_max": ([1000, 100_000_000], ["1", 999, 100_000_001], ("5000", 5000)),
    "svc.sockets_max": ([1, 1_000_000], ["1", 0, 1_000_001], ("7", 7)),
    "svc.sockets_per_address": ([1, 1_000_000], ["1", 0, 1_000_001], ("7", 7)),
    "svc.delivery_wait_s": ([0, 2.5, 30], ["1", -0.1, 30.1, float("nan")], ("2.5", 2.5)),
    "svc.answer_s": ([1, 60], ["1", 0.9, 61, float("inf")], ("2.5", 2.5)),
    "svc.breached_passwords": (["", "breached.txt"], [1, []], ("breached.txt", "breached.txt")),
    "delivery.email.kind": (["none", "outbox", "smtp"], ["twilio", "SMTP", 1], ("smtp", "smtp")),
    "delivery.email.host": (
        ["", "mail.example", "::1", "127.0.0.1"],
        [1, "a b", "a/b", "u@a", "a\n"],
        ("mail.example", "mail.example"),
    ),
    "delivery.email.port": ([1, 65535], ["25", 0, 65536], ("465", 465)),
    "delivery.email.security": (["starttls", "tls", "none"], ["ssl", 1], ("tls", "tls")),
    "delivery.email.user": LINE,
    "delivery.email.password": WORD,
    "delivery.email.from": LINE,
    "delivery.email.ca_file": TLS,
    "delivery.email.timeout_s": SECONDS,
    "delivery.email.concurrency": AT_ONCE,
    "delivery.sms.kind": (
        ["none", "outbox", "twilio", "webhook"],
        ["smtp", 1],
        ("webhook", "webhook"),
    ),
    "delivery.sms.url": (
        ["", "https://a.example/b?c", "http://127.0.0.1:1"],
        [1, "ftp://a", "a.example", "https://a b", "https://", "https://a\n"],
        ("https://a.example", "https://a.example"),
    ),
    "delivery.sms.account": (["", "AC1f"], [1, "A/C", "a" * 65], ("AC1", "AC1")),
    "delivery.sms.token": WORD,
    "delivery.sms.secret": WORD,
    "delivery.sms.from": LINE,
    "delivery.sms.ca_file": TLS,
    "delivery.sms.allow_private": FLAG,
    "delivery.sms.timeout_s": SECONDS,
    "delivery.sms.concurrency": AT_ONCE,
    "ops.listen": LISTEN,
    "store.url": (
        ["memory:", "sqlite:a", "sqlite:/a/b"],
        [1, "", "sqlite:", "sqlite::memory:", "sqlite:///a", "sqlite:a?b", "a.db", "memory:x"],
        ("memory:", "memory:"),
    ),
}


def test_the_table_is_total() -> None:
    assert list(TABLE) == list(SETTINGS)


def cases(column: Literal[0, 1]) -> list[tuple[str, object]]:
    return [(path, value) for path, row in TABLE.items() for value in row[column]]


@pytest.mark.parametrize(("path", "value"), cases(0))
def test_takes_what_is_right(path: str, value: object) -> None:
    value_of(SETTINGS[path], value, "x.toml")


@pytest.mark.parametrize(("path", "value"), cases(1))
def test_refuses_what_is_wrong(path: str, value: object) -> None:
    setting = SETTINGS[path]
    with pytest.raises(BadValue) as caught:
        value_of(setting, value, "x.toml")
    problem = caught.value.problem
    assert problem.path.partition("[")[0] == path
    assert problem.origin == "x.toml"
    assert problem.mend == f"give {wanted(setting)}"


@pytest.mark.parametrize(("path", "text", "value"), [(p, *row[2]) for p, row in TABLE.items()])
def test_reads_the_text_of_a_variable(path: str, text: str, value: object) -> None:
    assert value_of_text(SETTINGS[path], text, "X") == value


@pytest.mark.parametrize(
    "text", ["1", "true", "TRUE", "yes", "on", "0", "false", "False", "no", "off", "Off "]
)
def test_booleans_are_read_leniently(text: str) -> None:
    truth = text.strip().lower() in ("1", "true", "yes", "on")
    assert value_of_text(SETTINGS["device.void_on_disconnect"], text, "X") is truth


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        ("device.code_length", "six", "'six' cannot be used (expected int, got str)"),
        ("device.code_length", "", "'' cannot be used (expected int, got str)"),
        ("device.code_length", "11", "'11' cannot be used (expected int <= 10)"),
        ("device.guess_risk", "nan", "'nan' cannot be used (expected float > 0.0)"),
        ("device.void_on_disconnect", "maybe", "'maybe' cannot be used (expected bool, got str)"),
        ("server.log_level", "loud", "'loud' cannot be used (not one of the known words)"),
        ("confirm.in_all", "100/60", "it cannot be read as a JSON list"),
        ("confirm.in_all", "", "it cannot be read as a JSON list"),
        ("http.trusted_proxies", "[::1", "it cannot be read as a JSON list"),
        ("keys.code", "[", "it cannot be read as a JSON list"),
        ("device.path", " /x", "' /x' cannot be used (not of the right form)"),
    ],
)
def test_says_why_a_variable_cannot_be_used(path: str, text: str, reason: str) -> None:
    with pytest.raises(BadValue) as caught:
        value_of_text(SETTINGS[path], text, "X")
    assert caught.value.problem.reason == reason


@pytest.mark.parametrize("path", ["keys.code", "http.trusted_proxies", "device.allowed_origins"])
def test_an_empty_variable_is_an_empty_list(path: str) -> None:
    assert value_of_text(SETTINGS[path], "", "X") == SETTINGS[path].default


@pytest.mark.parametrize("path", ["delivery.sms.token", "delivery.sms.url"])
def test_what_may_be_a_secret_is_not_quoted(path: str) -> None:
    with pytest.raises(BadValue) as caught:
        value_of_text(SETTINGS[path], "hunter2\n", "X")
    assert "hunter2" not in str(caught.value)


def test_a_problem_names_the_place_in_a_list() -> None:
    with pytest.raises(BadValue) as caught:
        value_of(SETTINGS["confirm.in_all"], [[5, 60], [5, 0]], "x.toml")
    assert caught.value.problem.path == "confirm.in_all[1][1]"


def test_a_long_value_is_cut() -> None:
    with pytest.raises(BadValue) as caught:
        value_of(SETTINGS["device.path"], "x" * 10_000, "x.toml")
    assert len(str(caught.value)) < 300


def test_a_store_url_is_never_quoted() -> None:
    with pytest.raises(BadValue) as caught:
        value_of(SETTINGS["store.url"], "postgresql://otp:hunter2@db/otp", "x.toml")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("device.code_length", "a whole number from 6 to 10"),
        ("device.deadline_s", "a number from 1 to 10"),
        ("device.guess_risk", "a number above 0 and below 1"),
        ("server.profile", "one of development, production"),
        ("device.void_on_disconnect", "true or false"),
    ],
)
def test_words_for_what_is_wanted(path: str, words: str) -> None:
    assert wanted(SETTINGS[path]) == words
