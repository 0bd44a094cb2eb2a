"""Every error, as the page tells it; and nothing typed is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser import PHONE, Browser
from tests.support.reset_stage import NEW, ResetStage, open_reset_stage
from tests.support.reset_visits import Visit, assert_fits, to_code, to_password, visits

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(120, func_only=True)  # Chromium may have to be installed


def failed(status: int, error: str, **headers: str) -> dict[str, Any]:
    """An answer that is an error."""
    return {"status": status, "body": {"data": [], "error": error}, "headers": headers}


def told(**data: object) -> dict[str, Any]:
    """A good answer, or a failure that the contract has as data."""
    return {"body": {"data": data}}


ANYWHERE = [
    (failed(403, "CONTACT_LOCKED"), "Too many wrong codes for this account."),
    (failed(403, "FORBIDDEN_ORIGIN"), "opened from an address that the server does not allow"),
    (failed(412, "MISSING_PARAM: email is mandatory"), "refused this (MISSING_PARAM)"),
    (failed(500, "INTERNAL_ERROR"), "Something went wrong on the server."),
    (failed(503, "OVERLOADED"), "The server is too busy now."),
    (failed(503, "DRAINING"), "The server is restarting."),
    (failed(502, ""), "The server refused this (UNKNOWN)."),
    (failed(429, "RATE_LIMITED", **{"Retry-After": "7100"}), "Too many tries. Wait 119 minutes"),
]
AT_EACH_STEP = {
    "email": (
        "otp.send",
        "jana@example.com",
        [
            *ANYWHERE,
            (failed(400, "INVALID_SOCKET"), "The server does not take this connection for yours."),
            ({"fail": "InternetDisconnected"}, "The server cannot be reached."),
            (failed(504, "TIMEOUT"), "The server is too busy now."),
        ],
    ),
    "code": (
        "otp.verify",
        "123456",
        [
            *ANYWHERE,
            (told(error=1, status="no-socket"), "The server does not take this connection"),
            (told(error=1, status="wrong-code"), "This code is not right, or no longer good."),
            ({"fail": "ConnectionReset"}, "The server cannot be reached."),
        ],
    ),
    "password": (
        "otp.set_password",
        NEW,
        [
            *ANYWHERE,
            (told(error=1, status="no-socket"), "The server does not take this connection"),
            (told(error=1, status="wrong-otp"), "The code is no longer good"),
            ({"fail": "ConnectionReset"}, "so the password may be changed already"),
            (failed(504, "TIMEOUT"), "so the password may be changed already"),
        ],
    ),
}


@pytest.mark.parametrize("step", AT_EACH_STEP)
def test_every_error_is_told_at_its_field(
    visit: Visit, stage: ResetStage, artefacts: Path, step: str
) -> None:
    service, typed, errors = AT_EACH_STEP[step]
    page = visit(PHONE)
    if step == "code":
        to_code(page, stage.new_user())
    elif step == "password":
        to_password(page, stage, stage.new_user())
    page.write(typed)
    errors = sorted(errors, key=lambda each: "7100" in str(each))  # after it nothing is sent
    for number, (answer, text) in enumerate(errors):
        page.answer(service, **answer)
        page.press("Enter")
        page.wait_text(f"#{step}-error", text)
        page.wait(f"!document.querySelector('#{step}-form').ariaBusy")
        assert page.focused() == step
        assert page.value(f"#{step}") == typed
        assert text in page.accessible(f"#{step}")["description"]
        page.screenshot(artefacts / f"reset-error-{step}-{number}.png")
        assert_fits(page)
    assert "(118:" in page.text(f"#{step}-form [type=submit]")


def test_no_more_account_leads_back_to_the_email(visit: Visit, stage: ResetStage) -> None:
    for step, service in (("code", "otp.verify"), ("password", "otp.set_password")):
        page = visit()
        (to_code if step == "code" else to_password)(
            *([page, stage.new_user()] if step == "code" else [page, stage, stage.new_user()])
        )
        page.answer(service, **told(error=1, status="no-user"))
        page.write("123456" if step == "code" else NEW)
        page.press("Enter")
        page.wait_text("#email-error", "There is no account with this e-mail address.")
        page.wait_focus("#email")


def test_a_refused_socket_is_opened_again_and_the_call_made_again(
    visit: Visit, stage: ResetStage
) -> None:
    email = stage.new_user()
    page = visit()
    page.answer("otp.send", **failed(400, "INVALID_SOCKET"), once=True)
    to_code(page, email)
    page.wait_text("#status", "The connection had to be renewed. Trying once more.")
    page.answer("otp.verify", **told(error=1, status="no-socket"), once=True)
    page.write(stage.code_of(email))
    page.press("Enter")
    page.wait_focus("#password")
    page.wait_text("#status", "The connection had to be renewed.")
    page.answer("otp.set_password", **told(error=1, status="no-socket"), once=True)
    page.write(NEW)
    page.press("Enter")
    page.wait_focus("#done-title")
    assert stage.signs_in(email, NEW)


def test_a_socket_that_was_really_lost_is_opened_again(visit: Visit, stage: ResetStage) -> None:
    """The session is ended behind the page's back, and its sockets with it."""
    email = stage.new_user()
    page = visit()
    to_code(page, email)  # so there is a socket
    page.write("123456")
    ended = (
        "fetch('/-/svc/session.sign_out', {method: 'POST', body: '{}',"
        " headers: {'Content-Type': 'application/json'}}).then((answer) => answer.status)"
    )
    assert page.evaluate(ended) == 200
    page.wait_text("#connection", "Connected again.")
    assert page.value("#code") == "123456"
    page.press("Enter")  # the code was of the session that is no more
    page.wait_text("#code-error", "This code is not right, or no longer good.")
    page.click("#resend")
    page.wait_text("#status", "A new code is on its way.")
    page.write(stage.code_of(email, 2))
    page.press("Enter")
    page.wait_focus("#password")


