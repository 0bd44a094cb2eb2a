"""The limits of the Rust core; stubtest holds this against the module."""

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias, final

__all__ = ["Charges", "Limit", "LimitRow", "Quota", "Quotas", "SlidingWindows"]

@final
class SlidingWindows:
    """Exact sliding windows, several per key, in a bounded table.

    ``windows`` are ``(limit, period_ms)`` pairs, all enforced at once: at no instant does any
    trailing window ``(now - period, now]`` hold more than its limit. A refusal charges nothing.
    Time may step back: then nothing extra is granted. At ``keys_max`` keys the expired are
    evicted, and when none is expired LimiterFull is raised.
    """

    def __new__(cls, windows: Sequence[tuple[int, int]], keys_max: int) -> SlidingWindows: ...
    def reserve(self, key: str, now_ms: int) -> int:
        """0: granted and charged. Otherwise refused: milliseconds until it would be granted."""

    def wait_ms(self, key: str, now_ms: int) -> int:
        """What ``reserve`` would answer, charging nothing (0 for a key not held, full or not)."""

    def room(self, key: str, now_ms: int) -> list[tuple[int, int]]:
        """For each window, in the order given: ``(room, reset_ms)``.

        ``room`` is how many more charges it would grant now, ``reset_ms`` how long until that
        grows by one (0 when it holds none). Without room, ``wait_ms`` is the largest ``reset_ms``
        of such windows.
        """

    def record(self, key: str, at_ms: int) -> None:
        """Charge without asking, as when a journal is read back. Keeps the newest stamps only.

        In the journal's order: a new key at ``keys_max`` keys raises LimiterFull when none of them
        is expired at ``at_ms``.
        """

    def refund(self, key: str, at_ms: int) -> bool:
        """Give one charge of that instant back; whether there was one.

        ``at_ms`` is what ``reserve`` was given. Had time stepped back, the charge stands at a later
        instant; so the earliest charge not before ``at_ms`` is the one given back.
        """

    def __len__(self) -> int: ...

@final
class Quota:
    """One window of one limit, as a caller may know it: an item of the ``RateLimit`` field.

    ``policy`` is a word such as ``contact-60``, of a bounded set, and holds no contact.
    ``reset_ms``: until ``remaining`` grows; 0 when nothing is used.
    """

    __match_args__: Final = ("policy", "limit", "window_ms", "remaining", "reset_ms")
    def __new__(
        cls, policy: str, limit: int, window_ms: int, remaining: int, reset_ms: int
    ) -> Quota: ...
    @property
    def policy(self) -> str: ...
    @property
    def limit(self) -> int: ...
    @property
    def window_ms(self) -> int: ...
    @property
    def remaining(self) -> int: ...
    @property
    def reset_ms(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Quotas:
    """What is left of limits at one instant, equal by value; its texts are made when first read.

    They are those of draft-ietf-httpapi-ratelimit-headers, and empty when nothing is told.
    """

    def __new__(cls, quotas: Sequence[Quota]) -> Quotas: ...
    @property
    def policies(self) -> str:
        """``RateLimit-Policy``: ``q`` the quota, ``w`` the window in seconds."""

    @property
    def left(self) -> str:
        """``RateLimit``: ``r`` what remains, ``t`` the seconds until it grows, rounded up."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Quota]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Limit:
    """One limit: sliding windows for each key of a bounded table, as ``SlidingWindows`` has them.

    Each window is a policy: ``name`` and its seconds, such as ``contact-60``. ``told``: whether a
    caller may know what is left of it; else only of windows that refuse. A charge may be held while
    it is not decided whether it stays. Where a window without room has such charges, its wait is a
    second at most, since they may all be given back.
    """

    def __new__(
        cls, name: str, windows: Sequence[tuple[int, int]], keys_max: int, *, told: bool = True
    ) -> Limit: ...
    def __len__(self) -> int:
        """How many keys are held."""

_Keys: TypeAlias = tuple[str | tuple[str | int | bytes, ...], ...]

@final
class LimitRow:
    """Limits that are asked and charged together: all, or none.

    Each call has a key for each limit, in their order: a text, or parts. Those are texts, numbers
    and, at last, perhaps a digest, of which the first 16 bytes count. A limit may be there twice,
    for two keys; the same key twice counts once.
    ``first_only``: a refusal tells of the first limit without room and of those before it.

    What a caller may know of keys is their ``Quotas``: in order, and of each policy the tightest.
    ValueError for a wrong number of keys.
    """

    def __new__(cls, limits: Sequence[Limit], *, first_only: bool = False) -> LimitRow: ...
    def foresee(self, keys: _Keys, now_ms: int) -> Quotas | None:
        """What is left, charging nothing; None when one has no room."""

    def charge(self, keys: _Keys, now_ms: int) -> Charges | None:
        """Charge all; None when one has no room. LimiterFull when a table is: none is charged."""

    def hold(self, keys: _Keys, now_ms: int) -> Charges | None:
        """The same, not decided yet; follow it by ``decide``."""

    def spend(self, keys: _Keys, now_ms: int) -> Quotas | None:
        """``charge`` for good, and what is left then."""

    def refusal(self, keys: _Keys, now_ms: int) -> tuple[list[tuple[str, int]], Quotas]:
        """The policies without room, each with its wait in milliseconds, and what is left."""

    def record(self, keys: _Keys, at_ms: int) -> None:
        """Charge without asking, as when a journal is read back, in its order. LimiterFull."""

@final
class Charges:
    """What a row has charged. Its repr shows no key."""

    @property
    def at_ms(self) -> int:
        """When, as the row was told."""

    def refund(self) -> None:
        """Give all back, once."""

    def decide(self) -> None:
        """End what ``hold`` began, once: the charges stay, or were given back."""

    def quotas(self, now_ms: int) -> Quotas:
        """What is left of what was charged, as a caller may know it."""
