"""The sequential model of OTP processes: what the rules say, in plain Python without a store."""

from __future__ import annotations

from dataclasses import dataclass, field

from otp_server.domain.budget import OUTBOX_MARGIN_MS, wait_after_ms
from otp_server.domain.challenge_type import Channel
from otp_server.domain.process import FailureReason, ProcessStatus, RouteStatus
from otp_server.services.ports.outbox import MessageState

FAILED_WORDS = {
    FailureReason.EXHAUSTED: "otp_attempts_exhausted",
    FailureReason.SUPERSEDED: "otp_superseded",
    FailureReason.UNDELIVERABLE: "otp_undeliverable",
}
OPEN = (ProcessStatus.NEW, ProcessStatus.SENT)


@dataclass(frozen=True)
class ModelType:
    """A type; ``routes`` are ``(channel, attempts)``."""

    name: str
    routes: tuple[tuple[Channel, int], ...]
    max_attempts: int
    ttl_s: int


@dataclass
class ModelProcess:
    """One process, and whether its current generation's message still waits."""

    uuid: str
    kind: ModelType
    contacts: dict[Channel, str]
    created_ms: int
    route: int
    status: ProcessStatus = ProcessStatus.NEW
    failure: FailureReason | None = None
    route_status: RouteStatus = RouteStatus.NEW
    attempts: int = 0
    route_attempts: int = 0
    generation: int = 1
    queued: bool = True

    @property
    def expires_ms(self) -> int:
        return self.created_ms + self.kind.ttl_s * 1000

    @property
    def channel(self) -> Channel:
        return self.kind.routes[self.route][0]

    @property
    def contact(self) -> tuple[Channel, str]:
        return self.channel, self.contacts[self.channel]

    def status_at(self, now_ms: int) -> ProcessStatus:
        over = self.status in OPEN and now_ms >= self.expires_ms
        return ProcessStatus.EXPIRED if over else self.status

    def is_open(self, now_ms: int) -> bool:
        return self.status_at(now_ms) in OPEN

    def end(self, status: ProcessStatus, failure: FailureReason | None = None) -> None:
        self.status, self.failure, self.queued = status, failure, False

    def next_route(self, now_ms: int) -> int | None:
        """The next route it has a contact for, if there is one and time for it."""
        later = range(self.route + 1, len(self.kind.routes))
        usable = [n for n in later if self.kind.routes[n][0] in self.contacts]
        in_time = self.expires_ms - now_ms > OUTBOX_MARGIN_MS
        return usable[0] if usable and in_time else None

    def move(self, now_ms: int) -> bool:
        following = self.next_route(now_ms)
        if following is None:
            return False
        self.route, self.generation, self.route_attempts = following, self.generation + 1, 0
        self.queued, self.route_status = True, RouteStatus.NEW
        return True