def test_a_mail_that_is_not_delivered_is_told(visit: Visit, stage: ResetStage) -> None:
    email = stage.new_user()
    page = visit()
    page.answer("otp.send", **told(status="ok", sent=0, secret="s", email=email, uid="u"))
    to_code(page, email)
    page.wait_text("#code-error", "The e-mail could not be delivered yet.")
    assert page.accessible("#code")["invalid"] == "false"


def test_after_too_many_tries_the_button_counts_down_and_works_again(
    visit: Visit, stage: ResetStage
) -> None:
    email = stage.new_user()
    page = visit()
    to_code(page, email)
    page.answer("otp.send", **failed(429, "RATE_LIMITED", **{"Retry-After": "2"}), once=True)
    page.click("#resend")
    page.wait_text("#code-error", "Too many tries. Wait 2 seconds, then try again.")
    page.wait_text("#resend", "Send a new code (0:0")
    assert page.accessible("#resend")["disabled"] == "True"
    page.click("#resend")
    page.wait("document.querySelector('#resend').textContent === 'Send a new code'")
    assert len(stage.mails_to(email)) == 1
    page.click("#resend")
    page.wait_text("#status", "A new code is on its way.")
    assert len({stage.code_of(email, 1), stage.code_of(email, 2)}) == 2


def test_a_code_that_runs_out_is_told_and_a_new_one_goes_on(
    visit: Visit, stage: ResetStage
) -> None:
    email = stage.new_user()
    page = visit()
    to_code(page, email)
    record = {"data": {"uid": "u", "secret": "s", "expiry": 1000}, "__timestamp__": 999_000}
    page.answer("otp.verify", body=record, once=True)
    page.write("123456")
    page.press("Enter")
    page.wait_focus("#password")
    page.write(NEW)
    page.wait_text("#password-error", "The code is no longer good: it expired")
    assert page.value("#password") == NEW
    page.click("#new-code")
    page.wait_focus("#code")
    page.write(stage.code_of(email, 2))
    page.press("Enter")
    page.wait_focus("#password")
    assert page.value("#password") == NEW
    page.press("Enter")
    page.wait_focus("#done-title")
    assert stage.signs_in(email, NEW)


def test_what_is_not_written_as_it_must_be_is_not_sent(visit: Visit, stage: ResetStage) -> None:
    email = stage.new_user()
    page = visit()
    for text in ("", "jana", "@example.com"):
        page.write(text)
        page.press("Enter")
        page.wait_text("#email-error", "Type your whole e-mail address")
    to_code(page, email)
    code = stage.code_of(email)
    for text in ("", "12345", "1234567", "12345a"):
        page.write(text)
        page.press("Enter")
        page.wait_text("#code-error", "Type the 6 digits from the e-mail.")
    page.write(code)  # ten of those would have used it up
    page.press("Enter")
    page.wait_focus("#password")
    for text, why in (("", "too short"), ("1234567", "too short"), ("x" * 129, "too long")):
        page.write(text)
        page.press("Enter")
        page.wait_text("#password-error", f"The password is {why}")


def test_a_restart_of_the_server_interrupts_and_loses_nothing(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with open_reset_stage(tmp_path_factory.mktemp("restarted")) as stage:
        email = stage.new_user()
        server = stage.server
        server.environment["OTP_SERVER_HTTP__LISTEN"] = server.http_url.split("//")[1].strip("/")
        with visits(browser, stage.url) as visit:
            page = visit()
            to_code(page, email)
            code = stage.code_of(email)
            page.write(code)
            assert server.stop() == 0
            page.wait_text("#connection", "The server is restarting.")
            page.press("Enter")
            page.wait_text("#code-error", "The server cannot be reached.")
            assert page.value("#code") == code
            server.start()
            page.wait_text("#connection", "Connected again.", 60)
            page.press("Enter")
            page.wait_focus("#password")
            server.kill()
            page.wait_text("#connection", "No connection to the server.")
            page.write(NEW)
            page.press("Enter")
            page.wait_text("#password-error", "so the password may be changed already")
            assert stage.server.start()
            page.wait_text("#connection", "Connected again.", 60)
            assert page.value("#password") == NEW
            page.press("Enter")
            page.wait_focus("#done-title")
            assert stage.signs_in(email, NEW)
            page.complaints[:] = [each for each in page.complaints if "refused" not in each.text]


def test_a_server_that_stops_says_so(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        open_reset_stage(tmp_path_factory.mktemp("stopped")) as stage,
        visits(browser, stage.url) as visit,
    ):
        page = visit()
        to_code(page, stage.new_user())
        assert stage.server.stop() == 0
        page.wait_text("#connection", "The server is restarting.")
        page.complaints[:] = [each for each in page.complaints if "refused" not in each.text]
