"""Operations on Quart-Trio.

Each path takes all methods and says itself which are allowed, so a literal path wins over one with
a ``{name}`` whatever the method is: ``GET /otp/init`` is no search for a type called ``init``.
HEAD is answered as GET, unless an operation says no; OPTIONS never reaches one (requirement 23).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from quart import request

from otp_server.api.authentication import caller_of
from otp_server.api.operation import ApiError, Request
from otp_server.api.web import address_of_request, to_quart
from otp_server.errors import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from quart import Response as QuartResponse

    from otp_server.api.authentication import TokenChecker
    from otp_server.api.operation import Operation
    from otp_server.api.web import HttpApp

QUERY_PARAMETERS_MAX = 256
_NAME = re.compile(r"\{([a-z_]+)\}")


def by_path(operations: Sequence[Operation[Any, Any]]) -> dict[str, dict[str, Operation[Any, Any]]]:
    """The operations by path and method; ValueError when two share both."""
    found: dict[str, dict[str, Operation[Any, Any]]] = {}
    for operation in operations:
        for path in operation.paths:
            methods = found.setdefault(path, {})
            if operation.method in methods:
                raise ValueError(f"two operations for {operation.method} {path}")
            methods[operation.method] = operation
    return found


def mount(
    app: HttpApp, operations: Sequence[Operation[Any, Any]], tokens: TokenChecker | None = None
) -> None:
    """Add operations to an application; ``tokens`` is needed by those with a scope.

    Errors of a literal path are said in its operation's style. The first segments of paths become
    the face's: all other errors under them are said in the style of the first operation there.
    """
    for path, methods in by_path(operations).items():
        for operation in methods.values():
            if operation.scope is not None and tokens is None:
                raise ValueError(f"{operation.name} has a scope, and nobody checks tokens")
        style = next(iter(methods.values())).error_style
        app.styles.setdefault(path.split("/", 2)[1], style)
        app.styles[path] = style
        rule = app.url_rule_class(
            _NAME.sub(r"<\1>", path), endpoint=path, methods=None, merge_slashes=False
        )
        rule.provide_automatic_options = False
        app.url_map.add(rule)
        app.view_functions[path] = _view(app, methods, tokens)


def _view(
    app: HttpApp, methods: Mapping[str, Operation[Any, Any]], tokens: TokenChecker | None
) -> Callable[..., Awaitable[QuartResponse]]:
    served = dict(methods)
    if "GET" in served and served["GET"].head:
        served["HEAD"] = served["GET"]
    allow = [("Allow", ", ".join(sorted(served)))]

    async def answer(**path: str) -> QuartResponse:
        operation = served.get(request.method)
        if operation is None:
            raise ApiError(ErrorKind.METHOD_NOT_ALLOWED, headers=allow)
        asked = await _request_of(app, path)
        if operation.scope is not None and tokens is not None:
            asked = replace(asked, caller=caller_of(asked, operation.scope, tokens))
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
        query=_query(request.query_string),
        headers=headers,
        body=body,
        address=address_of_request(app.options),
    )


def _query(text: bytes) -> list[tuple[str, str]]:
    if not text:
        return []
    try:
        return parse_qsl(
            text.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=QUERY_PARAMETERS_MAX,
        )
    except ValueError:
        raise ApiError(ErrorKind.MALFORMED, "The query cannot be read.") from None
