"""The requests of the REST scenarios, a line each for ``loadgen http``.

handshake   what an init would do, of contacts in turn; nothing is made
init        an e-mail address or a phone number that nobody has used, in turn
attempt     three wrong codes, then the right one, of each process; the attempts of a process are
            hundreds of requests apart, so that they meet nothing of themselves
search      the process of one e-mail address
page        the fifty newest processes of a type
mix         attempts and inits in turn

Those of the other faces are made elsewhere: ``confirm`` of codes that devices were issued
(``bench.device_codes``), ``verify`` of codes that accounts were sent (``bench.web_client``).
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.rest_installation import EMAIL_TYPE, PHONE_TYPE, contact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

KINDS = ("handshake", "init", "attempt", "search", "page")
USED_UP = frozenset({"init", "attempt", "mix", "confirm"})
"""What cannot be asked twice."""
PAGE = 50
_APART = 100
"""Processes between two attempts of one: more than there are connections."""
_TURNS = 4
_CYCLED = 500
_PHONE = 1_000_000
"""The first of nine million that can be in use."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a kind of request looks like: for the bare peer, and for an example of its answer."""

    method: str
    rule: str


SAMPLES = {
    "handshake": Sample("POST", "/otp/handshake"),
    "init": Sample("POST", "/otp/init"),
    "attempt": Sample("PUT", "/otp/<uuid>/attempt"),
    "search": Sample("POST", "/otp/<type>"),
    "page": Sample("GET", "/otp/<type>"),
    "confirm": Sample("POST", "/device/otp/confirm"),
    "verify": Sample("POST", "/-/svc/otp.verify"),
}


class Requests:
    """Lines for our server, in their order; what has been asked is not given again."""

    def __init__(self, processes: Sequence[Mapping[str, str]]) -> None:
        self._asked: Counter[str] = Counter()
        self._attempts = list(_attempts(processes))
        self._found = len(processes)

    def next_of(self, kind: str, count: int) -> list[str]:
        """So many lines, fewer when the processes are used up.

        Of those that change nothing, some to be asked again and again.
        """
        first = self._asked[kind]
        if kind == "mix":
            half = (count + 1) // 2
            pairs = zip(self.next_of("attempt", half), self.next_of("init", half), strict=False)
            return [line for pair in pairs for line in pair][:count]
        if kind == "init":
            return [_init(number) for number in range(first, first + count)]
        if kind == "attempt":
            return self._attempts[first : first + count]
        if kind == "handshake":
            return [_handshake(number) for number in range(_CYCLED)]
        if kind == "search":
            return [_search(number) for number in range(min(_CYCLED, self._found))]
        return [f"GET\t/otp/{EMAIL_TYPE}?limit={PAGE}\tfound {PAGE}\t"]

    def asked(self, kind: str, count: int) -> None:
        """So many of the lines given last have been asked."""
        if kind == "mix":
            self._asked["attempt"] += (count + 1) // 2
            self._asked["init"] += count // 2
        else:
            self._asked[kind] += count


def lines_of_types() -> list[str]:
    """A handshake for each channel of each type, in the order of its routes."""
    email, phone = {"email": contact(0)}, {"mobilePhone": f"+49171{_PHONE}"}
    asked = ((EMAIL_TYPE, email), (PHONE_TYPE, phone), (PHONE_TYPE, email))
    return [_handshake_line({"type": name, **given}) for name, given in asked]


def processes_for(attempts: int) -> int:
    """How many processes so many attempts need."""
    return attempts // _TURNS + _TURNS * _APART


def confirm_line(code: str) -> str:
    """The confirmation of a device's code."""
    return _line("POST", SAMPLES["confirm"].rule, "confirmed", {"otp": code})


def _attempts(processes: Sequence[Mapping[str, str]]) -> Iterator[str]:
    for number in range(len(processes)):
        for turn in range(1, _TURNS):
            later = number + (_TURNS - turn) * _APART
            if later < len(processes):
                yield _attempt(processes[later], right=False)
        yield _attempt(processes[number], right=True)


def _attempt(process: Mapping[str, str], *, right: bool) -> str:
    body = {"code": process["code" if right else "wrong"]}
    want = "accepted" if right else "wrong"
    return _line("PUT", f"/otp/{process['uuid']}/attempt", want, body)


def _init(number: int) -> str:
    body: dict[str, Any] = {"entities": [{"type": "client", "id": str(number)}]}
    if number % 2:
        body |= {"type": EMAIL_TYPE, "email": f"init{number}@example.com"}
    else:
        body |= {"type": PHONE_TYPE, "mobilePhone": f"+49170{_PHONE + number % (9 * _PHONE)}"}
    return _line("POST", "/otp/init", "init", body)


def _handshake(number: int) -> str:
    body = {"type": EMAIL_TYPE, "email": contact(number)}
    if number % 2:
        body = {"type": PHONE_TYPE, "mobilePhone": f"+49171{_PHONE + number}"}
    return _handshake_line(body)


def _handshake_line(body: dict[str, Any]) -> str:
    return _line("POST", SAMPLES["handshake"].rule, "handshake", body)


def _search(number: int) -> str:
    return _line("POST", f"/otp/{EMAIL_TYPE}", "found 1", {"email": contact(number)})


def _line(method: str, target: str, want: str, body: dict[str, Any]) -> str:
    return f"{method}\t{target}\t{want}\t{json.dumps(body, separators=(',', ':'))}"
