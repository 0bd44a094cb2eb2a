"""Chromium on the one port: hot calls, pages, and a web socket, in any order, as of one server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser import Browser, Page
from tests.support.chromium import Chromium, chromium
from tests.support.server_process import UNLIMITED_CONFIRMS, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(120, func_only=True)  # Chromium may have to be installed

ASKED_AT_ONCE = 40
CALL = """fetch(%s, %s).then(async (answer) => [
  answer.status, answer.headers.get("cache-control"), await answer.text()])"""
MANY = """Promise.all(Array.from({length: %d}, (_, n) => fetch(
    n %% 4 == 3 ? "/device/server-time" : "/device/otp/confirm",
    n %% 4 == 3 ? {} : {method: "POST", body: '{"otp":"123456"}',
                       headers: {"Content-Type": "application/json"}})
  .then((answer) => answer.text().then(() => answer.status))))"""
OPEN_SOCKET = """fetch("/-/svc/bootstrap.authn", {method: "POST", body: "{}",
    headers: {"Content-Type": "application/json"}})
  .then((answer) => answer.json())
  .then((said) => new Promise((done, failed) => {
    const place = new URL("/-/websocket/", location);
    place.protocol = "ws:";
    place.searchParams.set("otak", said.data.token);
    globalThis.opened = new WebSocket(place, "service");
    opened.onerror = () => failed("it did not open");
    opened.onmessage = (message) => done(message.data);
  }))"""


@pytest.fixture(scope="module", params=["native", "hypercorn"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("browsed") / "server"
    http = f'transport = "{request.param}"'
    server = ServerProcess(folder, http=http, confirm=UNLIMITED_CONFIRMS)
    server.start()
    try:
        yield server
        assert server.stop() == 0
    finally:
        server.kill()


@pytest.fixture
def page(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Of a fresh browser, so with fresh connections; at a hot answer, since it is the origin's."""
    with (
        Chromium(chromium(), tmp_path_factory.mktemp("chromium")) as running,
        Browser(running.url) as browser,
    ):
        page = browser.open()
        page.go(f"{server.http_url}/otp/email-verification")
        assert "UNAUTHORIZED" in page.evaluate("document.body.innerText")
        yield page
        page.close()


def call(page: Page, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
    """Status, cache control and text of an answer to a fetch."""
    options: dict[str, object] = {}
    if body is not None:
        headers = {"Content-Type": "application/json"}
        options = {"method": "POST", "body": json.dumps(body), "headers": headers}
    return page.evaluate(CALL % (json.dumps(path), json.dumps(options)))


def test_hot_calls_then_pages_then_a_web_socket(page: Page, server: ServerProcess) -> None:
    guess = {"otp": "123456"}
    hot = [call(page, "/device/otp/confirm", guess) for _ in range(3)]
    assert [(status, cached) for status, cached, _ in hot] == [(404, "no-store")] * 3
    assert json.loads(hot[0][2])["error"] == "invalid_code"
    status, _, text = call(page, "/-/svc/otp.verify", {"socket_id": "x"})
    assert (status, json.loads(text)["__ack__"]) == (412, "otp.verify")

    status, cached, text = call(page, "/device/server-time")  # cold
    assert (status, cached, list(json.loads(text))) == (200, "no-store", ["server_time"])
    assert call(page, "/device/otp/confirm", guess) == hot[0]

    page.go(f"{server.http_url}/-/reset")
    page.wait_focus("#email")
    assert json.loads(page.evaluate(OPEN_SOCKET))["service"] == "sys.hello"
    assert call(page, "/device/otp/confirm", guess) == hot[0]
    assert page.evaluate("opened.readyState") == 1

    page.go(f"{server.http_url}/docs")
    page.wait("document.querySelectorAll('.opblock').length > 20")
    assert [each for each in page.complaints if each.source != "network"] == []


def test_many_at_once_of_both_kinds(page: Page) -> None:
    for _ in range(3):
        assert page.evaluate(MANY % ASKED_AT_ONCE) == [404, 404, 404, 200] * (ASKED_AT_ONCE // 4)
