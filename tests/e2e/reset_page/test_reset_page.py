"""The page at ``/-/reset`` in Chromium, against the running server and a real mail server."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.browser import DESKTOP, PHONE, SHIFT, Browser, Complaint, Screen
from tests.support.reset_stage import NEW, OLD, ResetStage, open_reset_stage, other_code
from tests.support.reset_visits import Visit, assert_fits, to_code, to_password, visits

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(120, func_only=True)  # Chromium may have to be installed
WEAK = "password1"
SMALL = Screen("small phone", 320, 568, phone=True)


@pytest.mark.parametrize("screen", [PHONE, DESKTOP], ids=lambda screen: screen.name)
def test_the_whole_way(visit: Visit, stage: ResetStage, artefacts: Path, screen: Screen) -> None:
    email = stage.new_user()
    page = visit(screen)
    shots = itertools.count(1)

    def look(what: str) -> None:
        page.screenshot(artefacts / f"reset-{screen.name}-{next(shots)}-{what}.png")
        assert_fits(page)

    look("email")
    page.fill("#email", "nobody@example.com")
    page.click("#email-form [type=submit]")
    page.wait_text("#email-error", "There is no account with this e-mail address.")
    look("no-user")
    page.fill("#email", email)
    page.click("#email-form [type=submit]")
    page.wait_text("#code-hint", f"We sent a code of 6 digits to {email}.")
    page.wait_focus("#code")
    look("code")

    code = stage.code_of(email)
    page.write(other_code(code))
    page.click("#code-form [type=submit]")
    page.wait_text("#code-error", "This code is not right, or no longer good.")
    look("wrong-code")
    page.fill("#code", f"{code[:3]} {code[3:]}")
    page.click("#code-form [type=submit]")
    page.wait_focus("#password")
    look("password")

    page.write(WEAK)
    page.click("#password-form [type=submit]")
    page.wait_text("#password-error", "Attackers try this password first")
    look("weak-password")
    page.fill("#password", NEW)
    page.click("#show")
    assert page.evaluate("document.querySelector('#password').type") == "text"
    look("password-shown")
    page.click("#password-form [type=submit]")
    page.wait_focus("#done-title")
    page.wait_text("#who", f"You are signed in as {email}.")
    look("done")

    assert stage.signs_in(email, NEW)
    assert not stage.signs_in(email, OLD)
    assert stage.mail_to(email, 2)["Subject"] == "Your password was changed"
    assert page.evaluate("document.cookie") == ""
    assert page.evaluate("[...document.querySelectorAll('input')].map((it) => it.value)") == [
        email,
        "",
        "",
        "",
    ]
    text = "Failed to load resource: the server responded with a status of 400 ()"
    url = f"{stage.server.http_url.rstrip('/')}/-/svc/otp.set_password"
    assert page.complaints == [Complaint("network", f"{text} {url}")]


def test_who_is_signed_in_stays_so_and_can_sign_out(visit: Visit, stage: ResetStage) -> None:
    email = stage.new_user()
    page = visit()
    assert page.evaluate("document.querySelector('#session').hidden")
    to_password(page, stage, email)
    page.write(NEW)
    page.press("Enter")
    page.wait_focus("#done-title")
    page.go(stage.url)  # the session is in its cookie
    page.wait_text("#who", f"You are signed in as {email}.")
    page.click("#sign-out")
    page.wait_text("#status", "You are signed out.")
    page.wait("document.querySelector('#session').hidden")
    page.go(stage.url)
    to_code(page, email)  # with a socket of a new session
    assert page.evaluate("document.querySelector('#session').hidden")


def test_with_the_keyboard_alone(visit: Visit, stage: ResetStage) -> None:
    email = stage.new_user()
    page = visit()
    page.write(email)
    page.press("Tab")
    page.press("Space")  # Send me a code
    page.wait_focus("#code")
    assert page.evaluate("document.title") == "Step 2 of 3: the code"

    for _ in range(2):  # the button to send, the one to send again
        page.press("Tab")
    assert page.focused() == "resend"
    page.press("Enter")
    page.wait_text("#status", "A new code is on its way.")
    page.wait_focus("#code")
    page.write(stage.code_of(email, 1))
    page.press("Enter")
    page.wait_text("#code-error", "This code is not right")  # the newer one took its place
    page.wait_focus("#code")
    page.write(stage.code_of(email, 2))
    page.press("Enter")
    page.wait_focus("#password")

    page.write("short")
    page.press("Enter")
    page.wait_text("#password-error", "The password is too short")
    page.write(NEW)
    page.press("Tab")
    assert page.focused() == "show"
    page.press("Space")
    assert page.accessible("#show")["pressed"] == "true"
    page.press("Tab", modifiers=SHIFT)
    assert page.focused() == "password"
    assert page.value("#password") == NEW
    page.press("Enter")
    page.wait_focus("#done-title")
    page.press("Tab")
    assert page.focused() == "sign-out"
    page.press("Enter")
    page.wait_focus("#email")
    page.wait_text("#status", "You are signed out.")
    assert stage.signs_in(email, NEW)


class Spoken(NamedTuple):
    wanted: str
    tag: str
    title: str
    subject: str
    changed: str
    notice: str


FRENCH = Spoken(
    "fr-CA,fr,en",
    "fr",
    "Réinitialiser votre mot de passe",
    "Votre code de validation",
    "Votre mot de passe est changé",
    "Votre mot de passe a été changé",
)
SPANISH = Spoken(
    "es-419",
    "es",
    "Restablecer su contraseña",
    "Su código de validación",
    "Su contraseña está cambiada",
    "Su contraseña ha cambiado",
)


@pytest.mark.parametrize("spoken", [FRENCH, SPANISH], ids=lambda spoken: spoken.tag)
def test_it_speaks_the_language_of_the_browser(
    visit: Visit, stage: ResetStage, artefacts: Path, spoken: Spoken
) -> None:
    email = stage.new_user()
    page = visit(SMALL, spoken.wanted)
    assert page.evaluate("document.documentElement.lang") == spoken.tag
    assert page.text("h1") == spoken.title
    to_password(page, stage, email)
    assert_fits(page)
    page.screenshot(artefacts / f"reset-{spoken.tag}.png")
    page.write(NEW)
    page.press("Enter")
    page.wait_text("#done-title", spoken.changed)
    assert_fits(page)
    assert stage.mail_to(email, 1)["Subject"] == spoken.subject
    assert stage.mail_to(email, 2)["Subject"] == spoken.notice


def test_where_accounts_are_not_revealed(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with open_reset_stage(tmp_path_factory.mktemp("hidden"), "reveal_accounts = false") as stage:
        known, unknown = stage.new_user(), "nobody@example.com"
        with visits(browser, stage.url) as visit:
            page = visit()
            for email in (unknown, known):
                to_code(page, email)
                hint = f"If {email} has an account here, a code of 6 digits is on its way there."
                page.wait_text("#code-hint", hint)
                if email == unknown:
                    page.click("#other-email")
                    page.wait_focus("#email")
            page.write(stage.code_of(known))
            page.press("Enter")
            page.wait_focus("#password")
            page.write(NEW)
            page.press("Enter")
            page.wait_text("#who", f"You are signed in as {known}.")
            assert stage.signs_in(known, NEW)
        assert stage.mails_to(unknown) == []
