"""The OpenAPI document and the page that shows it: ``/openapi.json`` and ``/docs``.

The page is Swagger UI as it is (``swagger_ui/``, with its licence) beside ``page.html`` and
``page.js``. Nothing is loaded from elsewhere and no script is inline: the content security policy
allows this origin only. Files are read when they are asked for and kept by nobody.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from otp_server.api.batches import one_by_one
from otp_server.api.openapi import openapi_document
from otp_server.api.operation import Operation, Request, Response
from otp_server.api.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.resources.abc import Traversable

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("Referrer-Policy", "no-referrer"),
)
_HERE = files(__name__)
_FILES: dict[str, tuple[Traversable, str]] = {
    "/docs": (_HERE / "page.html", "text/html; charset=utf-8"),
    "/docs/page.js": (_HERE / "page.js", "text/javascript; charset=utf-8"),
    "/docs/swagger-ui-bundle.js": (
        _HERE / "swagger_ui" / "swagger-ui-bundle.js",
        "text/javascript; charset=utf-8",
    ),
    "/docs/swagger-ui.css": (_HERE / "swagger_ui" / "swagger-ui.css", "text/css; charset=utf-8"),
    "/docs/favicon-32x32.png": (_HERE / "swagger_ui" / "favicon-32x32.png", "image/png"),
}


def docs_operations(
    operations: Sequence[Operation[Any, Any]], *, version: str
) -> list[Operation[Any, Any]]:
    """The document of ``operations``, and its page. They are not in the document themselves."""
    document = msgspec.json.encode(openapi_document(operations, version=version))

    async def told(_request: Request) -> Response:
        return Response(document)

    pages = [_page(path, file, media_type) for path, (file, media_type) in _FILES.items()]
    return [_operation("/openapi.json", told), *pages]


def _page(path: str, file: Traversable, media_type: str) -> Operation[Any, Any]:
    async def read(_request: Request) -> Response:
        body = await trio.to_thread.run_sync(file.read_bytes)
        return Response(body, content_type=media_type, headers=_HEADERS)

    return _operation(path, read)


def _operation(path: str, answer: Any) -> Operation[Request, Response]:  # noqa: ANN401 - one of the two above
    return Operation(
        name=path,
        summary=path,
        method="GET",
        paths=(path,),
        decode=lambda request: request,
        call=one_by_one(answer),
        render=lambda response: response,
        error_style=PROBLEMS,
        documented=False,
    )
