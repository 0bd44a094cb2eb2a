"""The documentation page: whole, from this origin only, with its licence."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from otp_server.api import docs
from otp_server.api.docs import docs_operations
from otp_server.api.mount import mount
from otp_server.api.web import WebOptions, make_app
from otp_server.telemetry import Metrics

VERSION = "5.35.0"
HERE = files(docs)
PAGE = (HERE / "page.html").read_text()
ASSETS = ["page.js", "swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"]


async def fetch(path: str) -> tuple[int, Any, bytes]:
    app = make_app("docs", WebOptions(100, []), Metrics())
    mount(app, docs_operations([], version="1.2.3"))
    response = await app.test_client().get(path)
    body = await response.get_data(as_text=False)
    return response.status_code, response.headers, body


async def test_the_page_and_all_it_needs_are_served() -> None:
    named = re.findall(r'(?:src|href)="(/docs/[^"]+)"', PAGE)
    assert sorted(named) == sorted(f"/docs/{asset}" for asset in ASSETS)
    kinds = []
    for path in ("/docs", *named):
        status, headers, body = await fetch(path)
        assert status == 200
        assert body
        assert headers["X-Content-Type-Options"] == "nosniff"
        kinds.append(headers["Content-Type"].partition(";")[0])
    assert kinds == ["text/html", "image/png", "text/css", "text/javascript", "text/javascript"]


async def test_the_document_is_served() -> None:
    status, headers, body = await fetch("/openapi.json")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert b'"version":"1.2.3"' in body


async def test_only_this_origin_and_no_inline_script() -> None:
    _, headers, _ = await fetch("/docs")
    policy = dict(
        part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert not re.search(r"https?:|//|<script>|<style| on\w+=|javascript:", PAGE)
    assert not re.search(r"https?:|//", (HERE / "page.js").read_text())


@pytest.mark.parametrize(
    "path", ["/docs/", "/docs/README.md", "/docs/../page.html", "/docs/LICENSE"]
)
async def test_nothing_else_is_served(path: str) -> None:
    assert (await fetch(path))[0] == 404


def test_what_was_taken_has_its_licence_and_version() -> None:
    taken = HERE / "swagger_ui"
    names = {Path(str(file)).name for file in taken.iterdir()}
    assert names == {
        "LICENSE",
        "NOTICE",
        "README.md",
        "favicon-32x32.png",
        "swagger-ui-bundle.js",
        "swagger-ui-bundle.js.LICENSE.txt",
        "swagger-ui.css",
    }
    assert "Apache License" in (taken / "LICENSE").read_text()
    assert VERSION in (taken / "README.md").read_text()
    assert VERSION in (taken / "swagger-ui-bundle.js").read_text()
