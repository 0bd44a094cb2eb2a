"""The OpenAPI 3.1 document, made of the operations and of nothing else.

Every operation is in it once, by its first path; its other spellings are told in its description.
Each error status names the kinds it may mean, with an example of each in the face's own style. And
each operation names what a listener answers to a well-formed request before it is asked.
"""

from __future__ import annotations

import inspect
import json
import re
from typing import TYPE_CHECKING, Any

import msgspec

from otp_server.api.operation import JSON, ApiError
from otp_server.domain.client import Scope
from otp_server.errors import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from otp_server.api.operation import Operation, Parameter

REFERENCES = "#/components/schemas/{name}"
_PLACE = re.compile(r"\{([a-z_]+)\}")
_MODULE = re.compile(r"otp_server(?:\.[a-z_]+)+\.")
_GENERIC = re.compile(r"#/components/schemas/([^\"]+)")
_RETRY_AFTER = {
    "description": "Not before so many seconds.",
    "schema": {"type": "integer", "minimum": 0},
}
_CHALLENGE = {"description": "How to authenticate.", "schema": {"type": "string"}}
_SCOPES = {
    Scope.RUN: "Handshake, init, attempt.",
    Scope.ADMIN: "Search and configuration.",
}
_HEAD_TOO_LARGE = 431
_HEAD_REFUSED: dict[str, object] = {
    "description": (
        "The request's head, its target included, has more than 16 KiB, or too many fields (100 "
        "are never too many). It was not read; the answer has no body and ends the connection."
    ),
    "headers": {
        "Connection": {
            "description": "Nothing more is answered here.",
            "schema": {"type": "string", "const": "close"},
        }
    },
}
"""What a listener answers by the size of a head alone, before any operation is asked."""
_WAITS = frozenset({429, 503})
_UNAUTHORIZED = 401
_TAGS = {
    "processes": "OTP processes: a code goes to a contact, and what somebody typed is checked.",
    "configuration": "What a tenant configures: types, the routes of their codes, templates.",
    "oauth": "Access tokens of API clients.",
    "svc": "Web clients: their sessions, and a code by e-mail that sets a new password.",
    "device": "Codes that devices show and apps confirm.",
}


def openapi_document(
    operations: Iterable[Operation[Any, Any]], *, version: str
) -> dict[str, object]:
    """The document of these operations."""
    shown = [operation for operation in operations if operation.documented]
    schemas = _Schemas(shown)
    paths: dict[str, dict[str, object]] = {}
    for operation in shown:
        paths.setdefault(operation.paths[0], {})[operation.method.lower()] = _entry(
            operation, schemas
        )
    used = dict.fromkeys(operation.tag for operation in shown)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "otp-server",
            "version": version,
            "summary": "Issues and checks one-time passwords.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag, "description": _TAGS[tag]} for tag in used],
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": _security_schemes()},
    }


def errors_of(operation: Operation[Any, Any]) -> list[ErrorKind]:
    """All kinds an operation may answer: its own, and those of every operation of its sort."""
    kinds = list(operation.errors)
    if operation.scope is not None:
        kinds += [ErrorKind.UNAUTHORIZED, ErrorKind.FORBIDDEN]
    if operation.body is not None and operation.body_media_type == JSON:
        kinds += [ErrorKind.UNSUPPORTED_MEDIA_TYPE]
    kinds += [ErrorKind.MALFORMED, ErrorKind.TOO_LARGE]  # a body may be sent that none needs
    kinds += [ErrorKind.INTERNAL, ErrorKind.UNAVAILABLE, ErrorKind.DRAINING]
    taken = operation.other_answers  # said in the operation's own shape
    return [kind for kind in dict.fromkeys(kinds) if kind.http_status not in taken]


class _Schemas:
    """The shapes of all operations, each named once.

    A body's class may say more in ``DOCUMENT``: what no single field can, as JSON Schema.
    """

    def __init__(self, operations: Sequence[Operation[Any, Any]]) -> None:
        shapes: dict[Any, None] = {}
        for operation in operations:
            for shape in (
                operation.body,
                operation.answer,
                operation.error_style.shape,
                *operation.other_answers.values(),
            ):
                if shape is not None:
                    shapes[shape] = None
        made, components = msgspec.json.schema_components(list(shapes), ref_template=REFERENCES)
        self._shapes = dict(zip(shapes, _plain(list(made)), strict=True))
        self.components: dict[str, Any] = {
            _plain_name(name): _described(schema) for name, schema in _plain(components).items()
        }
        for shape in shapes:
            self.components.get(getattr(shape, "__name__", ""), {}).update(
                getattr(shape, "DOCUMENT", {})
            )

    def of(self, shape: object) -> object:
        """The schema of a shape."""
        return self._shapes[shape]


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """References by plain names: a generic shape's holds the modules of what it is of."""
    text = _GENERIC.sub(
        lambda found: REFERENCES.format(name=_plain_name(found[1])), json.dumps(value)
    )
    return json.loads(text)


