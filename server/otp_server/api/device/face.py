"""The WebSocket side of the device face: who is connected, and what each frame means.

Implements :class:`otp_server.transport.seam.FaceSide`: a transport hands over batches, nothing
here blocks it, and answers go back through :class:`otp_server.transport.seam.LinkSide`. The frame
rules are ``proto/device-frames.md``; every frame is authorised anew (requirement 63).
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import trio

from otp_server.api.device.issuing import IssueQueue
from otp_server.api.device.sessions import Session, Slot, Standing
from otp_server.api.lanes import Load
from otp_server.api.operation import ApiError
from otp_server.core import (
    Frame,
    decode_auth,
    decode_otp_request,
    encode_otp_code,
    encode_otp_error,
)
from otp_server.domain.address import address_key, client_address
from otp_server.domain.outcome import Issued, IssueOutcome, Refused
from otp_server.errors import ErrorKind, StoreUnavailable, WireError
from otp_server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import prometheus_client

    from otp_server.domain.address import Network
    from otp_server.domain.device import Device
    from otp_server.services.devices import DeviceService
    from otp_server.services.issue import IssueService
    from otp_server.services.presence import PresenceService
    from otp_server.telemetry import Metrics
    from otp_server.transport.seam import LinkSide, Upgrade

_HELD_MAX = 8
_FRAME_KINDS = ("otp_request", "auth", "otp_response", "unknown")
_BEARER = "bearer"
_VOID_AGAIN_S = 1.0
_TELL_AGAIN_S = 10

log = get_logger(__name__)


class FrameType(IntEnum):
    """The frame types this face answers or expects (proto/device.proto)."""

    SUBSCRIPTION = 1
    PUBLICATION = 2
    OTP_REQUEST = 19
    OTP_RESPONSE = 20


_OTP_REQUEST = int(FrameType.OTP_REQUEST)
_OTP_RESPONSE = int(FrameType.OTP_RESPONSE)
_AUTH = frozenset({int(FrameType.SUBSCRIPTION), int(FrameType.PUBLICATION)})


@dataclass(frozen=True, slots=True)
class FaceOptions:
    """The device face's settings. Times in seconds."""

    answer_s: float
    connections_per_address: int
    connections_per_device: int
    void_on_disconnect: bool
    allowed_origins: frozenset[str]
    trusted_proxies: Sequence[Network]
    auth_s: float = 5.0


@dataclass(frozen=True, slots=True)
class FaceServices:
    """What the face calls."""

    issue: IssueService
    devices: DeviceService
    presence: PresenceService


