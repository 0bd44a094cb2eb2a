"""Random histories of codes of accounts: the services over a store agree with the model.

Two accounts and an e-mail without one, three clients and more, short lives and windows: resends,
other sessions, wrong codes, waits, expiry and changes meet one another within a few steps.
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
from otp_server.domain.account_outcome import SecretSent, SignedIn
from otp_server.domain.challenge_type import Channel
from otp_server.services.ports.outbox import DeliveryReport, MessageState
from otp_server.stores import open_store, process_rules
from tests.support.process_world import wrong
from tests.support.reset_model import Model, ModelCode
from tests.support.reset_world import (
    EMAIL,
    OLD,
    OTHER_EMAIL,
    TENANT,
    UNLIMITED,
    Client,
    ResetWorld,
    change,
    check,
    kind,
    send,
)
from tests.support.trio_thread import Clock, TrioThread

FAILURES_MAX = 3
ATTEMPTS_MAX = 2
TTL_S = 240
WINDOWS = ((4, 20_000), (9, 300_000))
UNKNOWN = "nobody@example.org"
EMAILS = [EMAIL, OTHER_EMAIL, UNKNOWN]
CLIENTS_MAX = 5

which = st.integers(0, 4)
emails = st.sampled_from([EMAIL, EMAIL, EMAIL, OTHER_EMAIL, UNKNOWN])
methods = st.sampled_from(["", "", "otp"])
guesses = st.sampled_from(["right", "right", "wrong", "another's", "no code"])
callers = st.sampled_from(["owner"] * 6 + ["anybody", "nobody's"])


class ResetMachine(RuleBasedStateMachine):
    """Rules over one store, the model beside it."""

    store_url = "memory:"

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.trio = TrioThread()
        self.store = self.trio.call(open_store, self.store_url, Path(self.folder.name))
        self.clock = Clock()
        self.clients: list[Client] = []
        self.changes = 0

    def teardown(self) -> None:
        self.trio.call(self.store.aclose)
        self.trio.close()
        self.folder.cleanup()

    @property
    def now_ms(self) -> int:
        return self.clock.now_ms()

    async def make_world(self) -> ResetWorld:
        return ResetWorld(
            store=self.store,
            clock=self.clock,
            windows=replace(UNLIMITED, account=WINDOWS),
            reveal_accounts=self.model.reveal,
            attempts_max=ATTEMPTS_MAX,
            code_ttl_s=TTL_S,
        )

    @initialize(reveal=st.booleans())
    def begin(self, reveal: bool) -> None:
        passwords = {EMAIL: (OLD, 1), OTHER_EMAIL: (OLD, 1)}
        self.model = Model(reveal, ATTEMPTS_MAX, TTL_S * 1000, WINDOWS, FAILURES_MAX, passwords)
        self.world = self.trio.call(self.make_world)
        for email in passwords:
            self.trio.call(self.world.add_user, email)
        for _ in range(2):
            self.a_client_comes()
        self.somebody_signs_in(EMAIL)

    def pick_client(self, n: int) -> int:
        return n % len(self.clients)

    def pick_secret(self, n: int, m: int, caller: str) -> tuple[int, ModelCode | None]:
        """Who calls, and with whose secret; None: one that nobody was given."""
        if caller == "nobody's":
            return self.pick_client(n), None
        code = self.model.codes[-1 - m % min(3, len(self.model.codes))]
        sessions = [client.session for client in self.model.clients]
        if caller == "owner" and code.session in sessions:
            return sessions.index(code.session), code
        return self.pick_client(n), code

    @precondition(lambda self: len(self.clients) < CLIENTS_MAX)
    @rule()
    def a_client_comes(self) -> None:
        self.clients.append(self.trio.call(self.world.client))
        self.model.arrive()

    @precondition(lambda self: len(self.clients) < CLIENTS_MAX)
    @rule(email=st.sampled_from([EMAIL, OTHER_EMAIL]))
    def somebody_signs_in(self, email: str) -> None:
        password = self.model.passwords[email][0]
        self.clients.append(self.trio.call(self.world.signed_in, email, password))
        self.model.arrive(email)

    @rule(n=which, email=emails, method=methods, times=st.sampled_from([1, 1, 2]))
    def ask_for_codes(self, n: int, email: str, method: str, times: int) -> None:
        client, now_ms = self.pick_client(n), self.now_ms
        for _ in range(times):
            expected = self.model.send_word(client, email, now_ms)
            asked = send(self.clients[client], email, method=method)
            [outcome] = self.trio.call(self.world.resets.send_many, [asked])
            assert kind(outcome) == expected
            if expected in ("SecretSent", "NoUser"):
                self.model.charge_send(email, now_ms)
            if isinstance(outcome, SecretSent):
                assert (outcome.user is not None) is self.model.reveal
                self.model.send(outcome.secret, client, email, method, now_ms)

    @precondition(lambda self: self.model.codes)
    @rule(n=which, m=which, caller=callers, guess=guesses, as_sent=st.integers(0, 4), email=emails)
    def check_a_code(
        self, n: int, m: int, caller: str, guess: str, as_sent: int, email: str
    ) -> None:
        client, code = self.pick_secret(n, m, caller)
        email = code.email if code is not None and as_sent else email
        text = self.typed(code, guess)
        expected = self.attempt_word(client, email, code, text)
        secret = "unknown" if code is None else code.secret
        asked = check(self.clients[client], secret, text, email=email)
        [outcome] = self.trio.call(self.world.resets.check_many, [asked])
        assert kind(outcome) == ("CodeRight" if expected == "right" else expected)
        if expected == "right" and code is not None:
            assert (outcome.code, outcome.expires_at_ms) == (text, code.expires_ms)
            self.model.checked(code, self.now_ms)

    @precondition(lambda self: self.model.codes)
    @rule(
        n=which,
        m=which,
        caller=callers,
        guess=guesses,
        as_sent=st.integers(0, 4),
        weak=st.integers(0, 4),
    )
    def change_a_password(
        self, n: int, m: int, caller: str, guess: str, as_sent: int, weak: int
    ) -> None:
        client, code = self.pick_secret(n, m, caller)
        email = code.email if code is not None and as_sent else OTHER_EMAIL
        text = self.typed(code, guess)
        self.changes += 1
        password = f"a good password, {self.changes}" if weak else "tooweak"
        expected = self.model.before_limits(client, email)
        if expected is None and not weak:
            expected = "PasswordRefused"
        if expected is None:
            expected = self.attempt_word(client, email, code, text)
        secret = "unknown" if code is None else code.secret
        asked = change(self.clients[client], secret, text, uid=email, password=password)
        [outcome] = self.trio.call(self.world.resets.change_many, [asked])
        assert kind(outcome) == ("SignedIn" if expected == "right" else expected)
        if isinstance(outcome, SignedIn) and code is not None:
            self.model.changed(client, code, password, self.now_ms)
            before = self.clients[client]
            self.clients[client] = replace(
                before, session=outcome.session, session_id=outcome.session_id
            )

    def typed(self, code: ModelCode | None, guess: str) -> str:
        if guess == "no code":
            return ""
        if code is None:
            return "000000"
        right = self.trio.call(self.world.code_of, code.secret)
        if guess == "another's":
            others = [each for each in self.model.codes if each is not code]
            return self.trio.call(self.world.code_of, others[0].secret) if others else wrong(right)
        return right if guess == "right" else wrong(right)

    def attempt_word(self, client: int, email: str, code: ModelCode | None, text: str) -> str:
        if not text:  # counts nowhere
            return self.model.before_limits(client, email) or "WrongCode"
        right = code is not None and text == self.trio.call(self.world.code_of, code.secret)
        return self.model.attempt(client, email, code, right=right, now_ms=self.now_ms)

    @rule()
    def deliver(self) -> None:
        assert self.trio.call(self.hand_over) == self.model.deliver(self.now_ms)

    async def hand_over(self) -> list[str]:
        now_ms = self.now_ms
        leased = await self.store.claim_messages(
            Channel.EMAIL, now_ms=now_ms, lease_until_ms=now_ms + 30_000, limit=100
        )
        sent = MessageState.SENT
        await self.store.report_deliveries(
            [DeliveryReport(each.message_id, each.lease, sent, now_ms, "test") for each in leased]
        )
        vault = self.world.vault
        contacts = [vault.unseal(TENANT, Channel.EMAIL, each.contact.sealed) for each in leased]
        return sorted(contacts)

    @rule(step_ms=st.sampled_from([1, 999, 20_000, 30_000, 60_000, 120_000]))
    def wait(self, step_ms: int) -> None:
        self.clock.at_ms += step_ms

    @precondition(lambda self: self.model.codes)
    @rule(n=which, left_ms=st.sampled_from([5_001, 5_000, 1, 0]))
    def wait_for_the_end(self, n: int, left_ms: int) -> None:
        code = self.model.codes[-1 - n % len(self.model.codes)]
        self.clock.at_ms = max(self.now_ms, code.expires_ms - left_ms)

    @rule()
    def sweep(self) -> None:
        self.trio.call(self.world.upkeep.sweep)

    @rule()
    def restart(self) -> None:
        """But sockets stay: those of a server that ended end with it."""
        sockets = self.world.sockets
        self.world = self.trio.call(self.make_world)
        self.world.sockets = sockets
        self.world.build()
        self.trio.call(self.world.resets.restore)
        if self.model.reveal:  # of those without an account nothing is stored
            self.model.stamps.pop(UNKNOWN, None)

    @invariant()
    def store_and_model_agree(self) -> None:
        if hasattr(self, "model"):
            assert self.trio.call(self.look) == (
                [
                    (code.is_open(self.now_ms), code.attempts, self.failure(code))
                    for code in self.model.codes
                ],
                [not client.is_dead for client in self.model.clients],
                [self.model.failures.get(email, (0, 0))[0] for email in EMAILS],
                {email: count for email, (_, count) in self.model.passwords.items()},
            )

    @staticmethod
    def failure(code: ModelCode) -> str | None:
        return None if code.end in (None, "accepted") else str(code.end)

    async def look(self) -> tuple[object, ...]:
        world = self.world
        codes: list[object] = []
        for code in self.model.codes:
            process = await world.process(code.secret)
            is_open = process.status_at(self.now_ms).is_open
            failure = None if process.failure is None else str(process.failure)
            codes.append((is_open, process.attempts, failure))
        alive = [await world.is_alive(client.session_id) for client in self.clients]
        bound = [
            world.sockets.is_bound(client.socket_id, client.session.digest)
            for client in self.clients
        ]
        assert bound == alive
        changed: dict[str, int] = {}
        for email, (password, _) in self.model.passwords.items():
            assert await world.is_password(password, email)
            [user] = await self.store.find_users([world.accounts.key_by_email("main", email)])
            assert user is not None
            changed[email] = user.password_version
        return codes, alive, [await world.failures(email) for email in EMAILS], changed


class SqliteMachine(ResetMachine):
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
        ResetMachine,
        settings=settings(
            max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=QUICK
        ),
    )


@pytest.mark.timeout(600)  # to shrink what fails takes its time
@pytest.mark.usefixtures("near_budget")
def test_over_sqlite() -> None:
    run_state_machine_as_test(
        SqliteMachine,
        settings=settings(
            max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=QUICK
        ),
    )