def _plain_name(name: str) -> str:
    return _MODULE.sub("", name).rstrip("_").replace("NoneType", "null")


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    title, text = schema.get("title"), schema.get("description")
    if isinstance(title, str):
        schema["title"] = _MODULE.sub("", title).replace("NoneType", "null")
    if isinstance(text, str):
        schema["description"] = inspect.cleandoc(text).replace("``", "`")
    return schema


def _entry(operation: Operation[Any, Any], schemas: _Schemas) -> dict[str, object]:
    others = " and ".join(f"`{path}`" for path in operation.paths[1:])
    told = [operation.description] if operation.description else []
    told += [f"Also at {others}."] if others else []
    entry: dict[str, object] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [_parameter(parameter) for parameter in _parameters(operation)],
        "responses": _responses(operation, schemas),
        "security": _security(operation),
    }
    if told:
        entry["description"] = "\n\n".join(told)
    if operation.body is not None:
        content: dict[str, object] = {"schema": schemas.of(operation.body)}
        if operation.body_example is not None:
            content["example"] = operation.body_example
        entry["requestBody"] = {
            "required": operation.body_required,
            "content": {operation.body_media_type: content},
        }
    return entry


def _parameters(operation: Operation[Any, Any]) -> list[Parameter]:
    """Its parameters; those of the path must be described, so that none is forgotten."""
    named = {p.name for p in operation.parameters if p.where == "path"}
    if named != set(_PLACE.findall(operation.paths[0])):
        raise ValueError(f"{operation.name} does not describe the parameters of its path")
    return list(operation.parameters)


def _parameter(parameter: Parameter) -> dict[str, object]:
    said: dict[str, object] = {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.required,
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }
    if parameter.example is not None:
        said["example"] = parameter.example
    return said


def _responses(operation: Operation[Any, Any], schemas: _Schemas) -> dict[str, object]:
    responses: dict[str, object] = {
        str(operation.status): {
            "description": "Done." if operation.answer is None else operation.summary,
            "headers": {
                header.name: {"description": header.description, "schema": dict(header.schema)}
                for header in operation.answer_headers
            },
            **_good_content(operation, schemas),
        }
    }
    for status, shape in operation.other_answers.items():
        responses[str(status)] = {
            "description": "Refused.",
            "content": {JSON: {"schema": schemas.of(shape)}},
        }
    by_status: dict[int, list[ErrorKind]] = {}
    for kind in errors_of(operation):
        by_status.setdefault(kind.http_status, []).append(kind)
    refusals = {
        status: _refusal(operation, schemas, status, kinds) for status, kinds in by_status.items()
    }
    refusals[_HEAD_TOO_LARGE] = _HEAD_REFUSED
    for status in sorted(refusals):
        responses[str(status)] = refusals[status]
    return responses


def _good_content(operation: Operation[Any, Any], schemas: _Schemas) -> dict[str, object]:
    if operation.answer is None:
        return {}
    content: dict[str, object] = {"schema": schemas.of(operation.answer)}
    if operation.answer_example is not None:
        content["example"] = operation.answer_example
    return {"content": {operation.answer_media_type: content}}


def _refusal(
    operation: Operation[Any, Any], schemas: _Schemas, status: int, kinds: Sequence[ErrorKind]
) -> dict[str, object]:
    style = operation.error_style
    examples = {
        kind.token: {"value": json.loads(style.render(ApiError(kind)).body)} for kind in kinds
    }
    headers: dict[str, object] = {}
    if status in _WAITS:
        headers["Retry-After"] = _RETRY_AFTER
    if status == _UNAUTHORIZED:
        headers["WWW-Authenticate"] = _CHALLENGE
    return {
        "description": " ".join(kind.text for kind in kinds),
        "headers": headers,
        "content": {style.media_type: {"schema": schemas.of(style.shape), "examples": examples}},
    }


def _security(operation: Operation[Any, Any]) -> list[Mapping[str, Sequence[str]]]:
    if operation.scope is not None:
        needed = [operation.scope.value]
        return [{"clientCredentials": needed}, {"bsauth": []}]
    return [{name: []} if name else {} for name in operation.schemes]


def _security_schemes() -> dict[str, object]:
    bearer = {"type": "http", "scheme": "bearer"}
    return {
        "clientCredentials": {
            "type": "oauth2",
            "description": "The access token as `Authorization: Bearer`.",
            "flows": {
                "clientCredentials": {
                    "tokenUrl": "/oauth/token",
                    "scopes": {scope.value: text for scope, text in _SCOPES.items()},
                }
            },
        },
        "bsauth": {
            "type": "apiKey",
            "in": "header",
            "name": "bsauth",
            "description": "The same access token in a header of its own.",
        },
        "clientBasic": {
            "type": "http",
            "scheme": "basic",
            "description": "A client's id and secret.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "regsid",
            "description": "The session cookie of a web client.",
        },
        "sessionHeader": {
            "type": "apiKey",
            "in": "header",
            "name": "x-param-regsid",
            "description": "The same id, for clients without cookies.",
        },
        "deviceToken": {**bearer, "description": "A device's token."},
        "apiToken": {**bearer, "description": "The token of a confirmation."},
        "quickSession": {**bearer, "description": "The token of a quick session."},
    }
