"""The password reset page: whole, from this origin only, and the same in every language."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.resources import files
from typing import Any

import pytest

from otp_server.api.mount import mount
from otp_server.api.problem import PROBLEMS
from otp_server.api.svc import page
from otp_server.api.svc.page import reset_page_operations
from otp_server.api.web import WebOptions, make_app
from otp_server.domain import password_rules
from otp_server.telemetry import Metrics
from tests.support.toolchain import tool

HERE = files(page)
HTML = (HERE / "reset.html").read_text()
CSS = (HERE / "reset.css").read_text()
WORDS = (HERE / "reset_words.js").read_text()
SCRIPT = (HERE / "reset.js").read_text()
ASSETS = ["/-/reset/reset.css", "/-/reset/reset.js", "/-/reset/reset_words.js"]
LANGUAGES = ["en", "fr", "es"]


async def fetch(path: str, method: str = "GET") -> tuple[int, Any, bytes]:
    app = make_app("page", WebOptions(100, []), Metrics())
    mount(app, reset_page_operations(PROBLEMS))
    response = await app.test_client().open(path, method=method)
    body = await response.get_data(as_text=False)
    return response.status_code, response.headers, body


def words(expression: str) -> Any:  # noqa: ANN401 - JSON
    """The value of an expression beside ``reset_words.js``, in Node."""
    script = f"{WORDS}\nprocess.stdout.write(JSON.stringify({expression}));"
    done = subprocess.run(
        [tool("node"), "-"], input=script, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_the_page_and_all_it_needs_are_served() -> None:
    named = re.findall(r'(?:src|href)="(/[^"]+)"', HTML)
    assert sorted(named) == ASSETS
    kinds = []
    for path in ("/-/reset", *ASSETS):
        status, headers, body = await fetch(path)
        assert status == 200
        assert body
        kinds.append(headers["Content-Type"])
    assert kinds == [
        f"{kind}; charset=utf-8"
        for kind in ("text/html", "text/css", "text/javascript", "text/javascript")
    ]


@pytest.mark.parametrize("path", ["/-/reset", *ASSETS])
async def test_only_this_origin_and_nothing_inline(path: str) -> None:
    _, headers, _ = await fetch(path)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    policy = dict(
        part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";")
    )
    nobody = {"default-src", "base-uri", "form-action", "frame-ancestors", "trusted-types"}
    assert {policy.pop(name) for name in nobody} == {"'none'"}
    assert {policy.pop(name) for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert policy == {"img-src": "data:", "require-trusted-types-for": "'script'"}


def test_the_files_need_no_exception_from_that() -> None:
    assert not re.search(r"https?:|\"//|<script>|<style| style=| on\w+=|javascript:", HTML)
    assert not re.search(r"https?:|@import|url\(", CSS)
    for script in (SCRIPT, WORDS):
        assert not re.search(r"https?://|\beval\b|new Function|innerHTML|insertAdjacent", script)
        assert not re.search(r"(local|session)Storage|document\.cookie", script)


@pytest.mark.parametrize("path", ["/-/reset/", "/-/reset/reset.html", "/-/reset/__init__.py"])
async def test_nothing_else_is_served(path: str) -> None:
    assert (await fetch(path))[0] == 404


@pytest.mark.parametrize("path", ["/-/reset", *ASSETS])
async def test_it_is_only_read(path: str) -> None:
    assert (await fetch(path, "HEAD"))[0] == 200
    assert (await fetch(path, "POST"))[0] == 405


@pytest.mark.parametrize("name", ["reset.js", "reset_words.js"])
def test_the_scripts_are_scripts(name: str) -> None:
    done = subprocess.run(
        [tool("node"), "--check", str(HERE / name)], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_field_has_its_label_and_its_error() -> None:
    for field in ("email", "code", "password"):
        assert f'<label for="{field}"' in HTML
        [tag] = re.findall(rf'<input id="{field}"[^>]*>', HTML)
        assert f"{field}-error" in re.findall(r'aria-describedby="([^"]*)"', tag)[0].split()
        assert f'<p id="{field}-error" class="error" role="alert" hidden></p>' in HTML
    assert 'autocomplete="one-time-code" inputmode="numeric"' in HTML
    assert 'type="password" autocomplete="new-password"' in HTML
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in HTML


# --- words --------------------------------------------------------------------------------------


def test_every_language_says_everything_with_the_same_gaps() -> None:
    texts = words("TEXTS")
    assert list(texts) == LANGUAGES
    flat = {
        language: {**table, **{f"problems.{k}": v for k, v in table["problems"].items()}}
        for language, table in texts.items()
    }
    for table in flat.values():
        table.pop("problems")
    english = flat["en"]
    for language in ("fr", "es"):
        assert list(flat[language]) == list(english)
        for key, text in flat[language].items():
            assert sorted(re.findall(r"\{\w+\}", text)) == sorted(
                re.findall(r"\{\w+\}", english[key])
            ), (language, key)
            assert text != english[key], (language, key)


def test_the_page_has_a_text_for_all_it_names_and_names_no_other() -> None:
    english = words("TEXTS.en")
    shown = dict(re.findall(r'data-text="(\w+)">([^<]*)<', HTML))
    used = set(re.findall(r"\btexts\.(\w+)", SCRIPT + WORDS)) | set(shown)
    used |= {"restarting", "offline"} | set(words("WEAK.map((each) => each[1])"))
    assert used == set(english)
    assert {key: english[key] for key in shown} == shown  # what is there before the script runs


def test_the_language_is_the_first_that_we_speak() -> None:
    chosen = {
        "en-GB": "en",
        "fr": "fr",
        "FR-ca en": "fr",
        "es-419": "es",
        "de-DE es en": "es",
        "de": "en",
        "": "en",
        "constructor __proto__": "en",
    }
    wanted = [each.split() for each in chosen]
    assert words(f"{json.dumps(wanted)}.map(chooseLanguage)") == list(chosen.values())


FAILURES: list[tuple[int, object, str | None, tuple[str, int] | None]] = [
    (200, {"data": {"status": "ok", "sent": 1}}, None, None),
    (200, {"data": {"uid": "u", "expiry": 1}}, None, None),
    (200, {"data": {"status": "no-user", "email": "a@b"}}, None, ("no-user", 0)),
    (200, {"data": {"error": 1, "status": "no-socket"}}, None, ("no-socket", 0)),
    (200, {"data": {"error": 1, "status": "wrong-code"}}, None, ("wrong-code", 0)),
    (200, {"data": {"error": 1, "status": "wrong-otp"}}, None, ("wrong-code", 0)),
    (400, {"data": [], "error": "INVALID_SOCKET"}, None, ("no-socket", 0)),
    (400, {"data": [], "error": "WEAK_PASSWORD"}, None, ("WEAK_PASSWORD", 0)),
    (403, {"data": [], "error": "CONTACT_LOCKED"}, None, ("CONTACT_LOCKED", 0)),
    (412, {"data": [], "error": "MISSING_PARAM: email is"}, None, ("MISSING_PARAM", 0)),
    (429, {"data": [], "error": "RATE_LIMITED"}, "42", ("RATE_LIMITED", 42)),
    (429, {}, "Sun, 06 Nov 1994 08:49:37 GMT", ("RATE_LIMITED", 0)),
    (500, {"data": {}, "error": "INTERNAL_ERROR"}, None, ("INTERNAL_ERROR", 0)),
    (502, {}, None, ("UNKNOWN", 0)),
    (503, {"data": [], "error": "DRAINING"}, "1", ("DRAINING", 1)),
    (503, {"data": [], "error": "OVERLOADED"}, "1", ("BUSY", 1)),
    (504, {"data": [], "error": "TIMEOUT"}, None, ("TIMEOUT", 0)),
]


def test_what_went_wrong() -> None:
    asked = json.dumps([each[:3] for each in FAILURES])
    told = words(f"{asked}.map((each) => failureOf(...each))")
    found = [failure and (failure["name"], failure["waitS"]) for failure in told]
    assert found == [each[3] for each in FAILURES]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_reasons_against_a_password_are_told_in_every_language(language: str) -> None:
    keys = {
        password_rules.TOO_SHORT: "tooShort",
        password_rules.TOO_LONG: "tooLong",
        password_rules.ABOUT_YOU: "aboutYou",
        password_rules.BREACHED: "breached",
    }
    answers = json.dumps([{"error": "WEAK_PASSWORD", "reason": [reason]} for reason in keys])
    told = words(
        f"{answers}.map((answer) => problemText({language!r}, failureOf(400, answer, null)))"
    )
    texts = words(f"TEXTS.{language}")
    assert told == [texts[key] for key in keys.values()]


def test_a_wait_is_told_in_seconds_and_then_in_minutes() -> None:
    waits = "[['en', 0], ['en', 42], ['en', 3540], ['fr', 42], ['es', 3540]]"
    told = words(
        f"{waits}.map(([language, waitS]) =>"
        " problemText(language, {name: 'RATE_LIMITED', waitS, reason: ''}))"
    )
    assert told == [
        "Too many tries. Wait 1 second, then try again.",
        "Too many tries. Wait 42 seconds, then try again.",
        "Too many tries. Wait 59 minutes, then try again.",
        "Trop d\u2019essais. Attendez 42\u00a0secondes, puis réessayez.",
        "Demasiados intentos. Espere 59 minutos e inténtelo de nuevo.",
    ]


def test_an_unknown_refusal_is_named() -> None:
    text = words("problemText('en', {name: 'SOMETHING_NEW', waitS: 0, reason: ''})")
    assert text == "The server refused this (SOMETHING_NEW). Reload the page, and start again."
