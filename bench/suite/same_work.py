"""``go-http-same``: what it is told of our installation, and that it answers as ours does.

Compared are all headers but ``Date`` and ``Connection``, and the body. Only the digits of its
timestamp may be others, and ``t=`` of ``calls`` by a second: the peer knows to half a second when
the token was issued, which was a call. Both are asked one after the other, and a second may begin
or a window move in between; so where something differs they are asked again, and what is truly
other stays so.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.suite.http_servers import Example

_OF_THE_CONNECTION = {"connection", "date"}
_TIMESTAMP = re.compile(r'(?<="timestamp":)\d{13}(?=,)')
_LEFT = "ratelimit"
_RESET = re.compile(r'"([^"]+)";r=(\d+);t=(\d+)')
_CALLS = "calls-"
_MS = 1000
_ROUNDS = 5


def told(
    installation: Mapping[str, Any], token: str, answers: Sequence[Example]
) -> dict[str, object]:
    """The installation with its client and its types, by its first answers.

    These are one for each channel of each type, in the order of its routes, and, with the one for
    its token, all the calls that the client has made.
    """
    claims = _claims(token)
    types: dict[str, dict[str, Any]] = {}
    calls = []
    for _, body in answers:
        said = json.loads(body)
        calls.append({"client_id": claims["sub"], "at_ms": said["timestamp"]})
        data = said["data"]
        known = types.setdefault(data["type"], {"routes": [], "available_in": data["availableIn"]})
        known["routes"].append(data["channel"])
    issued_ms = min(claims["iat"] * _MS + _MS // 2, *(call["at_ms"] for call in calls))
    calls.insert(0, {"client_id": claims["sub"], "at_ms": issued_ms})
    client = {
        "sha256": hashlib.sha256(token.encode()).hexdigest(),
        "tenant": claims["tenant"],
        "client_id": claims["sub"],
        "scopes": claims["scope"].split(),
        "expires_at_ms": claims["exp"] * _MS,
    }
    return {**installation, "clients": [client], "types": types, "calls": calls}


def differing(ask: Callable[[], tuple[Example, Example]]) -> str:
    """What differs between the answers that ``ask`` gets; empty: nothing that may not."""
    why = ""
    for _ in range(_ROUNDS):
        why = unlike(*ask())
        if not why:
            break
    return why


def unlike(ours: Example, other: Example) -> str:
    """The same of two answers to one request."""
    (headers, resets), (other_headers, other_resets) = _parts(ours), _parts(other)
    if headers != other_headers:
        ours_alone = [pair for pair in headers if pair not in other_headers]
        others_alone = [pair for pair in other_headers if pair not in headers]
        return f"{ours_alone} and {others_alone}"
    for name, reset_s in resets.items():
        if abs(reset_s - other_resets[name]) > name.startswith(_CALLS):
            return f"{name} t={reset_s} and t={other_resets[name]}"
    body, other_body = (_TIMESTAMP.sub("0", text) for _, text in (ours, other))
    return "" if body == other_body else f"{body!r} and {other_body!r}"


def _claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1] + "=="  # more than enough is no fault
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload))
    return claims


def _parts(example: Example) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """The headers without what may differ, and the seconds of ``t=``, by the limits' names."""
    headers, resets = [], {}
    for name, value in example[0]:
        lower = name.lower()
        if lower in _OF_THE_CONNECTION:
            continue
        if lower == _LEFT:
            resets = {found[1]: int(found[3]) for found in _RESET.finditer(value)}
            headers.append((lower, _RESET.sub(r'"\1";r=\2', value)))
        else:
            headers.append((lower, value))
    return sorted(headers), resets
