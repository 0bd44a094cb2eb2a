"""What back ends asked and were answered over all crashes, and the promises it is held against.

Time is a counter of events at the client, as in ``tests/e2e/crash``. The starts of one contact
follow one another; attempts at its processes run beside them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import permutations
from typing import TYPE_CHECKING, Any

from tests.e2e.crash_rest.model import Answer, Happening, Kind, Rules, explain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.support.outbox import Mail


@dataclass
class Start:
    """An init, repeated with its key until it was answered. ``uuid`` is the answer's."""

    contact: str
    key: str
    sent: int
    done: int | None = None
    uuid: str = ""


@dataclass
class Try:
    """An attempt at a process."""

    uuid: str
    code: str
    sent: int
    done: int | None = None
    answer: Answer | None = None


@dataclass
class History:
    """Everything that happened."""

    rules: Rules
    starts: list[Start] = field(default_factory=list)
    tries: list[Try] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)
    """Answers that no correct server gives here, whatever happened before."""
    now: int = 0

    def tick(self) -> int:
        self.now += 1
        return self.now

    def answered(self) -> list[Start]:
        """The starts whose process is known."""
        return [start for start in self.starts if start.done is not None]

    def violations(
        self, mails: Sequence[Mail], shown: Mapping[str, Mapping[str, Any]]
    ) -> list[str]:
        """Every promise that was broken. ``shown`` is each process as search shows it now."""
        found = list(self.oddities)
        sent: dict[str, list[Mail]] = defaultdict(list)
        for mail in mails:
            sent[mail.process].append(mail)
        known = {start.uuid for start in self.answered()}
        twice = [uuid for uuid, n in Counter(s.uuid for s in self.answered()).items() if n > 1]
        found += [f"{uuid} is the process of two starts" for uuid in twice]
        if strangers := set(sent) - known:
            found.append(f"messages of processes that nobody started: {sorted(strangers)}")
        tries: dict[str, list[Try]] = defaultdict(list)
        for one in self.tries:
            tries[one.uuid].append(one)
        for start in self.answered():
            found += self._judge(start, tries[start.uuid], sent[start.uuid], shown.get(start.uuid))
        return found

    def _judge(
        self,
        start: Start,
        tries: Sequence[Try],
        mails: Sequence[Mail],
        shown: Mapping[str, Any] | None,
    ) -> Iterator[str]:
        if shown is None:
            yield f"{start.uuid} was started and is not found"
            return
        name = f"{start.uuid} of {start.contact}"
        if len({mail.code for mail in mails}) < len(mails):
            yield f"{name}: one code was sent twice"
        superseded = [
            Happening(Kind.SUPERSEDE, other.sent, other.done)
            for other in self.starts
            if other.contact == start.contact and other.sent > start.sent
        ]
        explained = any(
            explain(
                self.rules,
                [
                    Happening(Kind.ATTEMPT, t.sent, t.done, generations.get(t.code), t.answer)
                    for t in tries
                ]
                + superseded,
            )
            for generations in possible_generations(mails, shown["deliveries"])
        )
        if not explained:
            yield f"{name}: no order explains {tries}, {superseded}, {shown}, {mails}"
        yield from self._judge_deliveries(name, shown, mails)

    def _judge_deliveries(
        self, name: str, shown: Mapping[str, Any], mails: Sequence[Mail]
    ) -> Iterator[str]:
        """Each message was sent once, or is uncertain, or was not needed any more."""
        states = [delivery["status"] for delivery in shown["deliveries"]]
        if len(mails) > len(states):
            yield f"{name}: more messages than deliveries: {states}"
        surely = sum(state == "sent" for state in states)
        perhaps = sum(state == "uncertain" for state in states)
        if not surely <= len(mails) <= surely + perhaps:
            yield f"{name}: {len(mails)} messages arrived, the server says {states}"
        if shown["status"] in ("new", "sent") and states[-1] in ("void", "failed"):
            yield f"{name}: it waits for a code that will not come: {states}"


def possible_generations(
    mails: Sequence[Mail], deliveries: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, int]]:
    """Which generation each code may be of: delivery ``n`` carries that of generation ``n``.

    A sent one arrived, an uncertain one perhaps; the others never. They may overtake each other.
    """
    arrived = [
        n for n, delivery in enumerate(deliveries) if delivery["status"] in ("sent", "uncertain")
    ]
    surely = {n for n in arrived if deliveries[n]["status"] == "sent"}
    for chosen in permutations(arrived, len(mails)):
        fits = all(
            deliveries[n]["channel"] == mail.channel for n, mail in zip(chosen, mails, strict=True)
        )
        if fits and surely <= set(chosen):
            yield {mail.code: n for n, mail in zip(chosen, mails, strict=True)}
