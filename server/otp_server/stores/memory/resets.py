"""Resets of the memory store: secrets beside processes, and the change of a password."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import structs

from otp_server.domain.account import tenant_of
from otp_server.domain.process import FailureReason, ProcessStatus
from otp_server.services.ports.processes import Settled
from otp_server.services.ports.resets import Changed
from otp_server.stores import account_rules, process_rules
from otp_server.stores.memory.accounts import MemoryAccounts
from otp_server.stores.memory.processes import MemoryProcesses

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otp_server.domain.audit import Actor
    from otp_server.services.ports.processes import Verdict
    from otp_server.services.ports.resets import NewReset, PasswordChange, Reset


class MemoryResets(MemoryProcesses, MemoryAccounts):
    """What :mod:`otp_server.services.ports.resets` asks, in dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self._resets: dict[bytes, Reset] = {}  # by process, in order of insertion
        self._secrets: dict[bytes, bytes] = {}  # the process of a secret's digest

    async def start_resets(self, batch: Sequence[NewReset]) -> None:
        """See :class:`otp_server.services.ports.ResetStore`; so for all below."""
        await self._enter()
        secrets: set[bytes] = set()
        for item in batch:
            account_rules.require_reset(item)
            digest = item.reset.secret_digest
            if digest in self._secrets or digest in secrets:
                raise account_rules.secret_taken()
            secrets.add(digest)
        self._require_fresh_uuids([item.process for item in batch])
        for item in batch:
            self._start_reset(item)

    def _start_reset(self, item: NewReset) -> None:
        reset, new = item.reset, item.process
        older = (
            each
            for each in self._resets.values()
            if (each.tenant, each.session_digest, each.email_index, each.method)
            == (reset.tenant, reset.session_digest, reset.email_index, reset.method)
        )
        self._supersede_resets(older, new.actor, new.created_at_ms)
        process = self._begin(new)
        if reset.uid is None:
            self._void_queued(process.id, new.created_at_ms)
        self._resets[reset.uuid] = reset
        self._secrets[reset.secret_digest] = reset.uuid
        self._append_audit([account_rules.reset_started(item)])

    def _supersede_resets(self, resets: Iterable[Reset], actor: Actor, at_ms: int) -> None:
        for reset in resets:
            process = self._processes[self._process_ids[reset.uuid]]
            if process_rules.is_open_at(process, at_ms):
                reason = FailureReason.SUPERSEDED
                self._end_process(process, ProcessStatus.FAILED, reason, at_ms)
                self._tell((reset.tenant, reset.uuid), "otp.end", reason.value, actor, at_ms)

    async def find_resets(self, secret_digests: Sequence[bytes]) -> list[Reset | None]:
        """Look-ups."""
        await self._enter()
        uuids = (self._secrets.get(digest) for digest in secret_digests)
        return [None if uuid is None else self._resets[uuid] for uuid in uuids]

    async def settle_checks(self, batch: Sequence[Verdict]) -> list[Settled]:
        """Right ones first."""
        await self._enter()
        said = [self._said_of_reset(verdict) for verdict in batch]
        order = sorted(range(len(said)), key=lambda place: not said[place].right)
        answers = {
            place: self._settle(said[place], self._pass_attempt, accepted=process_rules.CHECKED)
            for place in order
        }
        return [answers[place] for place in range(len(said))]

    def _said_of_reset(self, verdict: Verdict) -> Verdict:
        """The verdict; of what is no user's reset nothing is right."""
        reset = self._resets.get(verdict.counted.uuid)
        return verdict if reset is not None and reset.uid is not None else _wrong(verdict)

    async def change_passwords(self, batch: Sequence[PasswordChange]) -> list[Changed]:
        """In order."""
        await self._enter()
        digests: set[bytes] = set()
        for item in batch:
            account_rules.require_change(item)
            if item.session.digest in digests or item.session.digest in self._sessions:
                raise account_rules.session_taken()
            digests.add(item.session.digest)
        self._require_fresh_uuids([item.notice for item in batch])
        return [self._change(item) for item in batch]

    def _change(self, item: PasswordChange) -> Changed:
        verdict, uid = item.verdict, item.uid
        reset, user = self._resets.get(verdict.counted.uuid), self._users.get(uid)
        ours = user is not None and tenant_of(user.organisation) == verdict.counted.tenant
        if not ours or not account_rules.is_for(reset, uid):
            verdict = _wrong(verdict)
        if reset is not None and not self._is_session_alive(reset.session_digest, verdict.at_ms):
            return Changed(self._settle(verdict, lambda *_: False))
        settled = self._settle(verdict, self._accept_attempt)
        if settled is not Settled.ACCEPTED or user is None or reset is None:
            return Changed(settled)
        actor, at_ms = verdict.actor, verdict.at_ms
        self._passwords[uid] = item.password
        self._users[uid] = replace(user, password_version=user.password_version + 1)
        changed = account_rules.password_changed(user.organisation, uid, actor, at_ms)
        self._append_audit([changed])
        ended = self._end_sessions_of(uid, (reset.session_digest,), actor, at_ms)
        self._sessions[item.session.digest] = item.session
        self._append_audit([account_rules.signed_in(item.session, actor, at_ms)])
        others = (each for each in self._resets.values() if each.uid == uid)
        self._supersede_resets(others, actor, at_ms)
        self._begin(item.notice)
        told = item.notice.tenant, item.notice.uuid
        self._tell(told, "otp.init", "started", item.notice.actor, item.notice.created_at_ms)
        return Changed(settled, ended)

    def _is_session_alive(self, digest: bytes, at_ms: int) -> bool:
        session = self._sessions.get(digest)
        return session is not None and session.expires_at_ms > at_ms

    def _forget_beside(self, uuid: bytes) -> None:
        reset = self._resets.pop(uuid, None)
        if reset is not None:
            del self._secrets[reset.secret_digest]

    async def sealing_key_ids_in_use(self, now_ms: int) -> set[str]:
        """Those of the users too."""
        of_processes = await super().sealing_key_ids_in_use(now_ms)
        return of_processes | {user.email.key_id for user in self._users.values()}


def _wrong(verdict: Verdict) -> Verdict:
    return structs.replace(verdict, right=False)
