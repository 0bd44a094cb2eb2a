"""Visits of the page at ``/-/reset``: opened, walked through, and none may complain."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from tests.support.browser import DESKTOP, Browser, Page, Screen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.reset_stage import ResetStage

FINGER_PX = 44
TARGETS = """[...document.querySelectorAll("input:not(.unseen), button")]
  .filter((it) => it.offsetParent).map((it) => it.getBoundingClientRect())
  .map((box) => Math.min(box.width, box.height))"""


class Visit(Protocol):
    def __call__(self, screen: Screen = ..., language: str = ..., url: str = ...) -> Page: ...


@contextmanager
def visits(browser: Browser, url: str) -> Iterator[Visit]:
    """Opens the page as often as asked. None may complain, but of answers that are no success."""
    pages: list[Page] = []

    def visit(screen: Screen = DESKTOP, language: str = "en-GB", url: str = url) -> Page:
        page = browser.open(screen, language)
        pages.append(page)
        page.go(url)
        page.wait_focus("#email")
        return page

    yield visit
    complaints = [each for page in pages for each in page.complaints if each.source != "network"]
    for page in pages:
        page.close()
    assert complaints == []


def to_code(page: Page, email: str) -> None:
    """Ask for a code, up to the field for it."""
    page.fill("#email", email)
    page.press("Enter")
    page.wait_focus("#code")


def to_password(page: Page, stage: ResetStage, email: str) -> None:
    """Ask for a code and prove it, up to the field for the password."""
    to_code(page, email)
    page.write(stage.code_of(email))
    page.press("Enter")
    page.wait_focus("#password")


def assert_fits(page: Page) -> None:
    """Nothing is wider than the screen, and everything is large enough for a finger."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert min(page.evaluate(TARGETS)) >= FINGER_PX
