"""A person at a browser: pages of Chromium, driven over the DevTools protocol.

Keys and clicks are real input events. Nothing here sleeps: a page is asked to tell when something
is true, by an absolute deadline. What a page complains about (console, CSP, failed loads) is kept.
"""

from __future__ import annotations

import base64
import itertools
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

CALL_S = 20.0
WAIT_S = 20.0
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
KEYS = {
    "Enter": ("Enter", 13, "\r"),
    "Tab": ("Tab", 9, ""),
    "Backspace": ("Backspace", 8, ""),
    "Space": (" ", 32, " "),
}
SHIFT, CONTROL = 8, 2
WAITING = """new Promise((done) => {
  const look = () => { if (%s) done(true); else setTimeout(look, 20); };
  look();
})"""


class Screen(NamedTuple):
    """What a page is shown on."""

    name: str
    width: int
    height: int
    phone: bool


PHONE = Screen("phone", 360, 740, phone=True)
DESKTOP = Screen("desktop", 1280, 800, phone=False)


class Complaint(NamedTuple):
    """What a browser says is wrong: ``source`` is console, exception, csp or the log's own word."""

    source: str
    text: str


class Browser:
    """A connection to Chromium, by ``with``. ``open`` gives pages with cookies of their own."""

    def __init__(self, url: str) -> None:
        self._connecting = connect(
            url, max_size=MESSAGE_BYTES_MAX, ping_interval=None, proxy=None, compression=None
        )
        self._numbers = itertools.count(1)
        self._listeners: dict[str, Callable[[str, dict[str, Any]], None]] = {}

    def __enter__(self) -> Self:
        self._connection = self._connecting.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def call(
        self, method: str, session: str = "", *, within_s: float = CALL_S, **parameters: object
    ) -> dict[str, Any]:
        """One command and its result; events that come meanwhile go to their pages."""
        number = self.start(method, session, **parameters)
        deadline = time.monotonic() + within_s
        while True:
            message = json.loads(self._connection.recv(timeout=deadline - time.monotonic()))
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                result: dict[str, Any] = message["result"]
                return result
            if "method" in message and message.get("sessionId") in self._listeners:
                self._listeners[message["sessionId"]](message["method"], message["params"])

    def start(self, method: str, session: str = "", **parameters: object) -> int:
        """Send a command and do not wait for its result."""
        number = next(self._numbers)
        command: dict[str, object] = {"id": number, "method": method, "params": parameters}
        if session:
            command["sessionId"] = session
        self._connection.send(json.dumps(command))
        return number

    def open(self, screen: Screen = DESKTOP, language: str = "en-GB") -> Page:
        """A new page on a screen, of somebody who reads this language."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        return self.open_beside(context, screen, language)

    def open_beside(self, context: str, screen: Screen = DESKTOP, language: str = "en-GB") -> Page:
        """Another page with the same cookies."""
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)[
            "sessionId"
        ]
        page = Page(self, session, context)
        self._listeners[session] = page.heard
        page.prepare(screen, language)
        return page


@dataclass
class Page:
    """One page. Give CSS selectors; a wait that fails shows what the page said."""

    browser: Browser
    session: str
    context: str
    complaints: list[Complaint] = field(default_factory=list)
    _answers: dict[str, dict[str, Any]] = field(default_factory=dict)

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """A DevTools command for this page."""
        return self.browser.call(method, self.session, **parameters)

    def prepare(self, screen: Screen, language: str) -> None:
        """Listen, and be that screen and that reader. ``Browser.open`` does it."""
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            self.call(f"{domain}.enable")
        # Before any document is there: what is loaded already may send one more past a new rule.
        self.call("Fetch.enable", patterns=[{"urlPattern": "*/-/svc/*"}])
        agent = self.browser.call("Browser.getVersion")["userAgent"]
        self.call("Network.setUserAgentOverride", userAgent=agent, acceptLanguage=language)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=screen.width,
            height=screen.height,
            deviceScaleFactor=2 if screen.phone else 1,
            mobile=screen.phone,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=screen.phone)
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def heard(self, method: str, event: dict[str, Any]) -> None:
        """An event of this page."""
        match method:
            case "Runtime.consoleAPICalled" if event["type"] in {"error", "warning", "assert"}:
                words = " ".join(str(each.get("value", each)) for each in event["args"])
                self.complaints.append(Complaint("console", words))
            case "Runtime.exceptionThrown":
                details = event["exceptionDetails"]
                words = details.get("exception", {}).get("description", details["text"])
                self.complaints.append(Complaint("exception", words))
            case "Log.entryAdded" if event["entry"]["level"] in {"error", "warning"}:
                entry = event["entry"]
                words = f"{entry['text']} {entry.get('url', '')}".strip()
                self.complaints.append(Complaint(entry["source"], words))
            case "Audits.issueAdded" if event["issue"]["code"] == "ContentSecurityPolicyIssue":
                self.complaints.append(Complaint("csp", json.dumps(event["issue"]["details"])))
            case "Fetch.requestPaused":
                self._answer(event)
            case _:
                pass

    def go(self, url: str) -> None:
        """Load ``url``; until ``DOMContentLoaded`` and everything after it."""
        failed = self.call("Page.navigate", url=url).get("errorText")
        assert failed is None, f"{url}: {failed}"
        self.wait("document.readyState === 'complete'")

    def evaluate(self, expression: str, *, within_s: float = CALL_S) -> Any:  # noqa: ANN401 - JSON
        """The value of a JavaScript expression, awaited."""
        done = self.browser.call(
            "Runtime.evaluate",
            self.session,
            within_s=within_s,
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in done, f"{expression}: {done['exceptionDetails']}"
        return done["result"].get("value")

    def wait(self, condition: str, within_s: float = WAIT_S) -> None:
        """Until a JavaScript condition is true."""
        try:
            self.evaluate(WAITING % condition, within_s=within_s)
        except TimeoutError:
            text = self.evaluate("document.body.innerText")
            raise AssertionError(
                f"not within {within_s} s: {condition}\n{text}\n{self.complaints}"
            ) from None

    def wait_text(self, selector: str, text: str, within_s: float = WAIT_S) -> None:
        """Until a visible element has this text in it."""
        found = f"document.querySelector({json.dumps(selector)})"
        shown = f"{found}?.offsetParent && {found}.innerText.includes({json.dumps(text)})"
        self.wait(shown, within_s)

    def wait_focus(self, selector: str, within_s: float = WAIT_S) -> None:
        """Until the focus is on an element."""
        self.wait(f"document.activeElement?.matches({json.dumps(selector)})", within_s)

    def text(self, selector: str) -> str:
        """What an element shows."""
        found: str = self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")
        return found

    def value(self, selector: str) -> str:
        """What is typed into a field."""
        found: str = self.evaluate(f"document.querySelector({json.dumps(selector)}).value")
        return found

    def focused(self) -> str:
        """The id of what has the focus."""
        found: str = self.evaluate("document.activeElement.id")
        return found

    def click(self, selector: str) -> None:
        """A click of the mouse in the middle of an element."""
        place = self.evaluate(
            f"(() => {{ const it = document.querySelector({json.dumps(selector)});"
            " it.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const box = it.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2, box.width]; })()"
        )
        assert place[2] > 0, f"{selector} cannot be seen"
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=place[0],
                y=place[1],
                button="none" if kind == "mouseMoved" else "left",
                clickCount=0 if kind == "mouseMoved" else 1,
            )

    def press(self, name: str, *, modifiers: int = 0) -> None:
        """A key: Enter, Tab, Backspace, Space, or one character."""
        key, number, text = KEYS.get(name, (name, 0, name))
        if modifiers & CONTROL:
            text = ""
        parameters = {"key": key, "windowsVirtualKeyCode": number, "modifiers": modifiers}
        if name in KEYS:
            parameters["code"] = name
        commands = {"commands": ["selectAll"]} if modifiers & CONTROL and name == "a" else {}
        down = "keyDown" if text else "rawKeyDown"
        self.call("Input.dispatchKeyEvent", type=down, text=text, **parameters, **commands)
        self.call("Input.dispatchKeyEvent", type="keyUp", **parameters)

    def write(self, text: str) -> None:
        """Type into what has the focus, instead of what stands there."""
        self.press("a", modifiers=CONTROL)
        self.press("Backspace")
        for character in text:
            self.press(character)

    def fill(self, selector: str, text: str) -> None:
        """Click into a field and type."""
        self.click(selector)
        self.write(text)

    def answer(
        self,
        url: str,
        *,
        status: int = 200,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        fail: str = "",
        once: bool = False,
    ) -> None:
        """Requests for ``*url`` are answered like this from now on, or ``once``, not by the server.

        ``fail`` is a network error, such as ConnectionRefused, instead of an answer.
        """
        self._answers[url] = {
            "status": status,
            "body": json.dumps(body),
            "headers": {"Content-Type": "application/json"} | dict(headers or {}),
            "fail": fail,
            "once": once,
        }

    def answer_no_more(self) -> None:
        """The server answers again."""
        self._answers.clear()

    def _answer(self, event: dict[str, Any]) -> None:
        request = event["requestId"]
        asked = event["request"]["url"]
        url = next((url for url in self._answers if asked.endswith(url)), "")
        made = self._answers.get(url)
        if made is not None and made["once"]:
            del self._answers[url]
        if made is None:
            self.browser.start("Fetch.continueRequest", self.session, requestId=request)
        elif made["fail"]:
            self.browser.start(
                "Fetch.failRequest", self.session, requestId=request, errorReason=made["fail"]
            )
        else:
            self.browser.start(
                "Fetch.fulfillRequest",
                self.session,
                requestId=request,
                responseCode=made["status"],
                responseHeaders=[{"name": k, "value": v} for k, v in made["headers"].items()],
                body=base64.b64encode(made["body"].encode()).decode(),
            )

    def accessible(self, selector: str) -> dict[str, str]:
        """What assistive technology is told of an element: role, name, description, states."""
        found = self.call(
            "Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})"
        )
        told = self.call(
            "Accessibility.getPartialAXTree",
            objectId=found["result"]["objectId"],
            fetchRelatives=False,
        )["nodes"][0]
        states = {each["name"]: str(each["value"].get("value")) for each in told["properties"]}
        words = {
            name: told.get(name, {}).get("value", "") for name in ("role", "name", "description")
        }
        return states | words

    def close(self) -> None:
        """Close it, and every page with the same cookies."""
        self.browser.call("Target.disposeBrowserContext", browserContextId=self.context)

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(shot["data"]))
