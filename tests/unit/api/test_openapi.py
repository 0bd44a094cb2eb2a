"""The registry of operations and the document made of it."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from otp_server.api.device.http import DeviceHttp, DeviceHttpOptions
from otp_server.api.openapi import errors_of, openapi_document
from otp_server.api.operation import ApiError, Parameter
from otp_server.api.resources import by_path
from otp_server.api.rest.configuration_shapes import (
    ChallengeRouteBody,
    ChallengeTypeBody,
    TemplateBody,
)
from otp_server.api.rest.operations import RestOptions, RestServices, rest_operations
from otp_server.api.svc.operations import SvcOptions, SvcServices, svc_operations
from otp_server.api.web import WebOptions
from otp_server.domain.client import Scope
from otp_server.domain.settings_rules import (
    SettingsBounds,
    check_route,
    check_template,
    check_type,
)
from otp_server.errors import ErrorKind
from otp_server.services.address_calls import AddressCalls
from otp_server.stores.memory import MemoryStore
from otp_server.transport.http import HEAD_BYTES_MAX
from tests.support.account_world import AccountWorld
from tests.support.rest_world import RestWorld
from tests.support.world import PLENTY, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from otp_server.api.operation import Operation


def device_operations() -> list[Operation[Any, Any]]:
    world = World()
    return DeviceHttp(
        DeviceHttpOptions(WebOptions(1024, []), 6, 10, answer_s=1),
        issue=world.issue,
        confirm=world.confirm,
        devices=world.devices,
        presence=world.presence,
        tokens=world.tokens,
        clock=world.clock,
        metrics=world.metrics,
    ).operations()


def svc_operations_shown() -> list[Operation[Any, Any]]:
    world = AccountWorld()
    services: Any = SvcServices(
        None,  # type: ignore[arg-type] # nothing is called
        world.sessions,
        world.accounts,
        world.sockets,
        AddressCalls(PLENTY, 1, hits=world.hits, clock=world.clock),
        world.clock,
    )
    return [each for each in svc_operations(services, SvcOptions()) if each.documented]


async def registry() -> tuple[list[Operation[Any, Any]], dict[str, Any]]:
    operations = [
        *RestWorld(MemoryStore()).operations,
        *device_operations(),
        *svc_operations_shown(),
    ]
    return operations, dict(openapi_document(operations, version="1.2.3"))


OPERATIONS, DOCUMENT = trio.run(registry)


def test_it_is_json_and_says_its_version() -> None:
    assert json.loads(msgspec.json.encode(DOCUMENT)) == DOCUMENT
    assert (DOCUMENT["openapi"], DOCUMENT["info"]["version"]) == ("3.1.0", "1.2.3")


def test_every_operation_is_in_it_once() -> None:
    listed = {
        (method, path): entry["operationId"]
        for path, methods in DOCUMENT["paths"].items()
        for method, entry in methods.items()
    }
    wanted = {(o.method.lower(), o.paths[0]): o.name for o in OPERATIONS}
    assert listed == wanted
    assert Counter(o.name for o in OPERATIONS).most_common(1)[0][1] == 1
    assert len(OPERATIONS) == 3 + 2 + 3 * 6 + 1 + 6 + (6 + 4)


def test_no_two_share_method_and_path() -> None:
    assert sum(map(len, by_path(OPERATIONS).values())) == sum(len(o.paths) for o in OPERATIONS)


def test_every_path_of_the_rest_face_has_both_spellings() -> None:
    for operation in OPERATIONS:
        if operation.scope is not None:
            assert {path.removeprefix("/api") for path in operation.paths} == {
                operation.paths[-1].removeprefix("/api")
            }
            assert len(operation.paths) == 2
            entry = DOCUMENT["paths"][operation.paths[0]][operation.method.lower()]
            assert f"`{operation.paths[1]}`" in entry["description"]


def test_every_reference_is_to_something() -> None:
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(DOCUMENT)))
    assert names == set(DOCUMENT["components"]["schemas"])
    assert not [name for name in names if "otp_server" in name]


async def test_every_listed_error_has_an_example_in_its_style() -> None:
    for operation in OPERATIONS:
        entry = DOCUMENT["paths"][operation.paths[0]][operation.method.lower()]
        for kind in errors_of(operation):
            response = entry["responses"][str(kind.http_status)]
            content = response["content"][operation.error_style.media_type]
            example = content["examples"][kind.token]["value"]
            msgspec.convert(example, operation.error_style.shape)
            rendered = operation.error_style.render(ApiError(kind))
            assert (rendered.status, rendered.content_type) == (
                kind.http_status,
                operation.error_style.media_type,
            )


def test_every_operation_tells_what_too_large_a_request_is_answered() -> None:
    """Of the head alone, by the listener; of the body, in the operation's style."""
    for operation in OPERATIONS:
        entry = DOCUMENT["paths"][operation.paths[0]][operation.method.lower()]
        head = entry["responses"]["431"]
        assert f"more than {HEAD_BYTES_MAX // 1024} KiB" in head["description"]
        assert head["headers"]["Connection"]["schema"]["const"] == "close"
        assert "content" not in head
        assert ErrorKind.TOO_LARGE in errors_of(operation)


