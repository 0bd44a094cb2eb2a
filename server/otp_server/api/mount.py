"""Operations on Quart-Trio.

Each path takes all methods and says itself which are allowed, so a literal path wins over one with
a ``{name}`` whatever the method is: ``GET /otp/init`` is no search for a type called ``init``.
HEAD is answered as GET, unless an operation says no; OPTIONS never reaches one (requirement 23).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from quart import request

from otp_server.api.operation import Request
from otp_server.api.resources import (
    Resource,
    address_of,
    by_path,
    check_tokens,
    find_caller,
    read_query,
)
from otp_server.api.web import to_quart

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from quart import Response as QuartResponse

    from otp_server.api.authentication import TokenChecker
    from otp_server.api.operation import Operation
    from otp_server.api.web import HttpApp

_NAME = re.compile(r"\{([a-z_]+)\}")


def mount(
    app: HttpApp, operations: Sequence[Operation[Any, Any]], tokens: TokenChecker | None = None
) -> None:
    """Add operations to an application; ``tokens`` is needed by those with a scope.

    Errors of a literal path are said in its operation's style. The first segments of paths become
    the face's: all other errors under them are said in the style of the first operation there.
    """
    check_tokens(operations, tokens)
    for path, methods in by_path(operations).items():
        resource = Resource(methods)
        app.styles.setdefault(path.split("/", 2)[1], resource.error_style)
        app.styles[path] = resource.error_style
        rule = app.url_rule_class(
            _NAME.sub(r"<\1>", path), endpoint=path, methods=None, merge_slashes=False
        )
        rule.provide_automatic_options = False
        app.url_map.add(rule)
        app.view_functions[path] = _view(app, resource, tokens)


def _view(
    app: HttpApp, resource: Resource, tokens: TokenChecker | None
) -> Callable[..., Awaitable[QuartResponse]]:
    async def answer(**path: str) -> QuartResponse:
        operation = resource.operation(request.method)
        app.may_call(operation)
        asked = await _request_of(app, path)
        caller = find_caller(operation, asked.headers, tokens)
        if caller is not None:
            asked = replace(asked, caller=caller)
        return to_quart(await operation.answer_to(asked))

    return answer


async def _request_of(app: HttpApp, path: Mapping[str, str]) -> Request:
    body: bytes = await request.get_data(cache=True, as_text=False, parse_form_data=False)
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        lower = name.lower()
        headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
    return Request(
        method=request.method,
        path=path,
        query=read_query(request.query_string.decode("latin-1")),
        headers=headers,
        body=body,
        address=address_of(request.remote_addr or "", headers, app.options.trusted_proxies),
    )
