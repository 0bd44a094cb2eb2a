"""Random histories: the services over a store and the sequential model agree at every step.

The universe is small (two contacts a channel, three types, short lives and windows), so that
supersession, fail-over, exhaustion, limits, waits and expiry meet one another within a few steps.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from otp_server.domain import budget
from otp_server.domain.challenge_type import Channel
from otp_server.domain.process_id import format_uuid, parse_uuid
from otp_server.domain.process_outcome import Found, StartAnswer
from otp_server.services.ports.outbox import MessageState
from otp_server.services.search import SearchQuery
from otp_server.stores import open_store, process_rules
from tests.support.process_model import Model, ModelProcess, ModelType
from tests.support.process_world import (
    MAIL,
    SMS,
    TENANT,
    UNLIMITED,
    ProcessWorld,
    attempt,
    init,
    kinds,
    wrong,
)
from tests.support.trio_thread import Clock, TrioThread

FAILURES_MAX = 3
WINDOWS = ((4, 20_000), (9, 300_000))
CONTACTS = {SMS: ["+491701234567", "+33612345678"], MAIL: ["a@example.com", "b@example.com"]}
ALL_CONTACTS = [(channel, contact) for channel in CONTACTS for contact in CONTACTS[channel]]
OUTCOMES = [MessageState.SENT, MessageState.UNCERTAIN, MessageState.FAILED, MessageState.FAILED]

route = st.tuples(st.sampled_from([SMS, MAIL]), st.sampled_from([1, 1, 2]))
one_type = st.tuples(st.lists(route, min_size=1, max_size=3), st.integers(2, 5))
which = st.integers(0, 2)
guess = st.sampled_from(["right", "wrong", "wrong", "wrong", "old", "another's", "no code"])


class ProcessMachine(RuleBasedStateMachine):
    """Rules over one store, the model beside it."""

    store_url = "memory:"

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.trio = TrioThread()
        self.store = self.trio.call(open_store, self.store_url, Path(self.folder.name))
        self.clock = Clock()
        self.model = Model(WINDOWS, FAILURES_MAX)
        self.types: list[ModelType] = []
        self.world = self.make_world()

    def make_world(self) -> ProcessWorld:
        return ProcessWorld(
            store=self.store, clock=self.clock, windows=replace(UNLIMITED, contact=WINDOWS)
        )

    def teardown(self) -> None:
        self.trio.call(self.store.aclose)
        self.trio.close()
        self.folder.cleanup()

    @property
    def now_ms(self) -> int:
        return self.clock.at_ms

    def pick(self, n: int) -> ModelProcess:
        """One of the newest."""
        return self.model.processes[-1 - n % len(self.model.processes)]

    @initialize(drawn=st.lists(one_type, min_size=3, max_size=3))
    def make_types(self, drawn: list[tuple[list[tuple[Channel, int]], int]]) -> None:
        for n, (routes, max_attempts) in enumerate(drawn):
            kind = ModelType(f"type-{n}", tuple(routes), max_attempts, ttl_s=120)
            self.types.append(kind)
            self.trio.call(self.add_type, kind)

    async def add_type(self, kind: ModelType) -> None:
        await self.world.add_type(
            kind.name, kind.routes, max_attempts=kind.max_attempts, ttl=kind.ttl_s
        )

    @rule(
        type_n=st.integers(0, 2),
        phone=st.sampled_from([0, 0, 1, None]),
        email=st.sampled_from([0, 0, 1, None]),
    )
    def start(self, type_n: int, phone: int | None, email: int | None) -> None:
        kind = self.types[type_n]
        contacts = {
            channel: CONTACTS[channel][n]
            for channel, n in ((SMS, phone), (MAIL, email))
            if n is not None
        }
        asked = init(kind.name, phone=contacts.get(SMS), email=contacts.get(MAIL))
        expected = self.model.start_word(kind, contacts, self.now_ms)
        [outcome] = self.trio.call(self.world.starts.start_many, [asked])
        assert kinds([outcome]) == [expected]
        if isinstance(outcome, StartAnswer):
            process = self.model.start(outcome.uuid, kind, contacts, self.now_ms)
            assert outcome.channel is process.channel

    def code(self, process: ModelProcess, guessed: str, other: ModelProcess) -> tuple[str, bool]:
        """A text, and whether it is the right one."""
        right = self.code_of(process, process.generation)
        text = {
            "right": right,
            "wrong": wrong(right),
            "old": self.code_of(process, max(process.generation - 1, 1)),
            "another's": self.code_of(other, other.generation),
            "no code": "x",
        }[guessed]
        return text, text == right

    def code_of(self, process: ModelProcess, generation: int) -> str:
        challenge = parse_uuid(process.uuid)
        assert challenge is not None
        return self.world.keyring.derive(
            "k1",
            domain="rest",
            tenant=TENANT,
            challenge=challenge,
            generation=generation,
            alphabet="numeric",
            length=6,
        ).reveal()

    @precondition(lambda self: self.model.processes)
    @rule(n=which, other=which, guesses=st.lists(guess, min_size=1, max_size=3))
    def try_codes(self, n: int, other: int, guesses: list[str]) -> None:
        process = self.pick(n)
        codes = [self.code(process, guessed, self.pick(other)) for guessed in guesses]
        batch = [attempt(process.uuid, text) for text, _ in codes]
        expected = self.model.try_codes(process, [right for _, right in codes], self.now_ms)
        assert kinds(self.trio.call(self.world.attempts.attempt_many, batch)) == expected

    @precondition(lambda self: self.model.processes)
    @rule(
        channel=st.sampled_from([SMS, MAIL]),
        state=st.sampled_from(OUTCOMES),
    )
    def hand_over(self, channel: Channel, state: MessageState) -> None:
        expected = self.model.hand_over(channel, state, self.now_ms)
        taken = self.trio.call(self.world.hand_over, channel, state)
        assert sorted(format_uuid(uuid) for uuid in taken) == sorted(expected)

    @rule(step_ms=st.sampled_from([1, 999, 20_000, 30_000, 60_000, 115_000, 300_000]))
    def wait(self, step_ms: int) -> None:
        self.clock.at_ms += step_ms

    @precondition(lambda self: self.model.processes)
    @rule(n=which, left_ms=st.sampled_from([5_001, 5_000, 1, 0]))
    def wait_for_the_end(self, n: int, left_ms: int) -> None:
        self.clock.at_ms = max(self.now_ms, self.pick(n).expires_ms - left_ms)

    @rule()
    def sweep(self) -> None:
        self.trio.call(self.world.upkeep.sweep)

    @rule()
    def restart(self) -> None:
        self.world = self.make_world()
        self.trio.call(self.world.starts.restore)
        self.trio.call(self.world.attempts.check_keys)

    @invariant()
    def store_and_model_agree(self) -> None:
        if self.types:
            seen, failed = self.trio.call(self.look)
            assert seen == [
                (
                    (each.uuid, each.status_at(self.now_ms), each.failure, each.attempts),
                    (each.contacts.get(SMS), each.contacts.get(MAIL)),
                    (each.channel, each.route_attempts, each.route_status),
                )
                for kind in self.types
                for each in reversed(self.model.processes)
                if each.kind is kind
            ]
            failures = self.model.failures
            assert failed == [failures.get(contact, (0, 0))[0] for contact in ALL_CONTACTS]

    async def look(self) -> tuple[list[object], list[int]]:
        """Every process as search shows it, and every contact's failures."""
        pages = await self.world.search.search_many(
            [SearchQuery(TENANT, kind.name, limit=1000) for kind in self.types]
        )
        failed = [
            await self.store.contact_failures(
                TENANT, self.world.vault.index(TENANT, channel, contact)
            )
            for channel, contact in ALL_CONTACTS
        ]
        seen: list[object] = []
        for page in pages:
            assert isinstance(page, Found)
            seen += [
                (
                    (each.uuid, each.status, each.failure, each.attempts),
                    (each.phone, each.email),
                    (each.route.channel, each.route.attempts, each.route.status),
                )
                for each in page.processes
            ]
        return seen, failed


class SqliteMachine(ProcessMachine):
    store_url = "sqlite:otp.db"


@pytest.fixture
def near_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits and locks within reach of a short history."""
    monkeypatch.setattr(budget, "WAIT_FROM", 2)
    monkeypatch.setattr(budget, "WAIT_STEP", 2)
    monkeypatch.setattr(process_rules, "FAILURES_MAX", FAILURES_MAX)


QUICK = [HealthCheck.too_slow, HealthCheck.filter_too_much]


@pytest.mark.timeout(600)  # to shrink what fails takes its time
@pytest.mark.usefixtures("near_budget")
def test_over_the_memory_store() -> None:
    run_state_machine_as_test(
        ProcessMachine,
        settings=settings(
            max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=QUICK
        ),
    )


@pytest.mark.timeout(600)  # to shrink what fails takes its time
@pytest.mark.usefixtures("near_budget")
def test_over_sqlite() -> None:
    run_state_machine_as_test(
        SqliteMachine,
        settings=settings(
            max_examples=25, stateful_step_count=50, deadline=None, suppress_health_check=QUICK
        ),
    )
