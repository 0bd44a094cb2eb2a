"""How the page looks and reads: schemes, motion, assistive technology, its policy in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.browser import PHONE, Browser
from tests.support.reset_stage import ResetStage
from tests.support.reset_visits import Visit, to_code

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(120, func_only=True)  # Chromium may have to be installed

CONTRAST_MIN = 4.5
CONTRAST = """(() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map((each) => each / 255)
      .map((each) => each <= 0.03928 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (it) => {
    const colour = getComputedStyle(it).backgroundColor;
    return colour.startsWith("rgba(0, 0, 0, 0") ? behind(it.parentElement) : colour;
  };
  const seen = [...document.querySelectorAll("h1, h2, p, label, input, button")];
  return Math.min(...seen.filter((it) => it.offsetParent).map((it) => {
    const [a, b] = [light(getComputedStyle(it).color), light(behind(it))].sort((a, b) => b - a);
    return (a + 0.05) / (b + 0.05);
  }));
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_either_scheme(
    visit: Visit, stage: ResetStage, artefacts: Path, scheme: str
) -> None:
    page = visit(PHONE)
    page.call(
        "Emulation.setEmulatedMedia",
        features=[
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ],
    )
    page.press("Enter")
    page.wait_text("#email-error", "Type your whole e-mail address")
    page.screenshot(artefacts / f"reset-{scheme}.png")
    assert page.evaluate(CONTRAST) >= CONTRAST_MIN
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


@pytest.mark.parametrize(("wish", "moves"), [("reduce", False), ("no-preference", True)])
def test_nothing_moves_for_who_wants_that(visit: Visit, wish: str, *, moves: bool) -> None:
    page = visit()
    wished = [{"name": "prefers-reduced-motion", "value": wish}]
    page.call("Emulation.setEmulatedMedia", features=wished)
    page.evaluate("document.querySelector('#email-form').setAttribute('aria-busy', 'true')")
    button = "document.querySelector('#email-form [type=submit]')"
    assert page.evaluate(f"getComputedStyle({button}, '::after').animationName") == (
        "turn" if moves else "none"
    )


def test_assistive_technology_is_told_what_each_field_is(visit: Visit, stage: ResetStage) -> None:
    page = visit()
    email = page.accessible("#email")
    assert (email["role"], email["name"]) == ("textbox", "E-mail address of your account")
    assert page.accessible("#connection")["live"] == "polite"
    assert page.accessible("#status")["live"] == "polite"
    to_code(page, stage.new_user())
    code = page.accessible("#code")
    assert (code["role"], code["name"]) == ("textbox", "Code from the e-mail")
    assert code["description"].startswith("We sent a code of 6 digits")
    page.write("1")
    page.press("Enter")
    page.wait_text("#code-error", "Type the 6 digits")
    code = page.accessible("#code")
    assert code["invalid"] == "true"
    assert code["description"].startswith("Type the 6 digits from the e-mail.")
    assert page.accessible("#code-error")["live"] == "assertive"


def test_a_broken_rule_of_its_policy_would_be_seen(browser: Browser, stage: ResetStage) -> None:
    """What the other tests rely on: the browser tells, and the policy is in force."""
    page = browser.open()
    page.go(stage.url)
    page.wait_focus("#email")
    page.evaluate(
        "document.body.appendChild(document.createElement('img')).src ="
        " 'http://127.0.0.1:1/elsewhere.png'"
    )
    page.evaluate(
        "document.body.appendChild(document.createElement('p')).setAttribute('style', 'color: red')"
    )
    page.wait("true")
    assert {each.source for each in page.complaints} >= {"csp", "security"}
    assert "TrustedHTML" in page.evaluate(
        "(() => { try { document.body.innerHTML = '<b>x</b>'; return ''; }"
        " catch (error) { return String(error); } })()"
    )
    page.close()
