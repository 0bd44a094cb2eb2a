"""What services answer: values, one per item of a batch.

A refusal is a value that carries its public kind and its private reason. The reason goes to logs
and metrics and never to the other side (requirement 51).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from otp_server.core import Passcode
    from otp_server.domain.device import Device
    from otp_server.errors import ErrorKind


class Reason(StrEnum):
    """Why something was refused: private, bounded in number, fit for a metric label."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    CONFIRMED = "confirmed"
    REVOKED = "revoked"
    VOID = "void"
    RACE_LOST = "race_lost"
    LINKED_ELSEWHERE = "linked_elsewhere"
    ADDRESS_LIMIT = "address_limit"
    ORG_LIMIT = "org_limit"
    GLOBAL_LIMIT = "global_limit"
    LIMITER_FULL = "limiter_full"
    STORE = "store"
    DEVICE_LIMIT = "device_limit"
    DEVICE_UNKNOWN = "device_unknown"
    CROWDED = "crowded"
    BUSY = "busy"
    COLLISION = "collision"
    LATE = "late"
    BUG = "bug"
    FIELDS = "fields"
    TYPE_UNKNOWN = "type_unknown"
    PROVIDERS_DOWN = "providers_down"
    PROCESS_LIMIT = "process_limit"
    SETTINGS_MOVED = "settings_moved"
    KEY_MISSING = "key_missing"
    ACCEPTED = "accepted"
    EXHAUSTED = "exhausted"
    UNDELIVERABLE = "undeliverable"
    LOCKED = "locked"
    FAILURES_WAIT = "failures_wait"
    CLAIM_MISMATCH = "claim_mismatch"
    CLAIM_IN_FLIGHT = "claim_in_flight"


@dataclass(frozen=True, slots=True)
class Refused:
    """No. ``kind`` may be told, ``reason`` may not; ``retry_after_ms`` where waiting helps."""

    kind: ErrorKind
    reason: Reason
    retry_after_ms: int = 0


class Issued(NamedTuple):
    """A fresh device code, to be shown to this device and nobody else."""

    device_id: str
    challenge_id: bytes
    passcode: Passcode
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The one successful confirmation of a code, and the device it was shown on."""

    device: Device


IssueOutcome = Issued | Refused
ConfirmOutcome = Confirmed | Refused