@dataclass
class Model:
    """All processes, the starts that count and the failures of contacts."""

    windows: tuple[tuple[int, int], ...]
    failures_max: int
    processes: list[ModelProcess] = field(default_factory=list)
    stamps: dict[tuple[str, Channel, str], list[int]] = field(default_factory=dict)
    failures: dict[tuple[Channel, str], tuple[int, int]] = field(default_factory=dict)

    # Starting.

    def start_word(self, kind: ModelType, contacts: dict[Channel, str], now_ms: int) -> str:
        """What an init would answer."""
        usable = self.usable(kind, contacts)
        if not usable:
            return "invalid_fields"
        limited = any(self.is_full(kind, channel, contacts[channel], now_ms) for channel in usable)
        return "rate_limited" if limited else "startanswer"

    @staticmethod
    def usable(kind: ModelType, contacts: dict[Channel, str]) -> list[Channel]:
        return [channel for channel in contacts if channel in dict(kind.routes)]

    def is_full(self, kind: ModelType, channel: Channel, contact: str, now_ms: int) -> bool:
        stamps = self.stamps.get((kind.name, channel, contact), [])
        return any(
            sum(now_ms - period_ms < at_ms for at_ms in stamps) >= limit
            for limit, period_ms in self.windows
        )

    def start(
        self, uuid: str, kind: ModelType, contacts: dict[Channel, str], now_ms: int
    ) -> ModelProcess:
        for channel in self.usable(kind, contacts):
            key = kind.name, channel, contacts[channel]
            self.stamps.setdefault(key, []).append(now_ms)
        usable = set(self.usable(kind, contacts))
        for other in self.processes:
            common = other.contacts.items() & contacts.items()
            shared = usable & {channel for channel, _ in common}
            if other.kind is kind and shared and other.is_open(now_ms):
                other.end(ProcessStatus.FAILED, FailureReason.SUPERSEDED)
        routes = [n for n, (channel, _) in enumerate(kind.routes) if channel in contacts]
        process = ModelProcess(uuid, kind, contacts, now_ms, routes[0])
        self.processes.append(process)
        return process

    # Trying.

    def try_codes(self, process: ModelProcess, right: list[bool], now_ms: int) -> list[str]:
        """A batch of attempts on one process: counted in order, settled right ones first."""
        contact = process.contact
        words: list[str | None] = [self._count(process, now_ms) for _ in right]
        counted = [n for n, word in enumerate(words) if word is None]
        for n in sorted(counted, key=lambda n: not right[n]):
            if not right[n]:
                words[n] = "wrong"
            elif process.is_open(now_ms):
                words[n] = "accepted"
                process.end(ProcessStatus.ACCEPTED)
                process.attempts -= 1
                process.route_attempts -= 1
                self.failures.pop(contact, None)
            else:
                words[n] = "otp_already_accepted"
        if counted and process.is_open(now_ms):
            if process.attempts >= process.kind.max_attempts:
                process.end(ProcessStatus.FAILED, FailureReason.EXHAUSTED)
                process.route_status = RouteStatus.EXHAUSTED
            elif process.route_attempts >= process.kind.routes[process.route][1]:
                process.move(now_ms)
        return [word for word in words if word is not None]

    def _count(self, process: ModelProcess, now_ms: int) -> str | None:
        ended = self._end_word(process, now_ms)
        if ended is not None:
            return ended
        used_up = process.route_attempts >= process.kind.routes[process.route][1]
        if used_up and process.next_route(now_ms) is not None:
            return "rate_limited"  # the route's last ones are of this batch: still compared
        failed, last_ms = self.failures.get(process.contact, (0, 0))
        if failed >= self.failures_max:
            return "contact_locked"
        if now_ms < last_ms + wait_after_ms(failed):
            return "rate_limited"
        process.attempts += 1
        process.route_attempts += 1
        self.failures[process.contact] = failed + 1, now_ms
        return None

    @staticmethod
    def _end_word(process: ModelProcess, now_ms: int) -> str | None:
        if process.failure is not None:
            return FAILED_WORDS[process.failure]
        if not process.is_open(now_ms):
            accepted = process.status is ProcessStatus.ACCEPTED
            return "otp_already_accepted" if accepted else "otp_expired"
        used_up = process.attempts >= process.kind.max_attempts
        return "otp_attempts_exhausted" if used_up else None

    # Delivering.

    def hand_over(self, channel: Channel, state: MessageState, now_ms: int) -> list[str]:
        """Every message that waits for the channel ends so; of which processes they were."""
        waiting = [each for each in self.processes if each.queued and each.channel is channel]
        taken: list[str] = []
        for process in waiting:
            process.queued = False
            if process.expires_ms - now_ms <= OUTBOX_MARGIN_MS:
                continue
            taken.append(process.uuid)
            if state is not MessageState.FAILED:
                process.status = ProcessStatus.SENT
                process.route_status = RouteStatus(state.value)
            elif not process.move(now_ms):
                process.end(ProcessStatus.FAILED, FailureReason.UNDELIVERABLE)
                process.route_status = RouteStatus.FAILED
        return taken