def test_examples_fit_their_shapes() -> None:
    for operation in OPERATIONS:
        if operation.body is not None:
            assert operation.body_example is not None, operation.name
            msgspec.convert(operation.body_example, operation.body)
        if operation.answer_example is not None:
            msgspec.convert(operation.answer_example, operation.answer)


def test_scopes_are_told() -> None:
    for operation in OPERATIONS:
        entry = DOCUMENT["paths"][operation.paths[0]][operation.method.lower()]
        told = [scheme.get("clientCredentials") for scheme in entry["security"]]
        assert (operation.scope is not None) == bool(told and told[0])
        if operation.scope is not None:
            assert told[0] == [operation.scope.value]
    schemes = DOCUMENT["components"]["securitySchemes"]
    used = {name for o in OPERATIONS for name in o.schemes if name} | {
        "clientCredentials",
        "bsauth",
    }
    assert used == set(schemes)
    flows = schemes["clientCredentials"]["flows"]["clientCredentials"]
    assert set(flows["scopes"]) == {scope.value for scope in Scope}
    assert flows["tokenUrl"] in DOCUMENT["paths"]


async def test_a_path_parameter_that_is_not_described_is_found() -> None:
    world = RestWorld(MemoryStore())
    services = RestServices(
        world.starts, world.attempts, world.searches, world.settings, world.calls, world.clock
    )
    attempt = rest_operations(services, RestOptions())[2]
    other = Parameter("id", "path", {}, "", required=True)
    broken = replace(attempt, parameters=(other,))
    with pytest.raises(ValueError, match="attempt does not describe"):
        openapi_document([broken], version="0")


BASE_TYPE = {"name": "a"}
BASE_ROUTE = {"challenge_type_id": 1, "channel": "sms", "template_id": 1}
BASE_TEMPLATE = {"name": "a", "channel": "sms", "text": "${answer}"}


@pytest.mark.parametrize(
    ("shape", "check", "base", "more"),
    [
        (ChallengeTypeBody, check_type, BASE_TYPE, {}),
        (ChallengeTypeBody, check_type, {}, {}),
        *[
            (ChallengeTypeBody, check_type, BASE_TYPE, more)
            for more in (
                {"name": "a" * 63},
                {"name": "a" * 64},
                {"name": ""},
                {"name": "a b"},
                {"name": 5},
                {"code_type": "alphabetic"},
                {"code_type": "words"},
                {"code_length": 32},
                {"code_length": 33},
                {"code_length": 3},
                {"code_length": "6"},
                {"code_length": 6.0},
                {"code_length": True},
                {"ttl": 30},
                {"ttl": 29},
                {"ttl": 86_400},
                {"ttl": 86_401},
                {"ttl": None},
                {"max_attempts": 20},
                {"max_attempts": 21},
                {"max_attempts": 0},
                {"id": 5},
                {"tenant": "other"},
            )
        ],
        *[
            (ChallengeRouteBody, check_route, BASE_ROUTE, more)
            for more in (
                {},
                {"order": None},
                {"order": 0},
                {"order": -1},
                {"order": 1_000_000},
                {"order": 1_000_001},
                {"attempts": 0},
                {"attempts": 20},
                {"attempts": 21},
                {"channel": "fax"},
                {"template_id": 0},
                {"template_id": 2**63 - 1},
                {"template_id": 2**63},
                {"challenge_type_id": "1"},
                {"version": 1},
            )
        ],
        *[
            (TemplateBody, check_template, BASE_TEMPLATE, more)
            for more in (
                {},
                {"subject": ""},
                {"channel": "email", "subject": "a"},
                {"channel": "email", "subject": "a" * 201},
                {"name": ""},
                {"name": "a" * 101},
                {"text": ""},
                {"text": 5},
                {"html": "<b>"},
            )
        ],
    ],
)
def test_the_shown_shapes_say_what_the_rules_say(
    shape: type,
    check: Callable[..., tuple[Any, dict[str, list[str]]]],
    base: dict[str, object],
    more: dict[str, object],
) -> None:
    """The rules check what is sent; the document must not say anything else."""
    sent = {**base, **more}
    checked, problems = check(sent, SettingsBounds())
    try:
        shown = msgspec.convert(sent, shape)
    except msgspec.ValidationError:
        assert problems
    else:
        assert not problems
        assert msgspec.to_builtins(shown) == checked