class DeviceFace:
    """All device connections of this process. ``run`` it before a transport serves it."""

    def __init__(
        self,
        services: FaceServices,
        options: FaceOptions,
        metrics: Metrics,
        load: Load | None = None,
    ) -> None:
        """``load`` knows who else waits for the store, and is told who waits here."""
        self._services = services
        self._options = options
        self._metrics = metrics
        # Looked up once: a label's look-up costs more than its count.
        self._frames = {kind: metrics.frames.labels(kind=kind) for kind in _FRAME_KINDS}
        self._issues: dict[str, prometheus_client.Counter] = {}
        self._links: LinkSide | None = None
        self._sessions: dict[int, Session] = {}
        self._queue = IssueQueue(
            services.issue, self._answer, answer_s=options.answer_s, metrics=metrics
        )
        self._load = Load() if load is None else load
        self._load.others.append(self._queue)
        self._shed = (float("-inf"), False)  # when it was judged last
        self._shed_told_at = float("-inf")
        self._auth_waiting: deque[tuple[Session, str]] = deque()
        self._auth_wake = trio.Event()
        self._unknown: deque[tuple[float, Session, Standing]] = deque()
        self._unknown_wake = trio.Event()
        self._void_waiting: list[bytes] = []
        self._void_wake = trio.Event()
        self._draining = False

    def attach(self, links: LinkSide) -> None:
        """Give the transport that answers go to."""
        self._links = links

    async def wait_answered(self) -> None:
        """Until no request waits for its answer."""
        await self._queue.wait_empty()

    def drain(self) -> None:
        """Let nobody in and begin nothing any more."""
        self._draining = True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The face's own tasks, until cancelled. Raises StoreUnavailable when it cannot start."""
        async with trio.open_nursery() as tasks:
            await tasks.start(self._services.presence.watch_revocations, self._revoked)
            tasks.start_soon(self._queue.run)
            tasks.start_soon(self._check_tokens)
            tasks.start_soon(self._close_unknown)
            tasks.start_soon(self._void_codes)
            task_status.started()

    # --- coming and going -----------------------------------------------------------------

    async def admit(self, upgrades: Sequence[Upgrade]) -> list[ErrorKind | None]:
        """Decide about upgrades; tokens in headers are checked with one read for the batch.

        Cancellation: then none of them came in.
        """
        sessions = [Session(upgrade.connection, self._address_key(upgrade)) for upgrade in upgrades]
        # Held before the wait, released after it or when the connection is gone.
        crowds = [self._services.presence.hold(session.address_key) for session in sessions]
        verdicts: list[ErrorKind | None] = [ErrorKind.INTERNAL] * len(upgrades)
        try:
            looks = [self._first_look(*pair) for pair in zip(upgrades, crowds, strict=True)]
            known = await self._devices_of([token for _, token in looks if token is not None])
            for n, (refusal, token) in enumerate(looks):
                verdicts[n] = refusal
                if refusal is None and token is not None:
                    verdicts[n] = self._recognise(sessions[n], next(known))
        finally:
            for session, verdict in zip(sessions, verdicts, strict=True):
                if verdict is None:
                    self._enter(session)
                else:
                    self._services.presence.release(session.address_key)
        return verdicts

    async def _devices_of(self, tokens: Sequence[str]) -> Iterator[Device | ErrorKind | None]:
        """Each token's device, None for a wrong token, UNAVAILABLE when nobody knows."""
        if not tokens:
            return iter(())
        try:
            return iter(await self._services.devices.authenticate_many(tokens))
        except StoreUnavailable as error:
            log.warning("tokens not checked", count=len(tokens), why=str(error))
            return iter([ErrorKind.UNAVAILABLE] * len(tokens))

    def _recognise(self, session: Session, found: Device | ErrorKind | None) -> ErrorKind | None:
        """Note whose session it is; the error kind when its token is worth nothing."""
        if isinstance(found, ErrorKind):
            return found
        if found is None or self._services.presence.is_revoked(found.device_id):
            return ErrorKind.UNAUTHORIZED
        session.standing = Standing.KNOWN
        session.device_id = found.device_id
        return None

    def closed(self, connections: Iterable[int]) -> None:
        """Forget connections that are gone."""
        for connection in connections:
            session = self._sessions.pop(connection, None)
            known = self._services.presence.left(connection)
            if session is None:
                continue
            if not known:
                self._services.presence.release(session.address_key)
            if session.challenge_id is not None:
                self._void(session.challenge_id)

    def _first_look(self, upgrade: Upgrade, of_address: int) -> tuple[ErrorKind | None, str | None]:
        """What can be decided without the store: a refusal, or the token to check, or neither."""
        if self._draining:
            return ErrorKind.DRAINING, None
        for origin in upgrade.header(b"origin"):
            if origin not in self._options.allowed_origins:
                return ErrorKind.FORBIDDEN_ORIGIN, None
        if of_address > self._options.connections_per_address:
            return ErrorKind.OVERLOADED, None
        credentials = upgrade.header(b"authorization")
        if not credentials:
            return None, None
        scheme, _, token = credentials[0].partition(" ")
        if len(credentials) > 1 or scheme.lower() != _BEARER:
            return ErrorKind.UNAUTHORIZED, None
        return None, token.strip()

    def _address_key(self, upgrade: Upgrade) -> str:
        forwarded = upgrade.header(b"x-forwarded-for")
        return address_key(client_address(upgrade.peer, forwarded, self._options.trusted_proxies))

    def _enter(self, session: Session) -> None:
        if session.standing is Standing.KNOWN:
            self._note_presence(session)
        else:
            self._sessions[session.connection] = session
            self._await_standing(session)

    def _await_standing(self, session: Session) -> None:
        """Close the session unless its standing has changed in time."""
        deadline = trio.current_time() + self._options.auth_s
        self._unknown.append((deadline, session, session.standing))
        self._unknown_wake.set()

    def _note_presence(self, session: Session) -> None:
        """Enter the device's connection; the newest stay, the oldest go."""
        held = self._services.presence.arrived(
            session.device_id, session.connection, session.address_key
        )
        too_many = held[: -self._options.connections_per_device]
        self._close([(connection, ErrorKind.REPLACED) for connection in too_many])

    def _revoked(self, device_ids: list[str]) -> None:
        for device_id in device_ids:
            connections = self._services.presence.connections_of(device_id)
            self._close([(connection, ErrorKind.UNAUTHORIZED) for connection in connections])

    # --- frames ---------------------------------------------------------------------------

    def received(self, frames: Iterable[tuple[int, Frame]]) -> None:
        """Frames, in the order they came on each connection. Never blocks."""
        kinds: Counter[str] = Counter()
        now = trio.current_time()
        try:
            for connection, frame in frames:
                session = self._session_of(connection)
                if session is None:
                    continue
                frame_type = frame.type
                if frame_type == _OTP_REQUEST:
                    kinds["otp_request"] += 1
                    self._otp_request(session, frame.payload, now)
                elif frame_type in _AUTH:
                    kinds["auth"] += 1
                    self._auth(session, frame.payload)
                elif frame_type == _OTP_RESPONSE:
                    kinds["otp_response"] += 1
                else:
                    kinds["unknown"] += 1
        finally:
            for kind, count in kinds.items():
                self._frames[kind].inc(count)

    def _session_of(self, connection: int) -> Session | None:
        """The session of an open connection; one that was idle is made anew, and not kept yet."""
        session = self._sessions.get(connection)
        if session is None:
            device_id = self._services.presence.device_of(connection)
            if device_id is not None:
                session = Session(connection, "", Standing.KNOWN, device_id)
        return session

    def _otp_request(self, session: Session, payload: bytes, now: float) -> None:
        match session.standing:
            case Standing.KNOWN:
                self._request(session, payload, now)
            case Standing.ANONYMOUS:
                self._refuse(session, ErrorKind.UNAUTHORIZED)
            case Standing.CHECKING if len(session.held) < _HELD_MAX:
                session.held.append(payload)
            case Standing.CHECKING:
                self._close([(session.connection, ErrorKind.FLOODED)])
            case Standing.CLOSING:
                pass  # nothing is begun for who is on the way out

    def _refuse(self, session: Session, kind: ErrorKind) -> None:
        """An answer first, then the close (contracts A4)."""
        self._send([(session.connection, encode_otp_error(kind.token))])
        self._count_issue(kind.token)
        self._close([(session.connection, kind)])

    def _request(self, session: Session, payload: bytes, now: float) -> None:
        if self._services.presence.is_revoked(session.device_id):
            self._refuse(session, ErrorKind.UNAUTHORIZED)
            return
        slot = session.take_slot(now)
        if slot is None:
            self._close([(session.connection, ErrorKind.FLOODED)])
            return
        self._sessions[session.connection] = session  # until the answer has left
        try:
            decode_otp_request(payload)
        except WireError:
            self._settle_now(session, slot, ErrorKind.MALFORMED)
            return
        if self._draining:
            self._settle_now(session, slot, ErrorKind.UNAVAILABLE)
            return
        if self._is_shed(now):
            self._settle_now(session, slot, ErrorKind.UNAVAILABLE)
            return
        refused = self._services.issue.admit(session.device_id)
        if refused is None:
            self._queue.put(slot)
        else:
            self._answer([(slot, refused)])  # at once: what waits takes one of few slots

    def _is_shed(self, now: float) -> bool:
        """Whether somebody more important waits for the store; judged once for a batch."""
        judged_at, is_shed = self._shed
        if judged_at != now:
            try:
                self._load.check_priority(self._queue.priority, now)
                is_shed = False
            except ApiError:
                is_shed = True
            self._shed = (now, is_shed)
        if is_shed and now >= self._shed_told_at + _TELL_AGAIN_S:
            self._shed_told_at = now
            log.warning("OTP requests are refused: the store is behind")
        return is_shed

    def _answer(self, answered: Sequence[tuple[Slot, IssueOutcome]]) -> None:
        """Send each answer to the connection that asked, and to no other. Never raises."""
        frames: list[tuple[int, bytes]] = []
        closes: list[tuple[int, ErrorKind]] = []
        counts: Counter[str] = Counter()
        for slot, outcome in answered:
            try:
                word = self._give(slot, outcome, frames)
            except Exception:
                self._metrics.crashes.labels(where="answer").inc()
                log.exception("answering failed")
                closes.append((slot.connection, ErrorKind.INTERNAL))
                continue
            if word is not None:
                counts[word] += 1
            if isinstance(outcome, Refused) and outcome.kind is ErrorKind.UNAUTHORIZED:
                closes.append((slot.connection, ErrorKind.UNAUTHORIZED))
        for word, count in counts.items():
            self._count_issue(word, count)
        self._send(frames)
        if closes:
            self._close(closes)

    def _give(
        self, slot: Slot, outcome: IssueOutcome, frames: list[tuple[int, bytes]]
    ) -> str | None:
        """Add the frames that may leave for this answer; the word it counts as."""
        session = self._sessions.get(slot.connection)
        if isinstance(outcome, Issued):
            if session is None:
                if self._options.void_on_disconnect:
                    self._void(outcome.challenge_id)
                return "gone"
            if self._options.void_on_disconnect:
                session.challenge_id = outcome.challenge_id
            frame = encode_otp_code(outcome.passcode, outcome.expires_at_ms)
            self._settle(session, slot, frame, frames)
            return "issued"
        if session is None:
            return None
        self._settle(session, slot, encode_otp_error(outcome.kind.token), frames)
        return outcome.kind.token

    def _settle(
        self, session: Session, slot: Slot, frame: bytes, frames: list[tuple[int, bytes]]
    ) -> None:
        """Fill the request's slot; add the frames that may leave now."""
        slot.frame = frame
        frames += [(session.connection, ready) for ready in session.ready_frames()]
        if session.is_idle:
            self._sessions.pop(session.connection, None)

    def _settle_now(self, session: Session, slot: Slot, kind: ErrorKind) -> None:
        """Answer a request that nobody is asked about."""
        frames: list[tuple[int, bytes]] = []
        self._settle(session, slot, encode_otp_error(kind.token), frames)
        self._count_issue(kind.token)
        self._send(frames)

    def _count_issue(self, outcome: str, count: int = 1) -> None:
        counter = self._issues.get(outcome)
        if counter is None:
            counter = self._issues[outcome] = self._metrics.issues.labels(outcome=outcome)
        counter.inc(count)

    # --- tokens in frames -----------------------------------------------------------------

    def _auth(self, session: Session, payload: bytes) -> None:
        if session.standing is not Standing.ANONYMOUS:
            return  # the first token holds
        try:
            token = decode_auth(payload)
        except WireError:
            self._close([(session.connection, ErrorKind.UNAUTHORIZED)])
            return
        session.standing = Standing.CHECKING
        self._await_standing(session)
        self._auth_waiting.append((session, token))
        self._auth_wake.set()

    async def _check_tokens(self) -> None:
        """Check tokens of Auth frames, one read for all that wait."""
        while True:
            await self._auth_wake.wait()
            self._auth_wake = trio.Event()
            batch = list(self._auth_waiting)
            self._auth_waiting.clear()
            try:
                known = await self._devices_of([token for _, token in batch])
                for session, _ in batch:
                    self._token_checked(session, next(known))
            except Exception:
                self._metrics.crashes.labels(where="auth").inc()
                log.exception("checking tokens failed", count=len(batch))
                self._close([(session.connection, ErrorKind.INTERNAL) for session, _ in batch])

    def _token_checked(self, session: Session, found: Device | ErrorKind | None) -> None:
        if session.standing is not Standing.CHECKING or session.connection not in self._sessions:
            return
        refusal = self._recognise(session, found)
        if refusal is None:
            self._note_presence(session)
            held, session.held = session.held, []
            del self._sessions[session.connection]
            now = trio.current_time()
            for payload in held:
                self._request(session, payload, now)
        elif session.held:
            self._refuse(session, refusal)
        else:
            self._close([(session.connection, refusal)])

    async def _close_unknown(self) -> None:
        """Close connections that stand still on the way to being known. Deadlines come in order."""
        while True:
            while not self._unknown:
                self._unknown_wake = trio.Event()
                await self._unknown_wake.wait()
            deadline, session, standing = self._unknown.popleft()
            await trio.sleep_until(deadline)
            if session.standing is not standing or session.connection not in self._sessions:
                continue
            silent = standing is Standing.ANONYMOUS
            kind = ErrorKind.UNAUTHORIZED if silent else ErrorKind.UNAVAILABLE
            self._close([(session.connection, kind)])

    # --- codes that end with their connection -----------------------------------------------

    def _void(self, challenge_id: bytes) -> None:
        self._void_waiting.append(challenge_id)
        self._void_wake.set()

    async def _void_codes(self) -> None:
        """End codes whose connection is gone, where the configuration says so; keep trying."""
        while True:
            await self._void_wake.wait()
            self._void_wake = trio.Event()
            batch, self._void_waiting = self._void_waiting, []
            try:
                await self._services.issue.void(batch)
            except StoreUnavailable as error:
                log.warning("codes not voided yet", count=len(batch), why=str(error))
                self._void_waiting = batch + self._void_waiting
                await trio.sleep(_VOID_AGAIN_S)
                self._void_wake.set()
            except Exception:
                self._metrics.crashes.labels(where="void").inc()
                log.exception("codes not voided", count=len(batch))

    # --- out --------------------------------------------------------------------------------

    def _send(self, frames: Sequence[tuple[int, bytes]]) -> None:
        if self._links is not None:
            self._links.send_many(frames)

    def _close(self, connections: Sequence[tuple[int, ErrorKind]]) -> None:
        for connection, _ in connections:
            session = self._session_of(connection)
            if session is not None:
                session.standing = Standing.CLOSING
                self._sessions[connection] = session  # until the transport says it is gone
        if self._links is not None:
            self._links.close_many(connections)
