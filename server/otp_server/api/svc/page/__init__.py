"""The password reset page: ``/-/reset``, the reference client of the svc face.

Plain files beside this module: ``reset.html``, ``reset.css``, ``reset_words.js`` (its texts in each
language) and ``reset.js``. Nothing is loaded from elsewhere and nothing is inline: the content
security policy allows this origin only, its own WebSocket included ('self' of a page over HTTPS is
also wss: of its host), and no string becomes markup or script. Files are read once, when the page
is mounted.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

from otp_server.api.batches import one_by_one
from otp_server.api.operation import Operation, Request, Response

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from otp_server.api.operation import ErrorStyle

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),  # for browsers that do not read frame-ancestors
)
_HERE = files(__name__)
_FILES = {
    "/-/reset": ("reset.html", "text/html"),
    "/-/reset/reset.css": ("reset.css", "text/css"),
    "/-/reset/reset_words.js": ("reset_words.js", "text/javascript"),
    "/-/reset/reset.js": ("reset.js", "text/javascript"),
}


def reset_page_operations(error_style: ErrorStyle) -> list[Operation[Any, Any]]:
    """The page and its files; ``error_style`` is that of the face whose paths it lives among."""
    return [
        _file(path, _HERE / name, media_type, error_style)
        for path, (name, media_type) in _FILES.items()
    ]


def _file(
    path: str, file: Traversable, media_type: str, error_style: ErrorStyle
) -> Operation[Request, Response]:
    answer = Response(
        file.read_bytes(), content_type=f"{media_type}; charset=utf-8", headers=_HEADERS
    )

    async def read(_request: Request) -> Response:
        return answer

    return Operation(
        name=path,
        summary=path,
        method="GET",
        paths=(path,),
        decode=lambda request: request,
        call=one_by_one(read),
        render=lambda response: response,
        error_style=error_style,
        documented=False,
    )
